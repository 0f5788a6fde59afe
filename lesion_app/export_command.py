"""``lesion-app export``: the trained detector as a program of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lesion_app.number_list import parse_numbers


def export(
    out: Annotated[Path, typer.Argument(help="File to write; .pt2 for torch.export, .onnx for ONNX.")],
    config: Annotated[
        list[str] | None, typer.Option("--config", help="Overlay on inference.json, by name or file; may be repeated.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="State dict; default: the bundle's models/model.pt.")] = None,
    size: Annotated[str, typer.Option(help="Height,width in px of the slabs it will take.")] = "512,512",
    bundle: Annotated[Path | None, typer.Option(help="Folder with configs/ (default: this checkout's).")] = None,
) -> None:
    """Export the detector for slabs of one size; it finds the same boxes as the bundle."""
    from lesion_app.bundle_run import load_network
    from lesion_app.networks.exporting import export_detector

    height, width = (int(n) for n in parse_numbers(size, ",", "--size", "512,512", 2))
    network = load_network(["inference.json", *(config or [])], weights=weights, bundle=bundle)
    path = export_detector(network, out.absolute(), (height, width))  # type: ignore[arg-type]
    Console(soft_wrap=True).print(
        f"wrote {path}: slab [{network.num_slices}, {height}, {width}] scaled to 0..255 in; boxes, scores, labels out "
        "(docs/speed.md)"
    )
