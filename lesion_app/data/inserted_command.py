"""The verb that writes made-up lesions into real CTs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lesion_app.number_list import parse_numbers
from lesion_app.progress import progress_bar


def insert_lesions_command(
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    backgrounds: Annotated[list[Path], typer.Argument(help="CTs: DICOM folders, NIfTI, NRRD or MHA files.")],
    known_lesions: Annotated[
        Path | None, typer.Option(help="JSON of the CTs' own lesions; sub-volumes keep away from them.")
    ] = None,
    split_rule: Annotated[
        str, typer.Option(help="Splits use different CTs (volume), different z-ranges (z_range), or auto.")
    ] = "auto",
    patients: Annotated[int, typer.Option(min=1)] = 100,
    seed: int = 0,
    missing_law: Annotated[str, typer.Option(help="deeplesion, random or none.")] = "deeplesion",
    missing_rate: Annotated[float | None, typer.Option(help="Overall share of lesions without a label.")] = None,
    thickness_mm: Annotated[
        str, typer.Option("--thickness", help="Shortest-longest stretch of the body in a sub-volume, mm.")
    ] = "55-75",
    size: Annotated[int, typer.Option(help="Side of the slices in px; small slices show a part of the body.")] = 512,
    z_spacings: Annotated[str, typer.Option(help="Slice spacings to choose from, mm.")] = "5",
    lesions_per_volume: Annotated[
        str | None, typer.Option("--lesions", help="Fewest-most lesions; default: DeepLesion's distribution.")
    ] = None,
    conspicuity_hu: Annotated[
        float, typer.Option("--conspicuity", help="HU by which lesions stand out more than plausible ones.")
    ] = 0.0,
    smallest_mm: Annotated[float, typer.Option("--smallest", help="Least long axis of a lesion, mm.")] = 0.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = min(4, os.cpu_count() or 1),
) -> None:
    """Put made-up lesions into real CTs, in DeepLesion's layout, labels incomplete as DeepLesion's are."""
    from lesion_app.data.inserted import write_inserted

    console = Console(highlight=False)
    shortest, longest = parse_numbers(thickness_mm, "-", "--thickness", "55-75", 2)
    counts = None if lesions_per_volume is None else parse_numbers(lesions_per_volume, "-", "--lesions", "2-4", 2)
    with progress_bar(console, "patients") as bar:
        task = bar.add_task("", total=patients)
        summary = write_inserted(
            backgrounds,
            out,
            patients,
            seed,
            known_lesions=known_lesions,
            split_rule=split_rule,  # type: ignore[arg-type]
            missing_law=missing_law,  # type: ignore[arg-type]
            missing_rate=missing_rate,
            thickness_mm=(shortest, longest),
            size=size,
            lesions_per_volume=None if counts is None else (int(counts[0]), int(counts[1])),
            z_spacings=parse_numbers(z_spacings, ",", "--z-spacings", "2,5"),
            conspicuity_hu=conspicuity_hu,
            smallest_mm=smallest_mm,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(
        f"wrote {out}: {summary.patients} patients, {summary.slices} slices, {summary.lesions} lesions, "
        f"{summary.labels} of them labelled"
    )
    console.print(f"note: {summary.leakage}")
    console.print(f"next: lesion-app prepare deeplesion {out} {out}")
