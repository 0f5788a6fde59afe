"""A data set on disk -> ``datalist.json``, the file every training and evaluation starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from monai.data import load_decathlon_datalist

from lesion_app.atomic_file import replacing
from lesion_app.data.complete_annotations import complete_records, read_complete_annotations
from lesion_app.data.deeplesion import LABEL_TABLE, NoisyRule, deeplesion_records, keep_imaged, series_slices
from lesion_app.data.deeplesion_csv import read_deeplesion_csv
from lesion_app.data.record import Record, validate_record
from lesion_app.data.truth import attach_extents, attach_truth, label_completely, read_truth
from lesion_app.errors import InputError

DATALIST = "datalist.json"
LabelRule = Literal["partial", "complete", "complete-on-key-slices", "complete-on-labelled-slices"]
SPLITS = ("training", "validation", "test")
CONVENTION = (
    "boxes (x1, y1, x2, y2) in px of the original slice, 0-based, half-open edges; slices are file numbers of the "
    "series, 'slices' first and last inclusive; spacing (x, y, z) in mm; image folders relative to the data set's root"
)
_WHERE: dict[str, Literal["key", "key-slices", "labelled-slices"]] = {
    "complete": "key",
    "complete-on-key-slices": "key-slices",
    "complete-on-labelled-slices": "labelled-slices",
}
# Files a phantom lays beside its label table; taken up when found and nothing else was named.
_BESIDE = {"truth": "truth.json", "complete_val": "complete_val.json", "complete_test": "complete_test.json"}


@dataclass(frozen=True)
class SplitCounts:
    """What one split holds: ``slices`` are all axial slices, ``key_slices`` those with a lesion box."""

    sub_volumes: int
    slices: int
    key_slices: int
    boxes: int
    ignored: int
    patients: int


@dataclass(frozen=True)
class PrepareSummary:
    """What :func:`prepare_deeplesion` wrote: where, how much, from what, and what to know about it."""

    datalist: Path
    counts: dict[str, SplitCounts]
    sources: dict[str, str]
    warnings: list[str]


def prepare_deeplesion(
    root: Path,
    out: Path,
    *,
    complete_val: Path | None = None,
    complete_test: Path | None = None,
    extra_train: Path | None = None,
    truth: Path | None = None,
    noisy: NoisyRule = "ignore",
    labels: LabelRule = "partial",
    exclude_overlap: bool = False,
    allow_missing: bool = False,
    check_images: bool = True,
) -> PrepareSummary:
    """Write ``out/datalist.json`` for DeepLesion, or a phantom in its layout.

    Training is the official training split; validation and test are the official ones unless complete
    annotations are named (or, with a phantom, lie at ``root``). Patients of validation and test never train.

    Args:
        root: folder with ``DL_info.csv`` and ``Images_png/``.
        out: folder to write to, made if need be.
        complete_val: Lesion Harvester or LENS file (:func:`read_complete_annotations`) that replaces validation.
        complete_test: the same for test.
        extra_train: a file whose completely labelled sub-volumes replace, or join, the training records.
        truth: a phantom's ``truth.json``; becomes ``truth`` of the records.
        noisy: rule for noisy training rows (:func:`lesion_app.data.deeplesion.read_deeplesion`).
        labels: ``complete`` gives the training records every lesion of ``truth`` on its key slice,
            ``complete-on-key-slices`` on the key slice of every lesion it touches, ``complete-on-labelled-slices``
            on slices that have a label anyway (the same images as ``partial``, all of their lesions).
        exclude_overlap: leave validation sub-volumes of patients who are also in the test set out.
        allow_missing: leave out what has no image or no row instead of failing.
        check_images: look for the PNGs (False: labels only).

    Raises:
        InputError: see the readers; nothing is written then.
    """
    root, out = Path(root), Path(out)
    if labels not in get_args(LabelRule):
        raise InputError(
            f"The labels asked for are '{labels}'; expected partial or complete, "
            "complete-on-key-slices or complete-on-labelled-slices."
        )
    named = {"complete_val": complete_val, "complete_test": complete_test, "extra_train": extra_train, "truth": truth}
    found = {key: root / name for key, name in _BESIDE.items() if named[key] is None and (root / name).is_file()}
    files = {key: Path(path) for key, path in {**named, **found}.items() if path is not None}
    if labels != "partial" and "truth" not in files:
        raise InputError(
            "Complete labels need the truth file of a phantom, and none was named or lies beside DL_info.csv."
        )

    rows = read_deeplesion_csv(root / LABEL_TABLE)
    dataset = "phantom" if "truth" in files else "deeplesion"
    official = deeplesion_records(rows, noisy=noisy, dataset=dataset)
    splits = {split: official[split] for split in SPLITS}
    warnings = list(official.warnings)
    warnings += [f"{path.name} was found beside {LABEL_TABLE} and used ({key})." for key, path in found.items()]

    def complete(key: str, split: Literal["validation", "test"]) -> list[Record]:
        annotations = read_complete_annotations(files[key], split)
        records, told = complete_records(annotations, rows, dataset=dataset, allow_missing=allow_missing)
        warnings.extend(f"{files[key].name}: {text}" for text in told)
        return records

    if "complete_val" in files:
        splits["validation"] = complete("complete_val", "validation")
    if "complete_test" in files:
        splits["test"] = complete("complete_test", "test")
    if "extra_train" in files:
        extra = {record["id"]: record for record in complete("extra_train", "test")}
        splits["training"] = [extra.pop(r["id"], r) for r in splits["training"]] + list(extra.values())
    if "truth" in files:
        lesions = read_truth(files["truth"])
        for records in splits.values():
            attach_truth(records, lesions)
        for split in ("validation", "test"):  # DeepLesion's training lesions are marked in 2D, and so are the phantom's
            attach_extents(splits[split], lesions)
        if labels != "partial":
            label_completely(splits["training"], lesions, _WHERE[labels])

    warnings += _part_patients(splits, exclude_overlap=exclude_overlap)
    if check_images:
        series = series_slices(root, (record["series_id"] for records in splits.values() for record in records))
        for split in SPLITS:
            splits[split], told = keep_imaged(splits[split], series, split, allow_missing=allow_missing)
            warnings += told
    warnings += [f"The {split} split is empty." for split in SPLITS if not splits[split]]
    if not any(splits.values()):
        raise InputError(f"No sub-volume of {LABEL_TABLE} is left to use; check the folder {root} and its images.")
    for records in splits.values():
        for record in records:
            validate_record(record)

    sources = {"labels": LABEL_TABLE, **{key: path.name for key, path in sorted(files.items())}}
    head = {"dataset": dataset, "source": sources, "convention": CONVENTION}
    write_datalist(out / DATALIST, head, splits)
    return PrepareSummary(out / DATALIST, {s: split_counts(splits[s]) for s in SPLITS}, sources, warnings)


def split_counts(records: Sequence[Record]) -> SplitCounts:
    """Count what a split holds."""
    lesions = [(r["id"], a["slice"]) for r in records for a in r["annotations"] if a["kind"] == "lesion"]
    return SplitCounts(
        sub_volumes=len(records),
        slices=sum(r["slices"][1] - r["slices"][0] + 1 for r in records),
        key_slices=len(set(lesions)),
        boxes=len(lesions),
        ignored=sum(a["kind"] == "ignore" for r in records for a in r["annotations"]),
        patients=len({r["patient_id"] for r in records}),
    )


def write_datalist(path: Path, head: dict[str, Any], splits: dict[str, list[Record]]) -> None:
    """Write a MONAI-style datalist, one record a line; the file appears whole or not at all.

    ``monai.data.load_decathlon_datalist(path, data_list_key=split, base_dir=root)`` reads it: there
    ``root`` is put before every ``image``.

    Raises:
        InputError: the folder cannot be written to.
    """
    entries = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for split, records in splits.items():
        lines = ",\n".join(json.dumps(record) for record in records)
        entries.append(f"{json.dumps(split)}: [\n{lines}\n]")
    try:
        with replacing(path) as temporary:
            temporary.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); choose a folder that you may write to."
        ) from error


def load_records(datalist: Path, split: str, root: Path) -> list[Record]:
    """Records of one split of a datalist, checked; ``image`` becomes an absolute folder below ``root``.

    Raises:
        InputError: the datalist is missing, not JSON, has no such split, or holds a faulty record.
    """
    datalist, root = Path(datalist), Path(root)
    try:
        content = json.loads(datalist.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"The datalist {datalist} cannot be read ({error.strerror}); write one with `lesion-app prepare`."
        ) from error
    except ValueError as error:
        raise InputError(f"{datalist.name} is not valid JSON; write it anew with `lesion-app prepare`.") from error
    records = content.get(split) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise InputError(
            f"{datalist.name} has no list '{split}'; expected a datalist with training, validation and test."
        )
    for record in records:
        validate_record(record)
    # MONAI's loader trips over an empty test list
    return load_decathlon_datalist(datalist, True, split, base_dir=root.resolve()) if records else []  # type: ignore[return-value]


def _part_patients(splits: dict[str, list[Record]], *, exclude_overlap: bool) -> list[str]:
    """Keep evaluation patients out of training, and see to validation against test; changes ``splits``."""
    warnings: list[str] = []
    patients = {split: {r["patient_id"] for r in records} for split, records in splits.items()}
    held_out = patients["validation"] | patients["test"]
    training = [r for r in splits["training"] if r["patient_id"] not in held_out]
    if len(training) < len(splits["training"]):
        warnings.append(
            f"{len(splits['training']) - len(training)} training sub-volume(s) were left out because their "
            f"{len(patients['training'] & held_out)} patient(s) are in validation or test."
        )
    splits["training"] = training

    both = patients["validation"] & patients["test"]
    if both:
        test_ids = {r["id"] for r in splits["test"]}
        same = sum(r["id"] in test_ids for r in splits["validation"])
        apart = [r for r in splits["validation"] if r["patient_id"] not in both]
        shared = len(splits["validation"]) - len(apart)
        told = (
            f"{shared} of {len(splits['validation'])} validation sub-volumes belong to {len(both)} patient(s) "
            f"of the test set, and {same} of them are test sub-volumes themselves"
        )
        if exclude_overlap:
            warnings.append(f"{told}; they were left out of validation.")
            splits["validation"] = apart
        else:
            warnings.append(
                f"{told}; a model chosen on them is not judged fairly on this test set, "
                "pass --exclude-overlap to leave them out."
            )
    return warnings
