"""LUNA16, LiTS, NIH lymph nodes and LIDC-IDRI -> DeepLesion's slices and ``datalist.json``: one training path for all.

Their boxes stand on every slice that a lesion touches, numbered by lesion, as LENS trains on 3D annotations by drawing
one slice a lesion and epoch (Yan et al., IEEE TMI 40(10), 2021, section VI-D). Its splits of these sets are random,
80 % for training and 20 % for validation (section VI-A).
"""

from __future__ import annotations

import glob
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lesion_app.data.datalist import (
    CONVENTION,
    DATALIST,
    SPLITS,
    PrepareSummary,
    split_counts,
    write_datalist,
)
from lesion_app.data.deeplesion import IMAGE_FOLDER, Geometry
from lesion_app.data.lidc import read_lidc
from lesion_app.data.lits import read_lits
from lesion_app.data.luna16 import read_luna16
from lesion_app.data.mask_series import MASK_FOLDER, write_mask_series
from lesion_app.data.nih_ln import read_nih_ln
from lesion_app.data.patient_split import split_by_patient
from lesion_app.data.png_series import has_png_series, write_png_series
from lesion_app.data.record import Record, validate_record
from lesion_app.data.truth import attach_truth, read_truth
from lesion_app.data.volume_case import VolumeCase, VolumeCases
from lesion_app.data.volume_record import record_of_case
from lesion_app.errors import InputError
from transforms.ct_reader import open_ct

VolumeSet = Literal["luna16", "lits", "nih-ln", "lidc"]
TRUTH = "truth.json"


# Each takes the folder, `allow_missing` and options of its own.
_READERS: dict[str, Callable[..., VolumeCases]] = {
    "luna16": read_luna16,
    "lits": read_lits,
    "nih-ln": read_nih_ln,
    "lidc": read_lidc,
}
_Job = TypeVar("_Job")
_Done = TypeVar("_Done")


def prepare_volumes(
    kind: VolumeSet,
    source: Path,
    out: Path,
    *,
    validation_share: float = 0.2,
    test_share: float = 0.0,
    seed: int = 0,
    validation_fold: int | None = None,
    padding_px: float = 0.0,
    allow_missing: bool = False,
    reader_options: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PrepareSummary:
    """Write ``out/Images_png/<series>/<NNN>.png`` and ``out/datalist.json``, ``out`` being the data set's root.

    Everything but the pixels is read and checked before the first slice is written. Spacings stay the scans' own. A
    series that an interrupted run (one without a datalist) has left there complete is not written again.
    ``source/truth.json`` (of a made-up collection) becomes ``truth`` of the records.

    Args:
        kind: layout of ``source``; see `read_luna16`, `read_lits`, `read_nih_ln`, `read_lidc`.
        source: the data set as published, unpacked.
        out: folder to write to, made if need be; not ``source``.
        validation_share: share of the patients, drawn with ``seed``, that validate; 0 to below 1.
        test_share: share of the patients that test, drawn after them; with ``validation_share`` below 1.
        seed: of that draw.
        validation_fold: the data set's own fold that validates instead of a draw (LUNA16's subsets 0 to 9).
        padding_px: added to every side of every box; 5 gives DeepLesion's boxes, 0 the lesions' own extent.
        allow_missing: leave out what is not there or cannot be read instead of failing.
        reader_options: further arguments of the data set's reader.
        workers: processes.
        progress: called with (scans written, scans).

    Returns:
        what was written; without ``test_share`` the test split is empty.

    Raises:
        InputError: see the readers; a scan or mask that cannot be read, an option out of range. Nothing is left behind.
    """
    source, out = Path(source), Path(out)
    if kind not in get_args(VolumeSet):
        raise InputError(f"The data set asked for is '{kind}'; expected one of {', '.join(get_args(VolumeSet))}.")
    if min(validation_share, test_share) < 0 or validation_share + test_share >= 1:
        raise InputError(
            f"validation share {validation_share} and test share {test_share} were given; expected shares from 0 whose "
            "sum is below 1."
        )
    if workers < 1 or seed < 0 or not 0 <= padding_px < 1000:
        raise InputError(
            f"padding {padding_px} px, seed {seed} and {workers} workers were given; expected a padding and a seed "
            "from 0, and at least one worker."
        )
    if out.resolve() == source.resolve():
        raise InputError("The folder to write to is the data set's own; name another one.")
    listed = _READERS[kind](source, allow_missing=allow_missing, **(reader_options or {}))
    warnings = list(listed.warnings)
    read = [_ReadJob(case, kind, padding_px, allow_missing) for case in listed.cases]
    outcomes = list(_mapped(_read_case, read, workers))
    kept = [(case, one.record) for case, one in zip(listed.cases, outcomes) if one.record is not None]
    warnings += _counted(outcomes, listed.cases)
    if not kept:
        raise InputError(f"No scan below {source} could be used; check that its files are complete.")
    records = [record for _, record in kept]
    sources = {"data": source.name}
    if (source / TRUTH).is_file():
        attach_truth(records, read_truth(source / TRUTH))
        sources["truth"] = TRUTH
        warnings.append(f"{TRUTH} was found beside the data and used.")
    cases = [case for case, _ in kept]
    splits = split_by_patient(cases, records, validation_share, test_share, seed, validation_fold)
    warnings += [f"The {split} split is empty." for split in SPLITS[:2] if not splits[split]]
    for record in records:
        validate_record(record)

    resumed = not (out / DATALIST).exists()
    jobs = [
        _WriteJob(case, out / record["image"], record["slices"][1], allow_missing, resumed, _masks(record, out))
        for case, record in kept
    ]
    with _taking_back(jobs, out):
        faults = []
        for done, fault in enumerate(_mapped(_write_case, jobs, workers), start=1):
            faults.append(fault)
            if progress is not None:
                progress(done, len(jobs))
        lost = {record["id"]: fault for record, fault in zip(records, faults) if fault}
        if lost:
            name, fault = next(iter(lost.items()))
            warnings.append(
                f"{len(lost)} scan(s) could not be read and were left out, the first of them {name}: {fault}"
            )
            splits = {split: [r for r in of_split if r["id"] not in lost] for split, of_split in splits.items()}
        if not any(splits.values()):
            raise InputError(f"No scan below {source} could be read; check that its files are complete.")
        head = {"dataset": kind, "source": sources, "convention": CONVENTION}
        write_datalist(out / DATALIST, head, splits)
    return PrepareSummary(out / DATALIST, {s: split_counts(splits[s]) for s in SPLITS}, sources, warnings)


@dataclass(frozen=True)
class _ReadJob:
    case: VolumeCase
    kind: str
    padding_px: float
    allow_missing: bool


@dataclass(frozen=True)
class _Read:
    record: Record | None
    notes: list[str]


@dataclass(frozen=True)
class _WriteJob:
    case: VolumeCase
    folder: Path
    slices: int
    allow_missing: bool
    resumed: bool
    masks: Path | None


def _read_case(job: _ReadJob) -> _Read:
    """Header and labels of one scan."""
    try:
        ct = open_ct(job.case.image)
        found = job.case.find_lesions(ct.geometry)
    except InputError as error:
        if not job.allow_missing:
            raise
        return _Read(None, [f"could not be read and was left out ({error})"])
    depth, height, width = ct.shape
    geometry = Geometry(ct.geometry.spacing_mm, (width, height))
    record = record_of_case(job.case, found.lesions, geometry, depth, job.kind, job.padding_px)
    if job.case.find_mask is not None:
        record["masks"] = f"{MASK_FOLDER}/{job.case.series_id}"
    return _Read(record, found.notes + ct.notes)


def _masks(record: Record, out: Path) -> Path | None:
    return out / record["masks"] if "masks" in record else None


def _write_case(job: _WriteJob) -> str:
    """Write the slices of one scan; the fault that kept it from being read, or an empty text."""
    try:
        if job.masks is not None and job.case.find_mask is not None:
            write_mask_series(job.case.find_mask(open_ct(job.case.image).geometry), job.masks)
        # Numbers of slices are often equal: what was written before its scan was changed is of another scan.
        if (
            job.resumed
            and has_png_series(job.folder, job.slices)
            and job.folder.stat().st_mtime >= _last_change(job.case.image)
        ):
            return ""
        write_png_series(job.case.image, job.folder)
    except InputError as error:
        if not job.allow_missing:
            raise
        return str(error)
    except OSError as error:
        raise InputError(
            f"{job.folder.name} cannot be written ({error.strerror}); choose a folder with room that you may write to."
        ) from error
    return ""


def _last_change(image: Path) -> float:
    """When the files of a scan were last written (s): those of a folder, or all that share its name (mhd and raw)."""
    files = image.iterdir() if image.is_dir() else image.parent.glob(f"{glob.escape(image.stem)}.*")
    return max((file.stat().st_mtime for file in files), default=0.0)


def _mapped(work: Callable[[_Job], _Done], jobs: Iterable[_Job], workers: int) -> Iterator[_Done]:
    """Results in order of the jobs."""
    todo = list(jobs)
    if workers == 1 or len(todo) < 2:
        yield from map(work, todo)
        return
    # Spawned, not forked: the caller may hold threads or a CUDA context.
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(work, todo)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _counted(outcomes: list[_Read], cases: list[VolumeCase]) -> list[str]:
    """One sentence for every kind of note, with the first scan it concerns."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for outcome, case in zip(outcomes, cases):
        for note in set(outcome.notes):
            first.setdefault(note, case.series_id)
            counts[note] += 1
    return [f"{count} scan(s), the first of them {first[note]}: {note}." for note, count in counts.items()]


@contextmanager
def _taking_back(jobs: list[_WriteJob], out: Path) -> Iterator[None]:
    """On a user's mistake remove what this run wrote; a kill leaves whole series for the next run to go on from."""
    folders = [folder for job in jobs for folder in (job.folder, job.masks) if folder is not None]
    fresh = [folder for folder in folders if not folder.exists()]
    made = [folder for folder in (out / IMAGE_FOLDER, out / MASK_FOLDER, out) if not folder.exists()]
    try:
        yield
    except InputError:
        for folder in (*fresh, *made):
            shutil.rmtree(folder, ignore_errors=True)
        raise
