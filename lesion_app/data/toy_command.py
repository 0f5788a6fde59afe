"""The verb that writes the toy data sets of Retina U-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lesion_app.command_line import command_line
from lesion_app.errors import InputError
from lesion_app.number_list import parse_numbers
from lesion_app.progress import progress_bar

_SHOWN = 6
_MANY_CUT = 0.2
"""Share of objects cut by the border from which on a hint is printed; the published settings cut 0.116."""


def toy_command(
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    task: Annotated[
        str, typer.Option(help="shapes (donuts, hole in the mask), patterns (no hole in the mask) or scales.")
    ] = "shapes",
    training: Annotated[int, typer.Option(min=0, help="Images to train on.")] = 1000,
    validation: Annotated[int, typer.Option(min=0)] = 500,
    test: Annotated[int, typer.Option(min=0)] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    size: Annotated[int, typer.Option(help="Side of the images in px.")] = 320,
    sizes: Annotated[
        str, typer.Option(help="Objects of 20: published (taken for a radius, 39 px wide) or paper (20 px wide).")
    ] = "published",
    contrast: Annotated[float, typer.Option(help="By how much objects are brighter; noise runs from 0 to 1.")] = 0.2,
    hole_px: Annotated[int, typer.Option("--hole", help="Nominal size of the holes in shapes and patterns, px.")] = 4,
    scale_px: Annotated[str, typer.Option("--scale-px", help="Nominal sizes of the two classes of scales.")] = "19,20",
    margin_px: Annotated[
        int | None,
        typer.Option(
            "--margin", help="Least distance of centres from the border, px.", show_default="half of the largest size"
        ),
    ] = None,
    sheet: Annotated[bool, typer.Option(help="Draw toy.png.")] = True,
) -> None:
    """Write a toy data set: one object of two classes in noise, with box and mask."""
    from lesion_app.data.toy import ToySettings, draw_toy_image, write_toy

    console = Console(highlight=False, soft_wrap=True)
    settings = ToySettings(
        size=size,
        sizes=sizes,  # type: ignore[arg-type]
        contrast=contrast,
        hole_px=hole_px,
        scale_px=_two_sizes(scale_px),
        margin_px=margin_px,
    )
    with progress_bar(console, "images") as bar:
        todo = bar.add_task("", total=training + validation + test)
        summary = write_toy(
            out,
            task,  # type: ignore[arg-type]
            training,
            validation,
            test,
            seed,
            settings=settings,
            progress=lambda done, total: bar.update(todo, completed=done, total=total),
        )
    total = sum(summary.images.values())
    console.print(f"wrote {out}: {total} images, {summary.cut} objects cut by the border")
    if summary.cut > _MANY_CUT * total:
        least = max(settings.nominal_px(task)) - 1  # type: ignore[arg-type]  # what lies beside a centre's pixel
        whole = f"--margin {least}" if sizes == "published" else "leaving --margin out"
        told = f"{summary.cut / total:.0%} of the objects are cut"
        console.print(f"note: {told}; {whole} keeps all of them whole, a larger --size cuts fewer")
    if sheet:
        from lesion_app.visualize.toy_sheet import draw_toy_sheet

        split = next(i for i, count in enumerate(summary.images.values()) if count)
        shown = [
            draw_toy_image(task, [seed, split, k], settings)  # type: ignore[arg-type]
            for k in range(min(_SHOWN, list(summary.images.values())[split]))
        ]
        picture = draw_toy_sheet(
            [toy.image for toy in shown],
            [toy.mask for toy in shown],
            [toy.box for toy in shown],
            [toy.label for toy in shown],
            out / "toy.png",
            title=f"Toy data: {task}",
        )
        console.print(f"wrote {picture}")
    console.print(f"next: {command_line('train', ['retina_unet', 'toy'], [f'dataset_dir={out}'])}", markup=False)


def _two_sizes(text: str) -> tuple[int, int]:
    first, second = parse_numbers(text, ",", "--scale-px", "19,20", 2)
    if not (first.is_integer() and second.is_integer()):
        raise InputError(f"--scale-px was given '{text}', expected 2 whole numbers like 19,20")
    return int(first), int(second)
