"""Training, validation and test by patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lesion_app.data.datalist import SPLITS
from lesion_app.data.record import Record
from lesion_app.data.volume_case import VolumeCase
from lesion_app.errors import InputError


def split_by_patient(
    cases: Sequence[VolumeCase],
    records: Sequence[Record],
    validation_share: float,
    test_share: float = 0.0,
    seed: int = 0,
    validation_fold: int | None = None,
) -> dict[str, list[Record]]:
    """Draw whole patients for validation, then for test; the rest trains.

    A share above 0 is at least one patient, and one at least is left to train where there are enough.

    Args:
        cases: one a record, in the same order; only their patients and folds are looked at.
        records: to be split, which keep their order.
        validation_share, test_share: of the patients, 0 to below 1.
        seed: of the draw; the same seed draws the same patients for validation whatever the test share.
        validation_fold: the data set's own fold that validates instead of a draw.

    Raises:
        InputError: there is no such fold.
    """
    patients = sorted({case.patient_id for case in cases})
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    if validation_fold is not None:
        folds = sorted({case.fold for case in cases if case.fold is not None})
        if validation_fold not in folds:
            raise InputError(
                f"validation fold {validation_fold} was asked for, but the data set has the folds "
                f"{folds or 'of no name'}; name one of them or draw the split"
            )
        validating = {case.patient_id for case in cases if case.fold == validation_fold}
    else:
        validating = set(order[: _count(validation_share, len(patients), len(patients))])
    rest = [patient for patient in order if patient not in validating]
    testing = set(rest[: _count(test_share, len(patients), len(rest))])
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for record in records:
        patient = record["patient_id"]
        splits["validation" if patient in validating else "test" if patient in testing else "training"].append(record)
    return splits


def _count(share: float, patients: int, left: int) -> int:
    return min(max(1, round(share * patients)), max(left - 1, 0)) if share > 0 else 0
