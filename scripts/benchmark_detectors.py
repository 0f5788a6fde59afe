"""Every detector of the project on the same eight lesion types, with the same budget.

    python scripts/benchmark_detectors.py --scale cpu --out benchmark

Generates a phantom (or takes DeepLesion, ``--dataset``), trains every row (``detector_benchmark/rows.py``) through the
bundle's configs, each in a process of its own, then measures time and memory of one after the other. Can be stopped
at any moment and started again with the same command: finished rows stay, an interrupted one goes on from its last
epoch. Writes ``summary.json``, ``table.md``, ``accuracy.png``, ``curves.png`` and ``speed.png`` into ``--out`` after
every row, of every finished row that lies there, whatever was asked for now. A detector of your own enters with one
config: ``--detector mine=mine.json``, an overlay on ``typed_detection`` that sets ``network_def``; name it again in
later starts, or the report leaves it out. See docs/detectors.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detector_benchmark.data import make_data
from detector_benchmark.publish import publish
from detector_benchmark.report import Run, row_folder, write_report
from detector_benchmark.rows import PRETRAINING, Row, benchmark_rows, pretraining_row
from detector_benchmark.runs import Runs, stand_in_weights, training_configs
from detector_benchmark.scales import SCALES
from resumable_study import arm_and_seed, exit_status, remember_settings, run_processes, run_program
from rich.console import Console
from study_arguments import from_one, study_parser
from study_configs import merged_configs

from lesion_app.cli import parse_overrides
from lesion_app.errors import InputError
from lesion_app.progress import progress_bar


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 = everything asked for is done."""
    options = parse_arguments(argv)
    console = Console(soft_wrap=True, highlight=False)
    return run_program(lambda: run_benchmark(options, console), console)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = study_parser(__doc__, SCALES, seeds=[0], seeded="the trainings", what="benchmark", runs="rows")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="only these rows (default: all)")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--patients", type=from_one, help="phantom patients (default: the scale's)")
    parser.add_argument("--dataset", type=Path, help="DeepLesion instead of a phantom: DL_info.csv and Images_png/")
    parser.add_argument("--coco-weights", type=Path, help="state dict of torchvision's COCO detector, if not fetched")
    parser.add_argument("--darknet-weights", type=Path, help="file the YOLOv4 rows start from (default: from scratch)")
    parser.add_argument(
        "--detector", action="append", metavar="NAME=CONFIG[,CONFIG]", help="one more row, with these overlays"
    )
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="config value for every row")
    parser.add_argument(
        "--publish", type=Path, metavar="DOCS", help="also write results/detectors.md and its pictures there"
    )
    return parser.parse_args(argv)


def run_benchmark(options: argparse.Namespace, console: Console) -> int:
    """Make the data, train what is not done, measure, report."""
    scale = SCALES[options.scale]
    shared = parse_overrides(options.set)
    out = options.out.absolute()
    rows = benchmark_rows(scale, parse_detectors(options.detector), options.darknet_weights is not None)
    if options.list:
        for name, row in rows.items():
            console.print(f"{name:24} {row.title} ({row.source})", markup=False)
        return 0
    unknown = sorted(set(options.only or []) - set(rows))
    if unknown:
        raise InputError(f"there is no row '{unknown[0]}'; the rows are {', '.join(rows)}")
    chosen = {name: row for name, row in rows.items() if not options.only or name in options.only}
    for row in chosen.values():
        merged_configs(training_configs(row, scale), shared)
    settings = {
        "scale": options.scale,
        "patients": options.patients or scale.patients,
        "dataset": options.dataset.name if options.dataset else "phantom",
        "set": shared,
    }
    weights = starting_weights(options, scale.coco, out)
    remember_settings(out, settings, "benchmark")
    started = time.monotonic()
    data = make_data(out, scale, settings["patients"], options.dataset, console)
    runs = Runs(out, scale, {PRETRAINING: pretraining_row(), **rows}, data, weights, shared, options.threads)
    todo: list[Run] = [(name, seed) for seed in options.seeds for name in chosen]
    stand_in: list[Run] = [(PRETRAINING, 0)] if any(runs.needs_stand_in(run) for run in todo) else []
    train_rows(runs, [*stand_in, *todo], rows, options.jobs, settings, console)
    for run in todo:
        unmeasured = runs.finished(run) and not (row_folder(out, run) / "speed.json").is_file()
        if unmeasured and not runs.measure(run):
            console.print(
                f"[red]{run[0]}, seed {run[1]} could not be measured; see {row_folder(out, run)}/log.txt[/red]"
            )
    written = write_report(out, rows, settings)
    console.print(f"{(time.monotonic() - started) / 60:.0f} minutes of this start")
    if written and options.publish is not None:
        console.print(f"wrote {publish(out, options.publish.absolute())}")
    return exit_status(out, written, sum(map(runs.finished, todo)), len(todo), console, "rows")


def starting_weights(options: argparse.Namespace, coco: bool, out: Path) -> dict[str, str]:
    """What pretrained rows start from, by family; a file that is not there is told before anything is trained."""
    for option, path in (("--coco-weights", options.coco_weights), ("--darknet-weights", options.darknet_weights)):
        if path is not None and not path.is_file():
            raise InputError(f"there is no file {path}, named with {option}; name a file of weights or leave it out")
    found = {"faster_rcnn": "coco" if coco else stand_in_weights(out)}
    if options.coco_weights is not None:
        found["faster_rcnn"] = str(options.coco_weights.absolute())
    if options.darknet_weights is not None:
        found["yolov4"] = str(options.darknet_weights.absolute())
    return found


def train_rows(
    runs: Runs,
    wanted: Sequence[Run],
    rows: Mapping[str, Row],
    jobs: int,
    settings: Mapping[str, Any],
    console: Console,
) -> None:
    """Train and evaluate what is not done yet, ``jobs`` at a time."""

    def report(_: Run) -> str:
        write_report(runs.out, rows, settings)
        return ""

    with progress_bar(console, "iterations") as bar:
        task = bar.add_task("", total=sum(map(runs.length, wanted)))
        run_processes(
            [run for run in wanted if not runs.finished(run)],
            jobs,
            console,
            needed=runs.needed,
            start=runs.start,
            finished=runs.finished,
            name=arm_and_seed,
            log=lambda run: row_folder(runs.out, run) / "log.txt",
            report=report,
            progress=lambda: bar.update(task, completed=sum(map(runs.iterations, wanted))),
        )


def parse_detectors(given: list[str] | None) -> dict[str, list[str]]:
    """``NAME=CONFIG[,CONFIG]`` -> configs by name; files become absolute paths."""
    found: dict[str, list[str]] = {}
    for text in given or []:
        name, _, configs = text.partition("=")
        if not name or not configs or "/" in name:
            raise InputError(f"--detector was given '{text}'; expected NAME=CONFIG, as in --detector mine=mine.json")
        found[name] = [str(Path(c).absolute()) if Path(c).is_file() else c for c in configs.split(",")]
    return found


if __name__ == "__main__":
    sys.exit(main())
