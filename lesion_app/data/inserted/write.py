"""Write a data set of made-up lesions in real CTs, in the layout of the phantom's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lesion_app.data.inserted.background import free_stretches, read_known_lesions
from lesion_app.data.inserted.dealing import LEAKAGE, SPLIT_RULES, SplitRule, deal_stretches
from lesion_app.data.inserted.patient import DrawInserted
from lesion_app.data.phantom.data_set import DataSetSummary, MissingLaw, check_data_set, write_data_set
from lesion_app.data.phantom.sub_volume import SubVolumeSettings, refuse
from transforms.ct_reader import open_ct


@dataclass(frozen=True)
class InsertedSummary(DataSetSummary):
    """`DataSetSummary` and what the splits have in common.

    Args:
        split_rule: "volume" or "z_range", see `lesion_app.data.inserted.dealing.deal_stretches`.
        leakage: one or two sentences on what the splits share.
        z_ranges_mm: split -> (number of the background, from, to), mm from its most inferior slice.
    """

    split_rule: str
    leakage: str
    z_ranges_mm: dict[str, list[tuple[int, float, float]]]


def write_inserted(
    backgrounds: Sequence[Path],
    out: Path,
    patients: int,
    seed: int = 0,
    *,
    known_lesions: Path | None = None,
    split_rule: SplitRule = "auto",
    missing_law: MissingLaw = "deeplesion",
    missing_rate: float | None = None,
    thickness_mm: tuple[float, float] = (55.0, 75.0),
    split: tuple[float, float, float] = (0.7, 0.15, 0.15),
    size: int = 512,
    lesions_per_volume: tuple[int, int] | None = None,
    z_spacings: Sequence[float] = (5.0,),
    conspicuity_hu: float = 0.0,
    smallest_mm: float = 0.0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> InsertedSummary:
    """Write ``out`` as `lesion_app.data.phantom.write_phantom` does, with real CTs in place of made-up bodies.

    A patient is a random view of a part of a background: mirrored or not, turned, scaled, bent, resampled, with more
    noise. Sub-volumes never reach the slices of a known lesion of the background. The same arguments and backgrounds
    give the same bytes for any ``workers``.

    Args:
        backgrounds: CTs that `transforms.open_ct` reads.
        out: new or empty folder.
        patients: number of patients, at least 1.
        seed: everything drawn follows from it.
        known_lesions: JSON of the backgrounds' own lesions (`read_known_lesions`); CTs it does not name, and all of
            them without it, are taken to have none.
        split_rule: what keeps training, validation and test apart, see `deal_stretches`.
        missing_law, missing_rate, thickness_mm, split, size, lesions_per_volume, z_spacings, conspicuity_hu,
        smallest_mm, workers, progress: as in `write_phantom`. Pixels are 0.6 to 1.0 mm, down to 0.5 mm where the
            background is narrow; small slices show a part of the body. A sub-volume is shorter than wanted where its
            z-range is.

    Returns:
        Counts of what was written and what the splits share.

    Raises:
        InputError: a background cannot be read or used, ``out`` is not empty, or an argument is out of its range.
            Nothing is left behind.
    """
    out, paths = Path(out), tuple(Path(path).resolve() for path in backgrounds)
    settings = SubVolumeSettings(
        size=size,
        z_spacings=tuple(float(v) for v in z_spacings),
        thickness_mm=(float(thickness_mm[0]), float(thickness_mm[1])),
        lesions_per_volume=lesions_per_volume,
        conspicuity_hu=float(conspicuity_hu),
        smallest_mm=float(smallest_mm),
    )
    settings.check()
    check_data_set(out, patients, seed, split, missing_law, missing_rate, workers)
    if not paths or len(set(paths)) < len(paths):
        refuse(f"{len(paths)} backgrounds were given, {len(set(paths))} of them different", "one or more different CTs")
    if split_rule not in SPLIT_RULES:
        refuse(f"split_rule is {split_rule!r}", f"one of {', '.join(SPLIT_RULES)}")
    known = read_known_lesions(known_lesions) if known_lesions is not None else {}
    geometries = [open_ct(path).geometry for path in paths]
    free = [
        stretch
        for number, (path, geometry) in enumerate(zip(paths, geometries))
        for stretch in free_stretches(number, geometry, known.get(path, []))
    ]
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(paths)]))
    steps = [geometry.spacing_mm[2] for geometry in geometries]
    rule, dealt = deal_stretches(free, steps, split, settings.thickness_mm, split_rule, rng)
    written = write_data_set(
        out,
        patients,
        seed,
        DrawInserted(paths, dealt, settings),
        split=split,
        missing_law=missing_law,
        missing_rate=missing_rate,
        workers=workers,
        progress=progress,
    )
    return InsertedSummary(
        **{field.name: getattr(written, field.name) for field in fields(written)},
        split_rule=rule,
        leakage=LEAKAGE[rule],
        z_ranges_mm={
            name: [(one.background, round(one.low_mm, 2), round(one.high_mm, 2)) for one in stretches]
            for name, stretches in dealt.items()
        },
    )
