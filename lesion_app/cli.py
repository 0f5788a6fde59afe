"""``lesion-app``: thin verbs over the package's functions."""

from __future__ import annotations

import ast
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lesion_app import __version__
from lesion_app.anchors_command import anchors
from lesion_app.clinical.node.command import requeue, serve
from lesion_app.clinical.report_command import report
from lesion_app.command_line import command_line
from lesion_app.data.inserted_command import insert_lesions_command
from lesion_app.data.lidc_command import prepare_lidc_command
from lesion_app.data.prepare_command import prepare_volumes_command, print_prepared, write_collection_verb
from lesion_app.data.toy_command import toy_command
from lesion_app.data.typed_command import prepare_typed_command
from lesion_app.errors import InputError
from lesion_app.export_command import export
from lesion_app.labeling.label_command import label
from lesion_app.labeling.review_command import review
from lesion_app.mining_command import mine
from lesion_app.number_list import parse_numbers

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Universal lesion detection in CT from incompletely annotated data.",
    pretty_exceptions_enable=False,
)
prepare_app = typer.Typer(no_args_is_help=True, help="Turn a public data set into a datalist for training.")
app.add_typer(prepare_app, name="prepare")
for verb in (report, serve, requeue, export, mine, anchors, review, label):
    app.command()(verb)
app.command("insert")(insert_lesions_command)
app.command("toy")(toy_command)
for kind, name in (("luna16", "LUNA16"), ("lits", "LiTS"), ("nih-ln", "TCIA's CT Lymph Nodes")):
    prepare_app.command(kind, help=f"Turn {name} into DeepLesion's slices and write datalist.json.")(
        prepare_volumes_command(kind)
    )
prepare_app.command("lidc")(prepare_lidc_command)
prepare_app.command("typed")(prepare_typed_command)
console = Console(soft_wrap=True)

ConfigOption = Annotated[
    list[str] | None, typer.Option("--config", help="Overlay on the main config, by name or file; may be repeated.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a config value: KEY=VALUE; may be repeated.")
]
BundleOption = Annotated[Path | None, typer.Option(help="Folder of the bundle (holds configs/).")]


def main() -> None:
    """Entry point: a user's mistake ends in one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parse_overrides(pairs: list[str] | None) -> dict[str, Any]:
    """``["a=1", "b#c=x"]`` as ``{"a": 1, "b#c": "x"}``; values are Python literals or else text.

    Raises:
        InputError: for a pair without ``=``.
    """
    values: dict[str, Any] = {}
    for pair in pairs or []:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise InputError(f"'{pair}' is no override; expected KEY=VALUE, for example --set score_threshold=0.8")
        named = {"true": True, "false": False, "null": None, "none": None}
        try:
            values[key] = named[text.lower()] if text.lower() in named else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[key] = text
    return values


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    patients: Annotated[int, typer.Option(min=1)] = 100,
    seed: int = 0,
    missing_law: Annotated[str, typer.Option(help="deeplesion, random or none.")] = "deeplesion",
    missing_rate: Annotated[float | None, typer.Option(help="Overall share of lesions without a label.")] = None,
    thickness_mm: Annotated[
        str, typer.Option("--thickness", help="Shortest-longest stretch of the body in a sub-volume, mm.")
    ] = "55-75",
    size: Annotated[int, typer.Option(help="Side of the slices in px; below 512 the bodies are smaller.")] = 512,
    z_spacings: Annotated[str, typer.Option(help="Slice spacings to choose from, mm.")] = "1,2,5",
    conspicuity_hu: Annotated[
        float, typer.Option("--conspicuity", help="HU by which lesions stand out more than plausible ones.")
    ] = 0.0,
    smallest_mm: Annotated[float, typer.Option("--smallest", help="Least long axis of a lesion, mm.")] = 0.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = min(4, os.cpu_count() or 1),
    collection: Annotated[
        str | None,
        typer.Option(help="Layout and labels of a data set of LENS: deeplesion (two visits), luna16, lits or nih-ln."),
    ] = None,
) -> None:
    """Generate CTs in DeepLesion's layout whose labels are incomplete as DeepLesion's are."""
    from lesion_app.data.phantom import write_phantom
    from lesion_app.progress import progress_bar

    shortest, longest = parse_numbers(thickness_mm, "-", "--thickness", "55-75", 2)
    if collection is not None:
        made_to_order = missing_rate is not None or missing_law != "deeplesion" or smallest_mm != 0
        write_collection_verb(
            collection,
            out,
            patients,
            seed,
            made_to_order,
            workers=workers,
            thickness_mm=(shortest, longest),
            size=size,
            z_spacings=parse_numbers(z_spacings, ",", "--z-spacings", "1,2,5"),
            conspicuity_hu=conspicuity_hu,
        )
        return
    with progress_bar(console, "patients") as bar:
        task = bar.add_task("phantom", total=patients)
        summary = write_phantom(
            out,
            patients,
            seed,
            missing_law=missing_law,  # type: ignore[arg-type]
            missing_rate=missing_rate,
            workers=workers,
            thickness_mm=(shortest, longest),
            size=size,
            z_spacings=parse_numbers(z_spacings, ",", "--z-spacings", "1,2,5"),
            conspicuity_hu=conspicuity_hu,
            smallest_mm=smallest_mm,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(
        f"wrote {out}: {summary.patients} patients, {summary.slices} slices, {summary.lesions} lesions, "
        f"{summary.labels} of them labelled"
    )
    console.print(f"next: lesion-app prepare deeplesion {out} {out}")


@prepare_app.command("deeplesion")
def prepare_deeplesion_command(
    root: Annotated[Path, typer.Argument(help="Folder with DL_info.csv and Images_png/.")],
    out: Annotated[Path, typer.Argument(help="Folder for datalist.json.")],
    complete_val: Annotated[Path | None, typer.Option(help="Complete annotation that replaces validation.")] = None,
    complete_test: Annotated[Path | None, typer.Option(help="Complete annotation that replaces test.")] = None,
    extra_train: Annotated[Path | None, typer.Option(help="Completely labelled training sub-volumes.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Truth file of a phantom.")] = None,
    noisy: Annotated[str, typer.Option(help="Noisy training rows: ignore, keep or drop.")] = "ignore",
    labels: Annotated[
        str,
        typer.Option(help="Training labels: partial, or complete[-on-key-slices | -on-labelled-slices] (phantom)."),
    ] = "partial",
    exclude_overlap: Annotated[bool, typer.Option(help="Leave test patients out of validation.")] = False,
    allow_missing: Annotated[bool, typer.Option(help="Leave out what has no image.")] = False,
) -> None:
    """Write datalist.json for DeepLesion (or a phantom in its layout)."""
    from lesion_app.data.datalist import prepare_deeplesion

    summary = prepare_deeplesion(
        root,
        out,
        complete_val=complete_val,
        complete_test=complete_test,
        extra_train=extra_train,
        truth=truth,
        noisy=noisy,  # type: ignore[arg-type]
        labels=labels,  # type: ignore[arg-type]
        exclude_overlap=exclude_overlap,
        allow_missing=allow_missing,
    )
    print_prepared(console, summary, root)


@app.command()
def train(
    config: ConfigOption = None,
    overrides: SetOption = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last saved state.")] = False,
    bundle: BundleOption = None,
) -> None:
    """Train a detector (the bundle's train.json: under a mean teacher, unless an overlay does without)."""
    from lesion_app.bundle_run import run_bundle

    values = parse_overrides(overrides)
    if resume:
        values["resume"] = True
    parser = run_bundle(["train.json", *(config or [])], values, bundle=bundle)
    folder = parser.get_parsed_content("output_dir")
    best = "best teacher" if "best_teacher" in str(parser.get("validate#handlers")) else "best epoch"
    model = f"{parser.get_parsed_content('ckpt_dir')}/model.pt"
    console.print(f"wrote {model} ({best}), curves and logs in {folder}", markup=False)
    curves = f"   (curves: tensorboard --logdir {folder})" if any(Path(folder).glob("events.out.tfevents.*")) else ""
    console.print(f"next: {command_line('evaluate', config or [], overrides or [], bundle)}{curves}", markup=False)


@app.command()
def evaluate(
    config: ConfigOption = None,
    overrides: SetOption = None,
    bundle: BundleOption = None,
) -> None:
    """Evaluate models/model.pt on the test split (the bundle's evaluate.json, or what an overlay names for that)."""
    from lesion_app.bundle_run import evaluation_configs, run_bundle

    started = time.time() - 1.0  # clocks of file systems are coarser
    parser = run_bundle(evaluation_configs(config or [], bundle), parse_overrides(overrides), bundle=bundle)
    folder = Path(parser.get_parsed_content("output_dir"))
    results = (path for path in folder.iterdir() if path.suffix in (".json", ".png", ".md", ".csv"))
    written = sorted(path for path in results if path.stat().st_mtime >= started)
    console.print(f"wrote {', '.join(map(str, written))}")


@app.command()
def detect(
    ct: Annotated[Path, typer.Argument(help="DICOM folder, NIfTI, NRRD, MHA or DeepLesion PNG folder.")],
    out: Annotated[Path, typer.Argument(help="Folder for lesions.json and lesions.png.")],
    config: ConfigOption = None,
    weights: Annotated[Path | None, typer.Option(help="State dict; default: the bundle's models/model.pt.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Lowest score to report.")] = None,
    spacing_mm: Annotated[str | None, typer.Option("--spacing", help="x,y,z in mm; for PNG folders.")] = None,
    slices: Annotated[str | None, typer.Option(help="first-last, inclusive.")] = None,
    device: Annotated[str | None, typer.Option(help="torch device, e.g. cpu or cuda:0.")] = None,
    sheet: Annotated[bool, typer.Option(help="Draw lesions.png.")] = True,
    bundle: BundleOption = None,
) -> None:
    """Find lesions in a CT."""
    from lesion_app.inferers.detect import detect as find_lesions

    document = find_lesions(
        ct,
        out,
        configs=config or [],
        weights=weights,
        min_score=min_score,
        spacing_mm=None if spacing_mm is None else parse_numbers(spacing_mm, ",", "--spacing", "0.8,0.8,5", 3),
        slices=None if slices is None else [int(n) for n in parse_numbers(slices, "-", "--slices", "103-115", 2)],
        device=device,
        sheet=sheet,
        bundle=bundle,
        progress=True,
    )
    written = [out / "lesions.json", *([out / "lesions.png"] if sheet else [])]
    console.print(f"{len(document['lesions'])} lesions; wrote {' and '.join(map(str, written))}")


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for data, models and results; made when missing.")] = Path("demo"),
    patients: Annotated[int, typer.Option(min=50)] = 400,
    seed: int = 0,
) -> None:
    """Generate data with half of its labels missing, train, evaluate in 3D, find lesions in a CT (about 10 minutes)."""
    from lesion_app.demo import run_demo

    run_demo(out, patients=patients, seed=seed, console=console)


if __name__ == "__main__":
    main()
