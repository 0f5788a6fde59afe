"""DeepLesion: label table and PNG folders -> records, one a sub-volume."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lesion_app.data.deeplesion_csv import OFFICIAL_SPLITS, LesionRows, read_deeplesion_csv
from lesion_app.data.record import Annotation, Kind, Record, SubVolumeName
from lesion_app.errors import InputError

NoisyRule = Literal["ignore", "drop", "keep"]
IMAGE_FOLDER = "Images_png"
LABEL_TABLE = "DL_info.csv"


@dataclass
class DeepLesionSplits:
    """Records of the three official splits, and what a user should know about them."""

    training: list[Record] = field(default_factory=list)
    validation: list[Record] = field(default_factory=list)
    test: list[Record] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, split: str) -> list[Record]:
        return {"training": self.training, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class Geometry:
    """Voxel spacing (x, y, z) in mm and slice size (width, height) in px of a sub-volume."""

    spacing_mm: tuple[float, float, float]
    size: tuple[int, int]


def read_deeplesion(
    root: Path, *, noisy: NoisyRule = "ignore", check_images: bool = True, allow_missing: bool = False
) -> DeepLesionSplits:
    """Read DeepLesion's own (incomplete) labels with its official splits.

    Args:
        root: folder holding ``DL_info.csv`` and ``Images_png/<series>/<NNN>.png``; with
            ``check_images=False`` the label table itself will do.
        noisy: what becomes of the training rows flagged ``Possibly_noisy``: an ``ignore`` region (default),
            nothing (``drop``) or a lesion like the others (``keep``). Validation and test always drop them,
            as the published evaluations do.
        check_images: see that every key slice has its PNG (one listing a folder; no image is opened).
        allow_missing: leave out the rows whose PNG is missing instead of failing.

    Raises:
        InputError: bad table (see :func:`read_deeplesion_csv`), missing images.
    """
    root = Path(root)
    table = root / LABEL_TABLE if root.is_dir() or check_images else root
    splits = deeplesion_records(read_deeplesion_csv(table), noisy=noisy)
    if check_images:
        series = series_slices(root, (r["series_id"] for split in OFFICIAL_SPLITS.values() for r in splits[split]))
        for split in OFFICIAL_SPLITS.values():
            splits[split][:], warnings = keep_imaged(splits[split], series, split, allow_missing=allow_missing)
            splits.warnings += warnings
    return splits


def deeplesion_records(
    rows: LesionRows, *, noisy: NoisyRule = "ignore", dataset: str = "deeplesion"
) -> DeepLesionSplits:
    """Group lesion rows into sub-volumes, a series' disjoint slice runs each on their own.

    Sub-volumes without a usable spacing are left out and counted in ``warnings``. ``noisy`` as in
    :func:`read_deeplesion`.

    Raises:
        InputError: a patient stands in two splits, an unknown rule for noisy rows.
    """
    if noisy not in get_args(NoisyRule):
        raise InputError(f"The rule for noisy rows is '{noisy}'; expected one of {', '.join(get_args(NoisyRule))}.")
    _check_patients(rows)
    geometry = sub_volume_geometry(rows)
    splits = DeepLesionSplits()
    records: dict[SubVolumeName, Record] = {}
    unusable: set[SubVolumeName] = set()
    training_noisy = evaluation_noisy = 0
    for i in range(len(rows)):
        name = _sub_volume(rows, i)
        training = rows.split[i] == 1
        kind: Kind = "lesion"
        if rows.noisy[i]:
            training_noisy += int(training)
            evaluation_noisy += int(not training)
            if not training or noisy == "drop":
                continue
            kind = "ignore" if noisy == "ignore" else "lesion"
        if name not in geometry:
            unusable.add(name)
            continue
        if name not in records:
            records[name] = new_record(name, geometry[name], dataset)
            splits[OFFICIAL_SPLITS[int(rows.split[i])]].append(records[name])
        records[name]["annotations"].append(
            Annotation(
                slice=int(rows.key_slice[i]),
                box=[float(v) for v in rows.box[i]],
                label=1,
                kind=kind,
                lesion_type=int(rows.lesion_type[i]),
                noisy=bool(rows.noisy[i]),
            )
        )
    outcome = {"ignore": "are ignored regions", "drop": "were left out", "keep": "were kept as lesions"}[noisy]
    if training_noisy:
        splits.warnings.append(f"{training_noisy} training lesion(s) flagged possibly noisy {outcome}.")
    if evaluation_noisy:
        splits.warnings.append(
            f"{evaluation_noisy} validation and test lesion(s) flagged possibly noisy were left out, "
            "as in the published evaluations."
        )
    if unusable:
        splits.warnings.append(
            f"{len(unusable)} sub-volume(s) were left out because their spacing is missing or zero, "
            f"the first of them {min(unusable)}."
        )
    if rows.clipped.any():
        splits.warnings.append(
            f"{int(rows.clipped.sum())} box(es) reached beyond the border and were clipped to the image."
        )
    return splits


def new_record(name: SubVolumeName, geometry: Geometry, dataset: str) -> Record:
    """An unannotated record of sub-volume ``name``."""
    return Record(
        id=str(name),
        image=f"{IMAGE_FOLDER}/{name.series_id}",
        series_id=name.series_id,
        patient_id=name.patient_id,
        dataset=dataset,
        spacing_mm=list(geometry.spacing_mm),
        size=list(geometry.size),
        slices=[name.low, name.high],
        annotations=[],
    )


def sub_volume_geometry(rows: LesionRows) -> dict[SubVolumeName, Geometry]:
    """Spacing and size of every sub-volume that has a usable spacing, from its first such row.

    A negative z spacing is the slice interval of a series numbered from the feet up: its absolute value
    counts. NaN and zero say nothing about the interval, so they are never guessed. Taken a sub-volume, not
    a series, since one published series (003247_02_01) has runs of 1 mm and of 5 mm.
    """
    spacing = np.abs(rows.spacing_mm)
    usable = np.isfinite(spacing).all(axis=1) & (spacing > 0).all(axis=1)
    found: dict[SubVolumeName, Geometry] = {}
    for i in np.flatnonzero(usable):
        x, y, z = (float(v) for v in spacing[i])
        found.setdefault(_sub_volume(rows, int(i)), Geometry((x, y, z), (int(rows.size[i, 0]), int(rows.size[i, 1]))))
    return found


def series_slices(root: Path, series_ids: Iterable[str]) -> dict[str, set[int]]:
    """File numbers of the PNGs each series has under ``root``; one listing a folder, nothing is opened.

    Raises:
        InputError: ``root`` has no image folder.
    """
    folder = Path(root) / IMAGE_FOLDER
    if not folder.is_dir():
        raise InputError(
            f"{root} holds no folder {IMAGE_FOLDER}; unpack DeepLesion's zip files there, so that the slices lie "
            f"as {IMAGE_FOLDER}/000001_01_01/103.png."
        )
    found: dict[str, set[int]] = {}
    for series in set(series_ids):
        try:
            names = os.listdir(folder / series)
        except (FileNotFoundError, NotADirectoryError):
            names = []
        stems = (name[:-4] for name in names if name.endswith(".png"))
        found[series] = {int(stem) for stem in stems if stem.isascii() and stem.isdigit()}
    return found


def keep_imaged(
    records: list[Record], series: dict[str, set[int]], split: str, *, allow_missing: bool
) -> tuple[list[Record], list[str]]:
    """Keep what has its images: every annotated slice must have a PNG, and every sub-volume at least one.

    Other slices of the run may be missing: the slab loader takes the nearest one there is.

    Returns:
        the records kept (shortened in place), and warnings on what was left out.

    Raises:
        InputError: an annotated slice or a whole sub-volume is missing and ``allow_missing`` is False.
    """
    absent: list[str] = []
    kept: list[Record] = []
    for record in records:
        numbers = series.get(record["series_id"], set())
        annotations = [a for a in record["annotations"] if a["slice"] in numbers]
        lost = {a["slice"] for a in record["annotations"]} - numbers
        low, high = record["slices"]
        if not record["annotations"] and numbers.isdisjoint(range(low, high + 1)):
            lost = {low}
        absent += [f"{record['image']}/{number:03d}.png" for number in sorted(lost)]
        if annotations or not lost:
            record["annotations"] = annotations
            kept.append(record)
    if not absent:
        return kept, []
    if not allow_missing:
        raise InputError(
            f"{len(absent)} annotated slice(s) of the {split} split have no PNG, the first of them {absent[0]}; "
            "unpack the missing zip files of DeepLesion, or pass --allow-missing to leave those lesions out."
        )
    return kept, [
        f"{len(absent)} annotated slice(s) of the {split} split have no PNG and were left out, "
        f"with them {len(records) - len(kept)} whole sub-volume(s)."
    ]


def _sub_volume(rows: LesionRows, i: int) -> SubVolumeName:
    return SubVolumeName(rows.series_id[i], int(rows.slices[i, 0]), int(rows.slices[i, 1]))


def _check_patients(rows: LesionRows) -> None:
    first: dict[str, int] = {}
    for i, series in enumerate(rows.series_id):
        other = first.setdefault(series.split("_")[0], i)
        if rows.split[other] != rows.split[i]:
            raise InputError(
                f"One patient stands in two splits ({rows.file_name[other]} and {rows.file_name[i]}); splits must be "
                "by patient, use the Train_Val_Test column as published."
            )
