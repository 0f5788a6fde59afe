"""``lesion-app report``: a study's findings as DICOM, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesion_app.clinical.report_study import DEFAULT_FORMS, report_study
from lesion_app.errors import InputError


def report(
    study: Annotated[Path, typer.Argument(help="Folder with the study's DICOM files, sub-folders included.")],
    out: Annotated[
        Path, typer.Argument(help="Folder for the results: new, empty, or with earlier ones of the series.")
    ],
    models: Annotated[
        Path | None,
        typer.Option(help="model.pt, its folder, or a packed bundle; default: the bundle's models/model.pt."),
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", help="Overlay on inference.json, by name or file; may be repeated.")
    ] = None,
    forms: Annotated[
        str, typer.Option(help="Kinds of DICOM objects, of sr, seg, key_images and gsps, separated by commas.")
    ] = ",".join(DEFAULT_FORMS),
    min_score: Annotated[float | None, typer.Option(help="Lowest score to report.")] = None,
    device: Annotated[str | None, typer.Option(help="torch device, e.g. cpu or cuda:0.")] = None,
    sheet: Annotated[bool, typer.Option(help="Draw lesions.png.")] = True,
) -> None:
    """Choose the CT series of a DICOM study, find its lesions and write SR, SEG and key images."""
    from rich.console import Console

    done = report_study(
        study,
        out,
        models=models,
        configs=config or [],
        forms=split_forms(forms),
        min_score=min_score,
        device=device,
        sheet=sheet,
        progress=True,
    )
    console = Console(soft_wrap=True)
    console.print(f"series: {done.series.explanation}", markup=False, highlight=False)
    count = len(done.document["lesions"])
    console.print(f"{count or 'no'} lesion{'' if count == 1 else 's'}; wrote {len(done.files)} files to {done.out}")


def split_forms(text: str) -> list[str]:
    """``"sr,seg"`` as ``["sr", "seg"]``; InputError when nothing is named."""
    forms = [form.strip() for form in text.split(",") if form.strip()]
    if not forms:
        raise InputError("no form of findings was named; expected some of sr, seg, key_images and gsps, as in sr,seg")
    return forms
