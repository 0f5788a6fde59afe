"""``lesion-app prepare luna16|lits|nih-ln`` and ``phantom --collection``: data sets of whole scans."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lesion_app.command_line import command_line
from lesion_app.errors import InputError

if TYPE_CHECKING:
    from lesion_app.data.datalist import PrepareSummary


def prepare_volumes_command(kind: str) -> Callable[..., None]:
    """The verb ``lesion-app prepare <kind>``, see `lesion_app.data.prepare_volumes.prepare_volumes`."""

    def command(
        source: Annotated[Path, typer.Argument(help="The data set as published, unpacked.")],
        out: Annotated[Path, typer.Argument(help="Folder for Images_png/ and datalist.json.")],
        validation_share: Annotated[float, typer.Option(help="Share of the patients that validate.")] = 0.2,
        seed: Annotated[int, typer.Option(help="Of the draw of these patients.")] = 0,
        validation_fold: Annotated[int | None, typer.Option(help="The set's own fold that validates instead.")] = None,
        padding_px: Annotated[
            float, typer.Option("--padding", help="px added to every side of a box; 5 gives boxes like DeepLesion's.")
        ] = 0.0,
        allow_missing: Annotated[bool, typer.Option(help="Leave out what is missing or cannot be read.")] = False,
        workers: Annotated[int, typer.Option(min=1, help="Processes.")] = min(4, os.cpu_count() or 1),
    ) -> None:
        from lesion_app.data.prepare_volumes import prepare_volumes
        from lesion_app.progress import progress_bar

        console = Console(soft_wrap=True)
        with progress_bar(console, "scans") as bar:
            task = bar.add_task(kind, total=None)
            summary = prepare_volumes(
                kind,  # type: ignore[arg-type]
                source,
                out,
                validation_share=validation_share,
                seed=seed,
                validation_fold=validation_fold,
                padding_px=padding_px,
                allow_missing=allow_missing,
                workers=workers,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        print_prepared(console, summary, out)

    return command


def print_prepared(console: Console, summary: PrepareSummary, root: Path, configs: Sequence[str] = ()) -> None:
    """Tell what a datalist holds, what to know about it, and what to do next: train, with the overlays ``configs``."""
    from rich.table import Table

    table = Table(title=str(summary.datalist))
    for name in ("split", "patients", "sub-volumes", "slices", "key slices", "lesions", "ignore regions"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, c in summary.counts.items():
        row = (c.patients, c.sub_volumes, c.slices, c.key_slices, c.boxes, c.ignored)
        table.add_row(split, *(f"{n:,}" for n in row))
    console.print(table)
    for text in summary.warnings:
        console.print(f"note: {text}")
    settings = [f"dataset_dir={root}", f"datalist={summary.datalist}"]
    console.print(f"next: {command_line('train', configs, settings)}", markup=False)


def write_collection_verb(
    collection: str, out: Path, patients: int, seed: int, made_to_order: bool, **settings: Any
) -> None:
    """``lesion-app phantom --collection``, see `lesion_app.data.phantom_collections.write_collection`.

    Raises:
        InputError: an argument out of its range, or ``made_to_order``: missing labels or sizes were asked for, too.
    """
    from lesion_app.data.phantom_collections import write_collection
    from lesion_app.progress import progress_bar

    if made_to_order:
        raise InputError(
            "--missing-law, --missing-rate or --smallest was given with --collection; a collection has labels and "
            "sizes of its own, so leave one of them out."
        )
    console = Console(soft_wrap=True)
    with progress_bar(console, "patients") as bar:
        task = bar.add_task("phantom", total=patients)
        made = write_collection(
            collection,  # type: ignore[arg-type]
            out,
            patients,
            seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **settings,
        )
    console.print(
        f"wrote {out}: {made.patients} patients, {made.scans} scans, {made.slices} slices, {made.lesions} lesions, "
        f"{made.labels} of them labelled"
    )
    target = out if collection == "deeplesion" else f"{out}-prepared"
    console.print(f"next: lesion-app prepare {collection} {out} {target}")
