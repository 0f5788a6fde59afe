"""DeepLesion's typed rows, split anew: the datalist of the multi-class benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesion_app.data.datalist import CONVENTION, DATALIST, SPLITS, PrepareSummary, split_counts, write_datalist
from lesion_app.data.deeplesion import LABEL_TABLE, read_deeplesion
from lesion_app.data.lesion_types import LESION_TYPES
from lesion_app.data.record import UNKNOWN_TYPE, Record
from lesion_app.errors import InputError


def prepare_typed(
    root: Path,
    out: Path,
    *,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    allow_missing: bool = False,
    check_images: bool = True,
) -> PrepareSummary:
    """Write ``out/datalist.json`` with the sub-volumes that hold a typed lesion, split by patient.

    The types stand in the official validation and test splits alone, so these are pooled and divided anew; Pianese
    does the same with shares that are not stated. The labels of ``DL_info.csv`` count as they are, and neither
    complete annotations nor a phantom's truth are taken up, since they carry no types.

    Args:
        root: folder with ``DL_info.csv`` and ``Images_png/``.
        out: folder to write to, made if need be.
        shares: of the patients that train, validate and test; they add up to 1.
        seed: of the draw of the patients.
        allow_missing: leave rows without an image out instead of failing.
        check_images: look for the PNGs.

    Raises:
        InputError: see the readers; shares that do not add up; no typed lesion; nothing is written then.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"the shares are {list(shares)}; expected three from 0 on that add up to 1, as in 0.7 0.1 0.2")
    root, out = Path(root), Path(out)
    official = read_deeplesion(root, noisy="drop", check_images=check_images, allow_missing=allow_missing)
    records = [r for split in SPLITS for r in official[split] if _types(r)]
    if not records:
        raise InputError(
            f"{LABEL_TABLE} has no lesion of a known type; expected Coarse_lesion_type 1 to 8 in its validation and "
            "test rows, so take the published table"
        )
    splits = split_by_patient(records, shares, seed)
    warnings = list(official.warnings)
    for split in SPLITS:
        absent = sorted(set(range(1, len(LESION_TYPES) + 1)) - {t for r in splits[split] for t in _types(r)})
        if not splits[split]:
            warnings.append(f"The {split} split is empty.")
        elif absent:
            names = ", ".join(LESION_TYPES[t - 1] for t in absent)
            warnings.append(f"The {split} split has no lesion of the type {names}.")
    sources = {"labels": LABEL_TABLE}
    head = {
        "dataset": records[0]["dataset"],
        "source": sources,
        "convention": CONVENTION,
        "typed": {"shares": list(shares), "seed": seed},
    }
    write_datalist(out / DATALIST, head, splits)
    return PrepareSummary(out / DATALIST, {s: split_counts(splits[s]) for s in SPLITS}, sources, warnings)


def split_by_patient(records: Sequence[Record], shares: Sequence[float], seed: int) -> dict[str, list[Record]]:
    """Divide records into training, validation and test such that no patient stands in two of them.

    Args:
        records: in any order; their order within a split is kept.
        shares: of the patients, one a split; a split with a share gets a patient as long as there are enough.
        seed: of the draw, which depends on the set of patients alone.
    """
    patients = sorted({record["patient_id"] for record in records})
    order = np.random.default_rng(seed).permutation(len(patients))
    place = np.repeat(np.arange(len(SPLITS)), _counts(len(patients), np.asarray(shares, dtype=np.float64)))
    split_of = {patients[i]: SPLITS[s] for i, s in zip(order, place)}
    return {split: [r for r in records if split_of[r["patient_id"]] == split] for split in SPLITS}


def _counts(total: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers near ``total * shares`` that add up to ``total``, none of them 0 that need not be."""
    least = (shares > 0).astype(int)
    if total < least.sum():
        least[:] = 0
    wanted = total * shares
    counts = np.maximum(np.floor(wanted).astype(int), least)
    while counts.sum() != total:
        if counts.sum() < total:
            counts[np.argmax(wanted - counts)] += 1
        else:
            counts[np.argmax(np.where(counts > least, counts - wanted, -np.inf))] -= 1
    return counts


def _types(record: Record) -> list[int]:
    """Known types of a record's lesions."""
    lesions = (a for a in record["annotations"] if a["kind"] == "lesion")
    return [a["lesion_type"] for a in lesions if a["lesion_type"] != UNKNOWN_TYPE]
