"""Does segmentation supervision help detectors, and more so the fewer the images? Figure 5 of Retina U-Net.

    python scripts/study_toy.py --scale cpu --out toy-study --seeds 0 1 2

Trains every detector (``toy_study/arms.py``) on the three toy data sets with several numbers of training images,
through the bundle's configs. Can be stopped at any moment and started again with the same command: finished arms stay,
an interrupted one goes on from its last epoch. Writes ``summary.json``, ``table.md``, ``gains.md``, ``claims.md`` and
``curves.png`` into ``--out`` while it runs, of every finished arm that lies there, whatever was asked for now. Seeds
come one after the other, so that early results hold every detector.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from resumable_study import environment, exit_status, remember_settings, run_processes, run_program
from rich.console import Console
from study_arguments import study_parser
from study_configs import merged_configs
from toy_study.arms import DETECTORS, TASKS
from toy_study.report import Run, arm_folder, finished, write_report
from toy_study.run_arm import EVALUATION_ONLY, training_configs
from toy_study.scales import SCALES

from lesion_app.cli import parse_overrides
from lesion_app.data.toy import ToySettings, write_toy
from lesion_app.errors import InputError
from lesion_app.progress import progress_bar

HERE = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """Run the study; 0 = everything asked for is done."""
    options = parse_arguments(argv)
    console = Console()
    return run_program(lambda: run_study(options, console), console)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = study_parser(__doc__, SCALES, runs="processes")
    parser.add_argument("--only", nargs="+", help="only these tasks, detectors or numbers of images (default: all)")
    parser.add_argument("--keep-models", action="store_true", help="leave the checkpoints of finished arms")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="config value for every arm")
    return parser.parse_args(argv)


def run_study(options: argparse.Namespace, console: Console) -> int:
    scale = SCALES[options.scale]
    shared = parse_overrides(options.set)
    out = options.out.absolute()
    todo = planned(scale, options.seeds, options.only)
    refuse_mistyped(shared, {run.detector for run in todo})
    remember_settings(out, {"scale": options.scale, **scale, "set": shared}, tell=False)
    reported = 0

    def begin(runs: list[Run]) -> subprocess.Popen[bytes]:
        make_data(out, scale, runs[0], console)
        return start(out, runs, scale, shared, options)

    def unfinished(runs: list[Run]) -> list[Run]:
        return [run for run in runs if not finished(out, run)]

    with progress_bar(console, "arms") as bar:
        task = bar.add_task("", total=len(todo))

        def progress() -> None:
            nonlocal reported
            done = len(todo) - len(unfinished(todo))
            bar.update(task, completed=done)
            if done > reported:
                write_report(out, scale)
                reported = done

        run_processes(
            grouped(unfinished(todo)),
            options.jobs,
            console,
            needed=lambda _: (),
            start=begin,
            finished=lambda runs: not unfinished(runs),
            name=lambda runs: told(unfinished(runs) or runs),
            log=lambda runs: arm_folder(out, (unfinished(runs) or runs)[0]) / "log.txt",
            report=lambda runs: "",
            progress=progress,
        )
    clear_models(out, todo)
    return exit_status(out, write_report(out, scale), len(todo) - len(unfinished(todo)), len(todo), console)


def planned(scale: dict[str, Any], seeds: list[int], only: list[str] | None) -> list[Run]:
    """Arms in order: seed by seed, the most images first (they take as long, and say most about a fault).

    Raises:
        InputError: ``only`` names what is not there.
    """
    wanted = set(only or [])
    numbers = [str(n) for n in scale["images"]]
    unknown = sorted(wanted - set(TASKS) - set(DETECTORS) - set(numbers))
    if unknown:
        raise InputError(
            f"there is no task, detector or number of images '{unknown[0]}'; expected some of "
            f"{', '.join([*TASKS, *DETECTORS, *numbers])}"
        )

    def chosen(names: Any) -> list[Any]:
        return [name for name in names if str(name) in wanted] or list(names)

    return [
        Run(task, detector, images, seed)
        for seed in seeds
        for images in sorted(chosen(scale["images"]), reverse=True)
        for task in chosen(TASKS)
        for detector in chosen(DETECTORS)
    ]


def refuse_mistyped(shared: dict[str, Any], detectors: set[str]) -> None:
    """Tell a mistake in ``--set`` before anything is done.

    Raises:
        InputError: a key that the configs of one of the detectors do not have.
    """
    for detector in sorted(detectors):
        configs = training_configs(DETECTORS[detector].config)
        merged_configs(configs, {key: value for key, value in shared.items() if key not in EVALUATION_ONLY})


def grouped(runs: list[Run]) -> list[list[Run]]:
    """Runs that share a process, and with it the time its start takes: the detectors on one data set."""
    groups: dict[tuple[str, int, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.task, run.images, run.seed), []).append(run)
    return list(groups.values())


def told(runs: list[Run]) -> str:
    names = ", ".join(run.detector for run in runs)
    return f"{runs[0].task}, {runs[0].images} images, seed {runs[0].seed}: {names}"


def clear_models(out: Path, runs: list[Run]) -> None:
    """Remove weights that a stop between an arm's evaluation and its clearing up left behind."""
    for run in runs:
        folder = arm_folder(out, run)
        if not (folder / "models").is_dir() or not finished(out, run):
            continue
        if not json.loads((folder / "arm.json").read_text())["keep_models"]:
            shutil.rmtree(folder / "models", ignore_errors=True)


def data_folder(out: Path, run: Run) -> Path:
    return out / "data" / f"{run.task}-seed{run.seed}"


def make_data(out: Path, scale: dict[str, Any], run: Run, console: Console) -> None:
    """The data set of a task and seed; all numbers of training images are beginnings of it."""
    folder = data_folder(out, run)
    if not (folder / "datalist.json").is_file():
        console.print(f"{time.strftime('%H:%M:%S')} writing {folder.name}", highlight=False)
        settings = ToySettings(**scale["toy"])
        counts = (max(scale["images"]), scale["validation"], scale["test"])
        write_toy(folder, run.task, *counts, run.seed, settings=settings)  # type: ignore[arg-type]


def start(
    out: Path, runs: list[Run], scale: dict[str, Any], shared: dict[str, Any], options: argparse.Namespace
) -> subprocess.Popen[bytes]:
    """Describe the arms in their folders and start their process; it goes on where an earlier one was stopped."""
    for run in runs:
        folder = arm_folder(out, run)
        folder.mkdir(parents=True, exist_ok=True)
        described = {
            "config": DETECTORS[run.detector].config,
            "images": run.images,
            "seed": run.seed,
            "dataset_dir": str(data_folder(out, run)),
            "values": {
                **scale["values"],
                **DETECTORS[run.detector].values,
                **scale["network"].get(run.detector, {}),
                **shared,
            },
            "keep_models": options.keep_models,
        }
        (folder / "arm.json").write_text(json.dumps(described, indent=1))
    folders = [str(arm_folder(out, run)) for run in runs]
    command = [sys.executable, str(HERE / "toy_study" / "run_arm.py"), *folders]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(options.threads)
    )


if __name__ == "__main__":
    sys.exit(main())
