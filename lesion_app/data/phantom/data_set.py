"""Write made-up sub-volumes as a data set in DeepLesion's layout, with the complete truth beside it."""

from __future__ import annotations

import csv
import json
import multiprocessing
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lesion_app.atomic_file import replacing_folder
from lesion_app.data.missing_labels import BOX_PADDING_PX, draw_labelled, highest_missing_rate
from lesion_app.data.phantom.deeplesion_layout import (
    COLUMNS,
    SPLITS,
    TRUTH_CONVENTION,
    csv_row,
    harvester_boxes,
    truth_of_sub_volume,
)
from lesion_app.data.phantom.sub_volume import SubVolume, refuse

MissingLaw = Literal["deeplesion", "random", "none"]
_MISSING_LAWS = ("deeplesion", "random", "none")

DrawSubVolume = Callable[[np.random.SeedSequence, str], SubVolume | Sequence[SubVolume]]
"""(seed, split) -> a patient's sub-volume, or those of several visits, each with the same lesions in the same order;
must be picklable, processes of a pool call it."""


@dataclass(frozen=True)
class DataSetSummary:
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
class _Job:
    index: int
    seed: np.random.SeedSequence
    split: str
    folder: Path
    draw: DrawSubVolume
    missing_law: MissingLaw
    missing_rate: float | None


@dataclass(frozen=True)
class _Written:
    name: str
    rows: list[dict[str, str]]
    truth: dict[str, Any]
    complete: list[list[float]]
    slices: int


def write_data_set(
    out: Path,
    patients: int,
    seed: int,
    draw: DrawSubVolume,
    *,
    split: tuple[float, float, float],
    missing_law: MissingLaw,
    missing_rate: float | None,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> DataSetSummary:
    """Write ``out``: ``Images_png/<series>/<NNN>.png``, ``DL_info.csv``, ``truth.json``, ``complete_{val,test}.json``.

    Each visit of a patient is one series with one sub-volume. The same arguments give the same bytes for any
    ``workers``.

    Args:
        out: new or empty folder.
        patients: number of patients, at least 1.
        seed: everything drawn follows from it.
        draw: makes one patient.
        split: shares of training, validation and test patients.
        missing_law: which lesions lose their label, see `lesion_app.data.missing_labels.draw_labelled`.
        missing_rate: expected share of lesions without a label; None = as measured on DeepLesion.
        workers: processes.
        progress: called with (patients done, patients) after each patient.

    Raises:
        InputError: an argument that `check_data_set` refuses, or what ``draw`` raises. Nothing is left behind.
    """
    check_data_set(out, patients, seed, split, missing_law, missing_rate, workers)
    root = np.random.SeedSequence(seed)
    patient_seeds = root.spawn(patients)
    splits = _assign_splits(patients, split, np.random.default_rng(root.spawn(1)[0]))
    with replacing_folder(out, only_empty=True) as folder:
        images = folder / "Images_png"
        jobs = [_Job(i, patient_seeds[i], splits[i], images, draw, missing_law, missing_rate) for i in range(patients)]
        written: list[_Written] = []
        for done, result in enumerate(_run(jobs, workers), start=1):
            written.extend(result)
            if progress is not None:
                progress(done, patients)
        _write_tables(folder, written)
    lesions = sum(len(w.complete) for w in written)
    return DataSetSummary(
        out=out,
        patients=patients,
        slices=sum(w.slices for w in written),
        lesions=lesions,
        labels=sum(len(w.rows) for w in written),
        patients_by_split={name: splits.count(name) for name in SPLITS},
    )


def check_data_set(
    out: Path,
    patients: int,
    seed: int,
    split: tuple[float, float, float],
    missing_law: str,
    missing_rate: float | None,
    workers: int,
) -> None:
    """Raise InputError when ``out`` is not empty or an argument of `write_data_set` is out of its range."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        refuse(f"{out} exists and is not an empty folder", "a new folder: name another one or remove this one")
    if patients < 1 or workers < 1 or seed < 0:
        refuse(f"patients {patients}, workers {workers}, seed {seed}", "patients and workers from 1, seed from 0")
    if len(split) != 3 or min(split) < 0 or not abs(sum(split) - 1) < 1e-6:
        refuse(f"split is {tuple(split)}", "three shares (train, val, test) that add up to 1")
    if missing_law not in _MISSING_LAWS:
        refuse(f"missing_law is {missing_law!r}", f"one of {', '.join(_MISSING_LAWS)}")
    highest = highest_missing_rate()
    if missing_rate is not None and not 0 <= missing_rate <= highest:
        refuse(f"missing_rate is {missing_rate}", f"0 to {highest:.3f}: one lesion a sub-volume keeps its label")
    if missing_rate and missing_law == "none":
        refuse(f"missing_rate is {missing_rate} with the law 'none'", "no rate, or the law 'deeplesion' or 'random'")


def _write_patient(job: _Job) -> list[_Written]:
    patient_seed, label_seed, record_seed = job.seed.spawn(3)
    drawn = job.draw(patient_seed, job.split)
    visits = list(drawn) if isinstance(drawn, Sequence) else [drawn]
    rng, labels = np.random.default_rng(record_seed), np.random.default_rng(label_seed)
    study, scan = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    first = _first_slice(rng, visits[0])
    gender, age = str(rng.choice(["M", "F"], p=[0.6, 0.4])), int(np.clip(rng.normal(53, 16), 2, 87))
    firsts = [first, *(_first_slice(rng, visit) for visit in visits[1:])]
    return [
        _write_series(job, visit, f"{job.index + 1:06d}_{study + number:02d}_{scan:02d}", start, gender, age, labels)
        for number, (visit, start) in enumerate(zip(visits, firsts))
    ]


def _first_slice(rng: np.random.Generator, volume: SubVolume) -> int:
    return int(rng.integers(1, max(2, round(400 / volume.spacing_mm[2]))))


def _write_series(
    job: _Job, volume: SubVolume, series: str, first: int, gender: str, age: int, labels: np.random.Generator
) -> _Written:
    count = volume.count
    folder = job.folder / series
    folder.mkdir(parents=True)
    for number, pixels in enumerate(volume.slices(), start=first):
        # Noise holds no repeats worth the search for them; entropy coding alone is faster and no larger.
        Image.fromarray(pixels).save(folder / f"{number:03d}.png", compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
    lesions = volume.truth()
    boxes = np.array([lesion.key.padded_box for lesion in lesions])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) - 1 - 2 * BOX_PADDING_PX
    long_sides = np.maximum(sides, 1.0) * volume.spacing_mm[0]
    labelled = draw_labelled(long_sides, labels, job.missing_law, job.missing_rate)
    return _Written(
        name=f"{series}_{first:03d}-{first + count - 1:03d}",
        rows=[
            csv_row(volume, lesion, series, first, job.split, gender, age)
            for lesion, kept in sorted(zip(lesions, labelled), key=lambda pair: pair[0].key_index)
            if kept
        ],
        truth=truth_of_sub_volume(volume, lesions, labelled, series, first, job.split),
        complete=harvester_boxes(lesions),
        slices=count,
    )


def _run(jobs: list[_Job], workers: int) -> Iterator[list[_Written]]:
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


def _assign_splits(patients: int, shares: tuple[float, float, float], rng: np.random.Generator) -> list[str]:
    """Split by patient; a share above zero gets at least one patient where there are enough of them."""
    wanted = [max(1, round(patients * share)) if share > 0 else 0 for share in shares[1:]]
    if shares[0] > 0:
        while sum(wanted) >= patients and max(wanted) > 0:
            wanted[wanted.index(max(wanted))] -= 1
    val, test = wanted[0], min(wanted[1], patients - wanted[0])
    names = np.array([SPLITS[0]] * (patients - val - test) + [SPLITS[1]] * val + [SPLITS[2]] * test)
    return [str(name) for name in rng.permutation(names)]
