"""How much of what missing labels cost does online mining win back?

    python scripts/study_missing_labels.py --scale cpu --out study --seeds 0 1 2

Trains every arm (``missing_labels/arms.py``) on phantoms, or on lesions inserted into real CTs (``--backgrounds``),
through the bundle's configs, each arm in a process of its own. Can be stopped at any moment and started again with the
same command: finished arms stay, an interrupted one goes on from its last epoch. Writes ``summary.json``, ``table.md``,
``findings.md``, ``froc.png``, ``curves.png`` and ``mining.png`` into ``--out`` after every arm, of every finished arm
that lies there, whatever was asked for now. Main arms come first, with all seeds, then the others with the first one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from missing_labels.arms import Arm, study_arms
from missing_labels.report import write_report
from missing_labels.scales import SCALES
from resumable_study import (
    arm_and_seed,
    exit_status,
    refuse_unmet_needs,
    remember_settings,
    run_processes,
    run_program,
    start_process,
)
from rich.console import Console
from rich.progress import Progress
from study_arguments import from_one, study_parser

from lesion_app.cli import parse_overrides
from lesion_app.data.datalist import DATALIST, prepare_deeplesion
from lesion_app.data.inserted import write_inserted
from lesion_app.data.phantom import write_phantom
from lesion_app.errors import InputError
from lesion_app.handlers.training_history import read_history
from lesion_app.progress import progress_bar

HERE = Path(__file__).resolve().parent
Run = tuple[str, int]  # arm, seed


def main(argv: list[str] | None = None) -> int:
    """Run the study; 0 = everything asked for is done."""
    options = parse_arguments(argv)
    console = Console()
    return run_program(lambda: run_study(options, console), console)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = study_parser(__doc__, SCALES)
    parser.add_argument("--arms", nargs="+", help="only these (default: all)")
    parser.add_argument("--all-seeds", action="store_true", help="run the other arms with every seed, too")
    parser.add_argument("--patients", type=from_one, help="phantom patients (default: the scale's)")
    parser.add_argument(
        "--backgrounds", type=Path, nargs="+", help="real CTs to insert lesions into (default: phantoms)"
    )
    parser.add_argument("--known-lesions", type=Path, help="JSON of the backgrounds' own lesions, which are kept out")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="config value for every arm")
    return parser.parse_args(argv)


def run_study(options: argparse.Namespace, console: Console) -> int:
    scale = dict(SCALES[options.scale])
    if options.patients:
        scale["patients"] = options.patients
    scale["backgrounds"], scale["known_lesions"] = options.backgrounds, options.known_lesions
    shared = parse_overrides(options.set)
    arms = study_arms(scale)
    unknown = sorted(set(options.arms or []) - set(arms))
    if unknown:
        raise InputError(f"there is no arm '{unknown[0]}'; the arms are {', '.join(arms)}")
    out = options.out.absolute()
    settings = {"scale": options.scale, "patients": scale["patients"], "set": shared}
    if options.backgrounds:
        settings["backgrounds"] = [path.name for path in options.backgrounds]
    todo = planned(arms, options.seeds, options.arms, options.all_seeds)
    refuse_unmet_needs(todo, lambda run: needed(run, arms), lambda run: finished(out, run))
    remember_settings(out, settings)
    waiting = [run for run in todo if not finished(out, run)]
    with progress_bar(console, "iterations") as bar:
        total = total_iterations(scale, shared)
        task = bar.add_task("", total=total * len(todo))

        def begin(run: Run) -> subprocess.Popen[bytes]:
            make_data(out, scale, run[1], arms[run[0]], console, bar)
            return start(out, run, arms[run[0]], scale, shared, options.threads)

        def report(run: Run) -> str:
            write_report(out, arms, scale)
            found = json.loads((arm_folder(out, run) / "evaluation" / "evaluation.json").read_text())["models"]
            return f": AP teacher {found['teacher']['p3d_ap']:.3f}, student {found['student']['p3d_ap']:.3f}"

        run_processes(
            waiting,
            options.jobs,
            console,
            needed=lambda run: needed(run, arms),
            start=begin,
            finished=lambda run: finished(out, run),
            name=arm_and_seed,
            log=lambda run: arm_folder(out, run) / "log.txt",
            report=report,
            progress=lambda: bar.update(
                task, completed=sum(total if finished(out, r) else iterations(out, r) for r in todo)
            ),
        )
    done = sum(finished(out, run) for run in todo)
    return exit_status(out, write_report(out, arms, scale), done, len(todo), console)


def planned(arms: Mapping[str, Arm], seeds: list[int], only: list[str] | None, all_seeds: bool) -> list[Run]:
    """Runs in order: main arms seed by seed, then the others."""
    chosen = [name for name in arms if not only or name in only]
    main_arms = [name for name in chosen if arms[name].every_seed]
    others = [name for name in chosen if not arms[name].every_seed]
    runs = [(name, seed) for seed in seeds for name in main_arms]
    return runs + [(name, seed) for seed in (seeds if all_seeds else seeds[:1]) for name in others]


def data_folder(out: Path, seed: int, rate: float | None) -> Path:
    return out / "data" / f"seed{seed}-missing-{'law' if rate is None else f'{100 * rate:.0f}'}"


def make_data(out: Path, scale: dict[str, Any], seed: int, arm: Arm, console: Console, bar: Progress) -> None:
    """The phantom that an arm trains on, and its datalists; the patients depend on the seed alone."""
    rate = arm.missing_rate or scale["missing_rate"]
    folder = data_folder(out, seed, rate)
    if not (folder / ".complete").is_file():
        console.print(
            f"{time.strftime('%H:%M:%S')} generating {scale['patients']} patients of seed {seed}, "
            f"{'the measured share' if rate is None else f'{100 * rate:.0f} %'} of the lesions without a label",
            highlight=False,
        )
        task = bar.add_task("", total=scale["patients"])
        shared = {
            "missing_rate": rate,
            "workers": os.cpu_count() or 1,
            "progress": lambda done, _: bar.update(task, completed=done),
            **scale["phantom"],
        }
        if scale["backgrounds"]:
            known = scale["known_lesions"]
            write_inserted(scale["backgrounds"], folder, scale["patients"], seed, known_lesions=known, **shared)
        else:
            write_phantom(folder, scale["patients"], seed, **shared)
        bar.remove_task(task)
        (folder / ".complete").touch()
    for rule in ("partial", "complete", arm.labels):
        if not (folder / rule / DATALIST).is_file():
            prepare_deeplesion(folder, folder / rule, labels=rule)  # type: ignore[arg-type]


def arm_folder(out: Path, run: Run) -> Path:
    return out / "arms" / run[0] / f"seed{run[1]}"


def finished(out: Path, run: Run) -> bool:
    return (arm_folder(out, run) / "evaluation" / "evaluation.json").is_file()


def iterations(out: Path, run: Run) -> int:
    lines = read_history(arm_folder(out, run) / "training" / "history.jsonl")
    return int(lines[-1]["iteration"]) if lines else 0


def total_iterations(scale: dict[str, Any], shared: dict[str, Any]) -> int:
    """Iterations of an arm, from the merged configs."""
    from lesion_app.bundle_run import config_paths, find_bundle

    merged: dict[str, Any] = {}
    for path in config_paths(find_bundle(), scale["configs"]):
        merged.update(json.loads(Path(path).read_text()))
    merged.update(shared)
    return int(merged["epochs"]) * int(merged["epoch_length"])


def needed(run: Run, arms: Mapping[str, Arm]) -> list[Run]:
    """The arm whose model this one mines with before its training, if it does."""
    first = arms[run[0]].offline
    return [] if first is None else [(first[0], run[1])]


def start(
    out: Path, run: Run, arm: Arm, scale: dict[str, Any], shared: dict[str, Any], threads: int
) -> subprocess.Popen[bytes]:
    """Describe the arm in its folder and start it; it goes on where an earlier start was stopped."""
    name, seed = run
    folder = arm_folder(out, run)
    folder.mkdir(parents=True, exist_ok=True)
    data = data_folder(out, seed, arm.missing_rate or scale["missing_rate"])
    described = {
        **asdict(arm),
        "name": name,
        "seed": seed,
        "configs": scale["configs"],
        "dataset_dir": str(data),
        "datalist": str(data / arm.labels / DATALIST),
        "offline": None,
    }
    if arm.offline is not None:
        described["offline"] = {
            "kind": arm.offline[1],
            "weights": str(arm_folder(out, (arm.offline[0], seed)) / "models" / "model.pt"),
            "complete": str(data / "complete" / DATALIST),
            "share": scale["complete_share"],
        }
    (folder / "arm.json").write_text(json.dumps(described, indent=1))
    (folder / "overlay.json").write_text(json.dumps({**shared, **arm.overrides}, indent=1))
    return start_process(HERE / "missing_labels" / "run_arm.py", [folder], folder, threads)


if __name__ == "__main__":
    sys.exit(main())
