"""``lesion-app prepare typed``: the datalist of the multi-class benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lesion_app.data.prepare_command import print_prepared
from lesion_app.number_list import parse_numbers


def prepare_typed_command(
    root: Annotated[Path, typer.Argument(help="Folder with DL_info.csv and Images_png/.")],
    out: Annotated[Path, typer.Argument(help="Folder for datalist.json.")],
    shares: Annotated[str, typer.Option(help="Shares of the patients that train, validate and test.")] = "0.7,0.1,0.2",
    seed: Annotated[int, typer.Option(help="Of the draw of the patients.")] = 0,
    allow_missing: Annotated[bool, typer.Option(help="Leave out what has no image.")] = False,
) -> None:
    """Write datalist.json with the typed rows of DeepLesion (or a phantom in its layout), split by patient."""
    from lesion_app.data.typed_datalist import prepare_typed

    summary = prepare_typed(
        root,
        out,
        shares=parse_numbers(shares, ",", "--shares", "0.7,0.1,0.2", 3),
        seed=seed,
        allow_missing=allow_missing,
    )
    print_prepared(Console(soft_wrap=True), summary, root, ["typed_detection"])
