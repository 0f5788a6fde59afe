"""Write a whole phantom data set in DeepLesion's layout, with its complete truth beside it."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lesion_app.data.missing_labels import BOX_PADDING_PX, draw_labelled, highest_missing_rate
from lesion_app.data.phantom.deeplesion_layout import (
    COLUMNS,
    SPLITS,
    TRUTH_CONVENTION,
    csv_row,
    harvester_boxes,
    truth_of_sub_volume,
)
from lesion_app.data.phantom.patient import draw_phantom
from lesion_app.errors import InputError

MissingLaw = Literal["deeplesion", "random", "none"]
_LONGEST_SCAN_MM = 600.0
_MISSING_LAWS = ("deeplesion", "random", "none")


@dataclass(frozen=True)
class PhantomSummary:
    """What was written: counts of patients, slices, lesions (all of them) and labels (rows of DL_info.csv)."""

    out: Path
    patients: int
    slices: int
    lesions: int
    labels: int
    patients_by_split: dict[str, int]

    @property
    def missing_rate(self) -> float:
        """Share of lesions without a label."""
        return 1.0 - self.labels / self.lesions


@dataclass(frozen=True)
class _Settings:
    size: int
    z_spacings: tuple[float, ...]
    thickness_mm: tuple[float, float]
    lesions_per_volume: tuple[int, int] | None
    missing_law: MissingLaw
    missing_rate: float | None
    conspicuity_hu: float


@dataclass(frozen=True)
class _Job:
    index: int
    seed: np.random.SeedSequence
    split: str
    folder: Path
    settings: _Settings


@dataclass(frozen=True)
class _Written:
    name: str
    rows: list[dict[str, str]]
    truth: dict[str, Any]
    complete: list[list[float]]
    slices: int


def write_phantom(
    out: Path,
    patients: int,
    seed: int = 0,
    *,
    missing_law: MissingLaw = "deeplesion",
    missing_rate: float | None = None,
    thickness_mm: tuple[float, float] = (55.0, 75.0),
    split: tuple[float, float, float] = (0.7, 0.15, 0.15),
    size: int = 512,
    lesions_per_volume: tuple[int, int] | None = None,
    z_spacings: Sequence[float] = (1.0, 2.0, 5.0),
    conspicuity_hu: float = 0.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write ``out``: ``Images_png/<series>/<NNN>.png``, ``DL_info.csv``, ``truth.json``, ``complete_{val,test}.json``.

    One patient has one series with one sub-volume. The same arguments give the same bytes for any ``workers``.

    Args:
        out: new or empty folder.
        patients: number of patients, at least 1.
        seed: everything drawn follows from it.
        missing_law: which lesions lose their label, see `lesion_app.data.missing_labels.draw_labelled`.
        missing_rate: expected share of lesions without a label; None = as measured on DeepLesion.
        thickness_mm: shortest and longest stretch of the body per sub-volume, mm.
        split: shares of training, validation and test patients.
        size: side of the slices in px. Pixels stay 0.6 to 1.0 mm, so that small images show small bodies.
        lesions_per_volume: fewest and most lesions; None = DeepLesion's distribution (mean 3.42).
        z_spacings: slice spacings (= thicknesses) to choose from, mm.
        conspicuity_hu: HU by which every lesion stands out more than a plausible one; for demonstrations and
            tests on small networks, results on such data say nothing about real lesions.
        workers: processes.
        progress: called with (patients done, patients) after each patient.

    Returns:
        Counts of what was written.

    Raises:
        InputError: ``out`` is not empty, or an argument is out of its range. Nothing is left behind.
    """
    out = Path(out)
    settings = _Settings(
        size=size,
        z_spacings=tuple(float(v) for v in z_spacings),
        thickness_mm=(float(thickness_mm[0]), float(thickness_mm[1])),
        lesions_per_volume=lesions_per_volume,
        missing_law=missing_law,
        missing_rate=missing_rate,
        conspicuity_hu=float(conspicuity_hu),
    )
    _check(out, patients, seed, split, workers, settings)
    root = np.random.SeedSequence(seed)
    patient_seeds = root.spawn(patients)
    splits = _assign_splits(patients, split, np.random.default_rng(root.spawn(1)[0]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(out) as folder:
        jobs = [_Job(i, patient_seeds[i], splits[i], folder / "Images_png", settings) for i in range(patients)]
        written = []
        for done, result in enumerate(_run(jobs, workers), start=1):
            written.append(result)
            if progress is not None:
                progress(done, patients)
        _write_tables(folder, written)
    lesions = sum(len(w.complete) for w in written)
    return PhantomSummary(
        out=out,
        patients=patients,
        slices=sum(w.slices for w in written),
        lesions=lesions,
        labels=sum(len(w.rows) for w in written),
        patients_by_split={name: splits.count(name) for name in SPLITS},
    )


def _write_patient(job: _Job) -> _Written:
    patient_seed, label_seed, record_seed = job.seed.spawn(3)
    wanted = job.settings
    phantom = draw_phantom(
        patient_seed,
        wanted.size,
        wanted.z_spacings,
        wanted.thickness_mm,
        wanted.lesions_per_volume,
        wanted.conspicuity_hu,
    )
    rng = np.random.default_rng(record_seed)
    count = len(phantom.z_mm)
    series = f"{job.index + 1:06d}_{int(rng.integers(1, 4)):02d}_{int(rng.integers(1, 4)):02d}"
    first = int(rng.integers(1, max(2, round(400 / phantom.spacing_mm[2]))))
    gender, age = str(rng.choice(["M", "F"], p=[0.6, 0.4])), int(np.clip(rng.normal(53, 16), 2, 87))
    folder = job.folder / series
    folder.mkdir(parents=True)
    for number, pixels in enumerate(phantom.slices(), start=first):
        # Noise holds no repeats worth the search for them; entropy coding alone is faster and no larger.
        Image.fromarray(pixels).save(folder / f"{number:03d}.png", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
    lesions = phantom.truth()
    boxes = np.array([lesion.key.padded_box for lesion in lesions])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) - 1 - 2 * BOX_PADDING_PX
    long_sides = np.maximum(sides, 1.0) * phantom.spacing_mm[0]
    labelled = draw_labelled(long_sides, np.random.default_rng(label_seed), wanted.missing_law, wanted.missing_rate)
    return _Written(
        name=f"{series}_{first:03d}-{first + count - 1:03d}",
        rows=[
            csv_row(phantom, lesion, series, first, job.split, gender, age)
            for lesion, kept in sorted(zip(lesions, labelled), key=lambda pair: pair[0].key_index)
            if kept
        ],
        truth=truth_of_sub_volume(phantom, lesions, labelled, series, first, job.split),
        complete=harvester_boxes(lesions),
        slices=count,
    )


def _run(jobs: list[_Job], workers: int) -> Iterator[_Written]:
    if workers == 1 or len(jobs) == 1:
        yield from map(_write_patient, jobs)
        return
    # Spawned, not forked: the caller may hold threads or a CUDA context.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_write_patient, jobs)


def _write_tables(folder: Path, written: list[_Written]) -> None:
    with open(folder / "DL_info.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(row for one in written for row in one.rows)
    truth = {"convention": TRUTH_CONVENTION, "sub_volumes": {one.name: one.truth for one in written}}
    _write_json(folder / "truth.json", truth)
    for split in ("val", "test"):
        complete = {one.name: one.complete for one in written if one.truth["split"] == split}
        _write_json(folder / f"complete_{split}.json", complete)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary sibling that takes the place of ``out`` when all went well and vanishes otherwise."""
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            out.rmdir()  # empty, as checked
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _assign_splits(patients: int, shares: tuple[float, float, float], rng: np.random.Generator) -> list[str]:
    """Split by patient; a share above zero gets at least one patient where there are enough of them."""
    wanted = [max(1, round(patients * share)) if share > 0 else 0 for share in shares[1:]]
    if shares[0] > 0:
        while sum(wanted) >= patients and max(wanted) > 0:
            wanted[wanted.index(max(wanted))] -= 1
    val, test = wanted[0], min(wanted[1], patients - wanted[0])
    names = np.array([SPLITS[0]] * (patients - val - test) + [SPLITS[1]] * val + [SPLITS[2]] * test)
    return [str(name) for name in rng.permutation(names)]


def _check(
    out: Path, patients: int, seed: int, split: tuple[float, float, float], workers: int, settings: _Settings
) -> None:
    def refuse(found: str, expected: str) -> None:
        raise InputError(f"The phantom cannot be written: {found}; expected {expected}.")

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        refuse(f"{out} exists and is not an empty folder", "a new folder: name another one or remove this one")
    if patients < 1 or workers < 1 or seed < 0:
        refuse(f"patients {patients}, workers {workers}, seed {seed}", "patients and workers from 1, seed from 0")
    if len(split) != 3 or min(split) < 0 or not abs(sum(split) - 1) < 1e-6:
        refuse(f"split is {tuple(split)}", "three shares (train, val, test) that add up to 1")
    if settings.size < 64:
        refuse(f"size is {settings.size} px", "64 px or more")
    if not settings.z_spacings or not all(0 < v <= 10 for v in settings.z_spacings):
        refuse(f"z spacings are {settings.z_spacings}", "one or more spacings in mm, above 0 and up to 10")
    if not 0 < settings.thickness_mm[0] <= settings.thickness_mm[1] <= _LONGEST_SCAN_MM:
        refuse(
            f"thickness_mm is {settings.thickness_mm}",
            f"the shortest and the longest stretch in mm, up to {_LONGEST_SCAN_MM:g}",
        )
    counts = settings.lesions_per_volume
    if counts is not None and not 1 <= counts[0] <= counts[1]:
        refuse(f"lesions_per_volume is {counts}", "the fewest (1 or more) and the most lesions")
    if not 0 <= settings.conspicuity_hu <= 500:
        refuse(f"conspicuity_hu is {settings.conspicuity_hu}", "0 to 500 HU")
    if settings.missing_law not in _MISSING_LAWS:
        refuse(f"missing_law is {settings.missing_law!r}", f"one of {', '.join(_MISSING_LAWS)}")
    rate, highest = settings.missing_rate, highest_missing_rate()
    if rate is not None and not 0 <= rate <= highest:
        refuse(f"missing_rate is {rate}", f"0 to {highest:.3f}: one lesion a sub-volume keeps its label")
    if rate and settings.missing_law == "none":
        refuse(f"missing_rate is {rate} with the law 'none'", "no rate, or the law 'deeplesion' or 'random'")
