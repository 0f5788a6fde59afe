"""How much of what missing labels cost does online mining win back?

    python scripts/study_missing_labels.py --scale cpu --out study --seeds 0 1 2

Trains every arm (``missing_labels/arms.py``) on phantoms, or on lesions inserted into real CTs (``--backgrounds``),
through the bundle's configs, each arm in a process of its own. Can be stopped at any moment and started again with the
same command: finished arms stay, an interrupted one goes on from its last epoch. Writes ``summary.json``, ``table.md``,
``findings.md``, ``froc.png``, ``curves.png``, ``mining.png`` and ``scores.png`` into ``--out`` after every arm, of
every finished arm that lies there, whatever was asked for now. Main arms come first, with all seeds, then the others
with the first one.

Scales: ``cpu-counts`` (as many lesions a sub-volume as in DeepLesion: the results in docs/results/missing-labels.md;
13 minutes an arm and core, 10 hours on 2 cores for all arms), ``cpu`` (8 to 12 lesions a sub-volume), ``gpu`` (the full
network at 512 px).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measured_on import commit
from missing_labels.arms import Arm, study_arms
from missing_labels.report import LEAKAGE, write_report
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
from study_configs import merged_configs

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
    named = study_arms({"decay_at": 2, "warmup": 1})
    every, once = ([n for n, arm in named.items() if arm.every_seed == main] for main in (True, False))
    parser.epilog = textwrap.fill(f"main arms: {' '.join(every)}; the others: {' '.join(once)}", 100)
    parser.add_argument("--arms", nargs="+", help="only these (default: all; their names stand below)")
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
    config = study_config(scale, shared)
    total = config["epochs"] * config["epoch_length"]
    arms = study_arms({"warmup": config["lr_warmup_iterations"], "decay_at": total // 2})
    unknown = sorted(set(options.arms or []) - set(arms))
    if unknown:
        raise InputError(f"there is no arm '{unknown[0]}'; the arms are {', '.join(arms)}")
    out = options.out.absolute()
    settings = {"scale": options.scale, "patients": scale["patients"], "set": shared, **real_anatomy(options)}
    todo = planned(arms, options.seeds, options.arms, options.all_seeds)
    refuse_unmet_needs(todo, lambda run: needed(run, arms), lambda run: finished(out, run))
    remember_settings(out, settings)
    waiting = [run for run in todo if not finished(out, run)]
    with progress_bar(console, "iterations") as bar:
        task = bar.add_task("", total=total * len(todo))

        def begin(run: Run) -> subprocess.Popen[bytes]:
            make_data(out, scale, run[1], arms[run[0]], console, bar)
            return start(out, run, arms[run[0]], scale, {**scale["values"], **shared}, options.threads)

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


def study_config(scale: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The merged config of an arm without what is its own.

    Mistakes in ``shared`` are told here, before anything is done.

    Raises:
        InputError: a key that no config has, or a length of the training that is no whole number.
    """
    merged = {**merged_configs(scale["configs"], shared), **scale["values"], **shared}
    for name in ("epochs", "epoch_length", "lr_warmup_iterations"):
        value = merged[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name} is {value!r}; a study needs a whole number from 1 on: --set {name}=NUMBER")
    return merged


def real_anatomy(options: argparse.Namespace) -> dict[str, Any]:
    """Which CTs lesions are inserted into, as the study's settings keep it; nothing for phantoms.

    Raises:
        InputError: a file that is not there, or lesions known in no CT.
    """
    if options.known_lesions and not options.backgrounds:
        raise InputError("--known-lesions tells of the lesions of --backgrounds, and none were given; give them, too")
    files = [*(options.backgrounds or []), *([options.known_lesions] if options.known_lesions else [])]
    missing = [path for path in files if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]} is not there; name CTs and a JSON that are")
    if not options.backgrounds:
        return {}
    named = {"backgrounds": [str(path.resolve()) for path in options.backgrounds]}
    return {**named, "known_lesions": str(options.known_lesions.resolve())} if options.known_lesions else named


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
            done = write_inserted(scale["backgrounds"], folder, scale["patients"], seed, known_lesions=known, **shared)
            (folder / LEAKAGE).write_text(done.leakage + "\n")
            console.print(f"real anatomy: {done.leakage}", highlight=False)
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
    path = folder / "arm.json"
    before = json.loads(path.read_text()).get("commits", []) if path.is_file() else []
    described["commits"] = list(dict.fromkeys([*before, commit()]))
    path.write_text(json.dumps(described, indent=1))
    (folder / "overlay.json").write_text(json.dumps({**shared, **arm.overrides}, indent=1))
    return start_process(HERE / "missing_labels" / "run_arm.py", [folder], folder, threads)


if __name__ == "__main__":
    sys.exit(main())
