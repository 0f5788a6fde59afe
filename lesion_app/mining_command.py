"""``lesion-app mine``: boxes that nobody annotated, found by a trained detector and written into a new datalist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lesion_app.command_line import command_line


def mine(
    data: Annotated[Path, typer.Argument(help="The data set's root: folder of its images and datalist.json.")],
    out: Annotated[Path, typer.Argument(help="Folder for the enriched datalist.json and mining.json.")],
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="Overlay on inference.json that describes the detector, e.g. lens_inference."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Its weights; default: the bundle's models/model.pt.")] = None,
    embedding: Annotated[
        Path | None, typer.Option(help="Weights of the lesion embedding; default: the bundle's models/embedding.pt.")
    ] = None,
    datalist: Annotated[
        Path | None, typer.Option(help="To be enriched; default: the data set's datalist.json.")
    ] = None,
    cross_slice: Annotated[bool, typer.Option(help="Annotated lesions on the slices around.")] = True,
    intra_patient: Annotated[bool, typer.Option(help="Lesions annotated in another scan of the patient.")] = True,
    cross_dataset: Annotated[bool, typer.Option(help="Ignore what single-type experts are sure of.")] = True,
    theta: Annotated[float, typer.Option(help="Overlap (IoU) above which boxes are one lesion.")] = 0.5,
    delta: Annotated[float, typer.Option(help="Embedding distance below which lesions are one.")] = 0.15,
    false_share: Annotated[
        float | None,
        typer.Option(help="Choose delta from the data: share of finds known to be another lesion that it may match."),
    ] = None,
    sigma: Annotated[float, typer.Option(help="Score above which an expert's find is a suspected lesion.")] = 0.5,
    min_score: Annotated[float, typer.Option(help="Lowest score of a box that takes part at all.")] = 0.1,
    partly_labelled: Annotated[
        str, typer.Option(help="Expert(s) of the data set mined, by comma; the others are single-type ones.")
    ] = "deeplesion",
    device: Annotated[str | None, typer.Option(help="torch device, e.g. cpu or cuda:0.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a config value: KEY=VALUE; may be repeated.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle (holds configs/).")] = None,
) -> None:
    """Mine missing annotations offline as LENS does; retraining takes the datalist as it is."""
    from lesion_app.bundle_run import find_bundle, run_bundle
    from lesion_app.cli import parse_overrides
    from lesion_app.data.datalist import DATALIST
    from lesion_app.errors import InputError

    for name, value, low, high in (
        ("--theta", theta, 0.0, 0.999),
        ("--delta", delta, 1e-6, 2.0),
        ("--sigma", sigma, 0.0, 1.0),
        ("--min-score", min_score, 0.0, 1.0),
        ("--false-share", 0.5 if false_share is None else false_share, 1e-6, 0.999),
    ):
        if not low <= value <= high:
            raise InputError(f"{name} is {value:g}; expected a number from {low:g} to {high:g}")
    if cross_dataset and min_score > sigma:
        raise InputError(
            f"--min-score {min_score:g} is above --sigma {sigma:g}, below which it would drop experts' finds; give a "
            "lower one"
        )
    if not (cross_slice or intra_patient or cross_dataset):
        raise InputError("all three strategies were switched off; leave at least one of them on")
    partly = [name.strip() for name in partly_labelled.split(",") if name.strip()]
    if not partly:
        raise InputError("--partly-labelled names no expert; give that of the data set mined, for example deeplesion")
    embedding = embedding or find_bundle(bundle) / "models" / "embedding.pt"
    overridden = parse_overrides(overrides)
    if intra_patient and not embedding.is_file() and "embedding_weights" not in overridden:
        raise InputError(
            f"there is no lesion embedding at {embedding}; train one (docs/collections.md), name another file with "
            "--embedding, or leave that strategy out (--no-intra-patient)"
        )
    values: dict[str, Any] = {
        "dataset_dir": str(data.absolute()),
        "output_dir": str(out.absolute()),
        "cross_slice": cross_slice,
        "intra_patient": intra_patient,
        "cross_dataset": cross_dataset,
        "theta": theta,
        "delta": delta,
        "delta_false_share": false_share,
        "sigma": sigma,
        "min_score": min_score,
        "partly_labelled": partly,
        "looked_through": str((datalist or data / DATALIST).absolute()),
        "embedding_weights": str(embedding.absolute()),
    }
    if weights is not None:
        values["weights"] = str(weights.absolute())
    if device is not None:
        values["device"] = f"$torch.device({device!r})"
    values |= overridden
    names = ["inference.json", *(config or []), "lens_mine.json"]
    parser = run_bundle(names, values, bundle=bundle, workflow_type="infer")
    written = Path(parser.get_parsed_content("mined_datalist"))
    console = Console(soft_wrap=True)
    print_mined(console, json.loads(written.with_name("mining.json").read_text(encoding="utf-8")))
    console.print(f"wrote {written} and {written.with_name('mining.json')}")
    given = [f"dataset_dir={data}", f"datalist={written}"]
    console.print(f"next: {command_line('train', (), [*given, 'use_mined=add'])}", markup=False)
    joined = command_line("train", ["lens_train"], [*given, "collections#deeplesion#join=all"])
    console.print(f"  or: {joined}", markup=False)


def print_mined(console: Console, summary: dict[str, Any]) -> None:
    """Print ``mining.json`` as a table: what each strategy added, and how well where the truth is known."""
    used = summary["thresholds"]
    table = Table(
        title=f"mined in {summary['sub_volumes']} sub-volumes, theta {used['theta']:g}, delta {used['delta']:.3g}, "
        f"sigma {used['sigma']:g}"
    )
    table.add_column("strategy")
    for name in ("boxes", "slices", "new lesions", "precision", "recall"):
        table.add_column(name, justify="right")
    for name, row in summary["strategies"].items():
        counts = [f"{row[key]:,}" for key in ("boxes", "slices", "lesions")]
        shares = [f"{100 * row[key]:.1f} %" if key in row else "-" for key in ("precision", "recall")]
        table.add_row(name, *counts, *shares)
    console.print(table)
    if not summary["strategies"]:
        console.print("nothing was found; try lower thresholds, or a detector that was trained longer")
