"""Write a phantom data set that is labelled as one of LENS's four is."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lesion_app.atomic_file import replacing_folder
from lesion_app.data.phantom.data_set import check_data_set, write_data_set
from lesion_app.data.phantom.deeplesion_layout import TRUTH_CONVENTION
from lesion_app.data.phantom.follow_up import draw_follow_up
from lesion_app.data.phantom.patient import Phantom, draw_phantom
from lesion_app.data.phantom.site import Site
from lesion_app.data.phantom.sub_volume import SubVolumeSettings, refuse
from lesion_app.data.phantom_collections import lits_layout, luna16_layout, nih_ln_layout
from lesion_app.data.phantom_collections.scan import PhantomScan

Collection = Literal["deeplesion", "luna16", "lits", "nih-ln"]
COLLECTIONS: tuple[str, ...] = get_args(Collection)

# As real scans of the chest do, they reach below the diaphragm, whose dome looks like a large nodule.
_CHEST = Site((400.0, 600.0), (5,))
_LIVER = Site((325.0, 395.0), (4,))
_ABDOMEN = Site((190.0, 335.0), (2,))
_MEDIASTINUM = Site((430.0, 590.0), (3,))


@dataclass(frozen=True)
class CollectionSummary:
    """What was written: counts of patients, scans and slices, of all lesions, and of those that are labelled."""

    out: Path
    patients: int
    scans: int
    slices: int
    lesions: int
    labels: int


def write_collection(
    kind: Collection,
    out: Path,
    patients: int,
    seed: int = 0,
    *,
    visits: int = 2,
    split: tuple[float, float, float] = (0.7, 0.15, 0.15),
    thickness_mm: tuple[float, float] = (55.0, 75.0),
    size: int = 512,
    lesions_per_volume: tuple[int, int] | None = None,
    z_spacings: Sequence[float] = (1.0, 2.0, 5.0),
    conspicuity_hu: float = 0.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CollectionSummary:
    """Write phantom patients in the published layout of one data set, and ``truth.json`` with every lesion.

    ``luna16`` labels lung lesions only, ``lits`` liver lesions, ``nih-ln`` nodes of mediastinum and abdomen, half of
    the patients each; the others stand in ``truth.json`` alone. ``deeplesion`` has all types, of which half lose their
    label, each visit by itself. The same arguments give the same bytes for any ``workers``.

    Args:
        kind: which layout and labels.
        out: new or empty folder.
        patients: at least 1.
        seed: everything drawn follows from it; take another one for every collection, or their patients are alike.
        visits: series a patient, for ``deeplesion``; the others have one.
        split: shares of training, validation and test patients, for ``deeplesion``; the others are split when prepared.
        thickness_mm, size, lesions_per_volume, z_spacings, conspicuity_hu, workers, progress: as in `write_phantom`.

    Raises:
        InputError: ``out`` is not empty, or an argument is out of its range. Nothing is left behind.
    """
    out = Path(out)
    if kind not in COLLECTIONS:
        refuse(f"the collection is {kind!r}", f"one of {', '.join(COLLECTIONS)}")
    if visits < 1:
        refuse(f"visits is {visits}", "1 or more")
    settings = SubVolumeSettings(
        size=size,
        z_spacings=tuple(float(v) for v in z_spacings),
        thickness_mm=(float(thickness_mm[0]), float(thickness_mm[1])),
        lesions_per_volume=lesions_per_volume,
        conspicuity_hu=float(conspicuity_hu),
    )
    settings.check()
    if kind == "deeplesion":
        draw = _DrawVisits(settings, visits)
        done = write_data_set(
            out, patients, seed, draw, split=split, missing_law="deeplesion", missing_rate=None, workers=workers,
            progress=progress,
        )  # fmt: skip
        return CollectionSummary(out, patients, patients * visits, done.slices, done.lesions, done.labels)
    check_data_set(out, patients, seed, split, "none", None, workers)
    seeds = np.random.SeedSequence(seed).spawn(patients)
    with replacing_folder(out, only_empty=True) as folder:
        jobs = [_Job(kind, i, seed, seeds[i], settings, folder) for i in range(patients)]
        written: list[_Written] = []
        for one in _run(jobs, workers):
            written.append(one)
            if progress is not None:
                progress(len(written), patients)
        if kind == "luna16":
            luna16_layout.write_table(folder, [row for one in written for row in one.rows])
        truth = {"convention": TRUTH_CONVENTION, "sub_volumes": {one.name: one.truth for one in written}}
        (folder / "truth.json").write_text(json.dumps(truth, separators=(",", ":")) + "\n", encoding="utf-8")
    lesions = [lesion for one in written for lesion in one.truth["lesions"]]
    slices = sum(one.truth["slices"][1] for one in written)
    return CollectionSummary(
        out, patients, patients, slices, len(lesions), sum(lesion["labelled"] for lesion in lesions)
    )


@dataclass(frozen=True)
class _DrawVisits:
    settings: SubVolumeSettings
    visits: int

    def __call__(self, seed: np.random.SeedSequence, split: str) -> list[Phantom]:
        first_seed, later_seed = seed.spawn(2)
        first = _draw(first_seed, self.settings, None)
        later = later_seed.spawn(self.visits - 1)
        return [first, *(draw_follow_up(first, one, self.settings.z_spacings) for one in later)]


@dataclass(frozen=True)
class _Job:
    kind: str
    index: int
    seed: int
    patient_seed: np.random.SeedSequence
    settings: SubVolumeSettings
    folder: Path


@dataclass(frozen=True)
class _Written:
    name: str
    truth: dict[str, Any]
    rows: list[str]


def _draw(seed: np.random.SeedSequence, wanted: SubVolumeSettings, site: Site | None) -> Phantom:
    return draw_phantom(
        seed,
        wanted.size,
        wanted.z_spacings,
        wanted.thickness_mm,
        wanted.lesions_per_volume,
        wanted.conspicuity_hu,
        site,
    )


def _write_patient(job: _Job) -> _Written:
    draw_seed, place_seed = job.patient_seed.spawn(2)
    region = "ABD" if job.index % 2 == 0 else "MED"
    nodes = _ABDOMEN if region == "ABD" else _MEDIASTINUM
    site = {"luna16": _CHEST, "lits": _LIVER, "nih-ln": nodes}[job.kind]
    phantom = _draw(draw_seed, job.settings, site)
    x, y, z = (float(round(v, 3)) for v in np.random.default_rng(place_seed).uniform(-300, 0, 3))
    scan = PhantomScan(phantom, site.types, (x, y, z))
    rows: list[str] = []
    if job.kind == "luna16":
        series = luna16_layout.series_id(job.index, job.seed)
        rows = luna16_layout.write_scan(scan, job.folder, job.index, job.seed)
    elif job.kind == "lits":
        series = lits_layout.series_id(job.index)
        lits_layout.write_scan(scan, job.folder, job.index)
    else:
        series = nih_ln_layout.series_id(job.index, region)
        nih_ln_layout.write_scan(scan, job.folder, job.index, region)
    name, truth = scan.truth_entry(series)
    return _Written(name, truth, rows)


def _run(jobs: list[_Job], workers: int) -> Any:
    if workers == 1 or len(jobs) == 1:
        yield from map(_write_patient, jobs)
        return
    # Spawned, not forked: the caller may hold threads or a CUDA context.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_write_patient, jobs)
