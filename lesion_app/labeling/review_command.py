"""``lesion-app review``: the review sheet, and readers' decisions into and out of a datalist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesion_app.command_line import command_line
from lesion_app.errors import InputError

SHEET = "review.html"
_SHEETS = (".html", ".htm")


def review(
    datalist: Annotated[Path, typer.Argument(help="Datalist with mined boxes (configs/mine.json writes one).")],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="New .html sheet to look through (or a folder for review.html), or new .json datalist with the "
            "--decisions in it."
        ),
    ] = None,
    decisions: Annotated[
        list[Path] | None, typer.Option("--decisions", help="Decisions to take up, .json or .csv; may be repeated.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="New .json or .csv of all decisions, those in the datalist included.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder the images' paths begin at; default: the datalist's.")
    ] = None,
    earlier: Annotated[
        list[Path] | None, typer.Option("--earlier", help="Datalist of an earlier round, for the score history.")
    ] = None,
    order: Annotated[str, typer.Option(help="volumes, score or random.")] = "volumes",
    limit: Annotated[int, typer.Option(min=1, help="Most boxes on one sheet.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the random order.")] = 0,
    unknown: Annotated[str, typer.Option(help="What unknown boxes become: ignore or mined.")] = "ignore",
    supersede: Annotated[bool, typer.Option(help="Let a later decision rule over an earlier one.")] = False,
) -> None:
    """Let a reader confirm or reject what the model suspects, and write the answers into a new datalist."""
    from lesion_app.data.datalist import load_records
    from lesion_app.labeling.decisions import (
        DECISION_FILES,
        apply_decisions,
        decisions_in,
        merge_decisions,
        read_decisions,
        write_decisions,
    )
    from lesion_app.labeling.review_queue import review_queue
    from lesion_app.labeling.review_sheet import write_review_sheet
    from lesion_app.labeling.reviewed_datalist import REVIEWED_SPLIT, write_reviewed_datalist

    if out is not None and (out.is_dir() or not out.suffix):
        out = out / SHEET
    if out is None and export is None:
        raise InputError("nothing to write was named; give a new .html sheet, a new .json datalist, or --export")
    if out is not None and out.suffix.lower() not in (*_SHEETS, ".json"):
        raise InputError(f"{out.name} is neither a sheet (.html) nor a datalist (.json); rename it")
    if export is not None and (export.suffix.lower() not in DECISION_FILES or export == out):
        raise InputError(f"decisions are exported to a .json or .csv of their own, not to {export.name}; rename it")
    for path in (out, export):
        if path is not None and path.exists():
            raise InputError(f"{path} exists and may hold somebody's work; name another file")
    root = datalist.parent if root is None else root
    records = load_records(datalist, REVIEWED_SPLIT, root)
    answers = merge_decisions(*(read_decisions(path) for path in decisions or []), supersede=supersede)
    applied = apply_decisions(records, answers, unknown=unknown, supersede=supersede)  # type: ignore[arg-type]
    if out is not None and out.suffix.lower() in _SHEETS:
        before = [load_records(path, REVIEWED_SPLIT, root) for path in earlier or []]
        queue = review_queue(applied.records, earlier=before, order=order, seed=seed)  # type: ignore[arg-type]
        shown = queue[:limit]
        write_review_sheet(out, shown, applied.records, decisions=decisions_in(applied.records))
        volumes = len({one.record for one in shown})
        left = f"; {len(queue) - len(shown)} more wait" if len(queue) > len(shown) else ""
        typer.echo(f"wrote {out}: {len(shown)} boxes in {volumes} sub-volumes to look at{left}")
        typer.echo(f"next: open it, answer, export; then lesion-app review {datalist} NEW.json --decisions EXPORTED")
    elif out is not None:
        write_reviewed_datalist(datalist, out, decisions or [], unknown=unknown, supersede=supersede)  # type: ignore[arg-type]
        typer.echo(
            f"wrote {out}: {applied.confirmed} confirmed, {applied.rejected} rejected, {applied.unknown} unknown"
        )
        train = command_line("train", ["reviewed"], [f"dataset_dir={root}", f"datalist={out}"])
        typer.echo(f"next: {train}   (from models/model.pt to models/reviewed/)")
    if export is not None:
        everything = decisions_in(applied.records)
        typer.echo(f"wrote {write_decisions(export, everything)}: {len(everything)} decisions")
