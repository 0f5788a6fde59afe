"""``lesion-app prepare lidc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def prepare_lidc_command(
    source: Annotated[Path, typer.Argument(help="Folder with TCIA's LIDC-IDRI/ and the XML files.")],
    out: Annotated[Path, typer.Argument(help="Folder for Images_png/, Masks_png/ and datalist.json.")],
    validation_share: Annotated[float, typer.Option(help="Share of the patients that validate.")] = 0.2,
    test_share: Annotated[float, typer.Option(help="Share of the patients that test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of the draw of these patients.")] = 0,
    agreement: Annotated[
        float, typer.Option(help="Share of the readers who must have marked a pixel; 0.5 is the majority vote.")
    ] = 0.5,
    rating: Annotated[
        str,
        typer.Option(help="Readers' malignancies as one: mean, median, or published (who saw nothing counts as 0)."),
    ] = "mean",
    masks: Annotated[bool, typer.Option(help="Write the nodules' masks, too.")] = True,
    padding_px: Annotated[float, typer.Option("--padding", help="px added to every side of a box.")] = 0.0,
    allow_missing: Annotated[bool, typer.Option(help="Leave out what is missing or cannot be read.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = min(4, os.cpu_count() or 1),
) -> None:
    """Turn LIDC-IDRI into DeepLesion's slices with masks, benign (1) and malignant (2), and write datalist.json."""
    from lesion_app.data.prepare_command import print_prepared
    from lesion_app.data.prepare_volumes import prepare_volumes
    from lesion_app.progress import progress_bar

    console = Console(soft_wrap=True)
    with progress_bar(console, "scans") as bar:
        task = bar.add_task("lidc", total=None)
        summary = prepare_volumes(
            "lidc",
            source,
            out,
            validation_share=validation_share,
            test_share=test_share,
            seed=seed,
            padding_px=padding_px,
            allow_missing=allow_missing,
            reader_options={"agreement": agreement, "rating": rating, "masks": masks},
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print_prepared(console, summary, out, ["retina_unet", "lidc"])
