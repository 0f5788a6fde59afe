"""``lesion-app anchors``: anchor sizes that fit the boxes of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lesion_app.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from lesion_app.data.record import Record

_PIXEL_SPACING_MM = 0.8


def anchors(
    datalist: Annotated[Path, typer.Argument(help="datalist.json, as `lesion-app prepare` writes it.")],
    count: Annotated[int, typer.Option(min=1, help="Anchors to find; the same number for each head.")] = 9,
    split: Annotated[str, typer.Option(help="Part of the datalist whose boxes are looked at.")] = "training",
    pixel_spacing_mm: Annotated[
        float | None,
        typer.Option("--pixel-spacing", help="mm of a px the network sees; 0.8, as in train.json, if nothing is said."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Instead: slices resized so that their longer side has so many px.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the clusters' beginnings.")] = 0,
    restarts: Annotated[int, typer.Option(min=1, help="Beginnings to choose from.")] = 10,
    picture: Annotated[Path | None, typer.Option(help="Draw boxes and anchors; .png, .pdf or .svg.")] = None,
) -> None:
    """Find the anchors that boxes overlap most: k-means with distance 1 - IoU."""
    from lesion_app.boxes.anchor_clusters import cluster_anchors
    from lesion_app.data.datalist import load_records

    if pixel_spacing_mm is not None and size is not None:
        raise InputError("--pixel-spacing and --size were both given; each says how large a px is, so leave one out")
    if pixel_spacing_mm is not None and not pixel_spacing_mm > 0:
        raise InputError(f"--pixel-spacing is {pixel_spacing_mm:g}, expected mm above 0, for example 0.8")
    sides = box_sides(load_records(datalist, split, datalist.parent), pixel_spacing_mm or _PIXEL_SPACING_MM, size)
    different = len({(w, h) for w, h in sides.tolist()})
    if different < count:
        raise InputError(
            f"the {split} split of {datalist.name} has {different} different boxes, too few for {count} anchors; ask "
            "for fewer with --count or take another --split"
        )
    found = cluster_anchors(sides, count, seed=seed, restarts=restarts)
    rounded = found.anchors.round(1)
    console = Console(soft_wrap=True, highlight=False)
    for (width, height), members in zip(rounded.tolist(), found.members.tolist()):
        console.print(f"{width:7.1f} x {height:6.1f} px  {members:7,} boxes")
    console.print(f"mean IoU {found.mean_iou:.4f} over {len(sides):,} boxes")
    if picture is not None:
        from lesion_app.visualize.anchor_plot import plot_anchors

        console.print(f"wrote {plot_anchors(sides, found.anchors, found.mean_iou, picture)}")
    console.print("for the config (yolov4.json):")
    console.print(f'"network_def#anchors": {rounded.tolist()}', markup=False)


def box_sides(records: list[Record], pixel_spacing_mm: float, size: int | None = None) -> np.ndarray:
    """Widths and heights of the lesion boxes of ``records``, in px that the network sees.

    Args:
        records: of one split.
        pixel_spacing_mm: of the network's grid.
        size: if given, slices are resized so that their longer side has so many px instead.

    Returns:
        ``[N, 2]`` float64 (width, height).
    """
    import numpy as np

    sides = []
    for record in records:
        if size is None:
            scale = np.array(record["spacing_mm"][:2]) / pixel_spacing_mm
        else:
            scale = np.full(2, size / max(record["size"]))
        boxes = np.array([a["box"] for a in record["annotations"] if a["kind"] == "lesion"]).reshape(-1, 4)
        sides.append((boxes[:, 2:] - boxes[:, :2]) * scale)
    return np.concatenate(sides) if sides else np.zeros((0, 2))
