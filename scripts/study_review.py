"""What does a reader's time win: AP against reviewed boxes, by the order in which the finds are looked at.

    python scripts/study_review.py --scale cpu --out review --seeds 0 1 2

A first model is trained on phantoms with missing labels. Then, round by round, it looks through its training slices, an
automatic reader who knows the phantom's truth answers on the first boxes of the review queue, and the model is trained
on with the answers: in our order, at random, by score, and with nobody looking (``review_study/scales.py``). All goes
through the bundle's configs, each arm in a process of its own. Can be stopped at any moment and started again with the
same command. Writes ``summary.json``, ``table.md`` and ``review.png`` into ``--out`` after every arm, of every finished
round that lies there, whatever was asked for now.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from resumable_study import arm_and_seed, exit_status, remember_settings, run_processes, run_program, start_process
from review_study.report import write_report
from review_study.scales import ARMS, SCALES, START
from rich.console import Console
from study_arguments import study_parser
from study_configs import merged_configs

from lesion_app.cli import parse_overrides
from lesion_app.data.datalist import DATALIST, prepare_deeplesion
from lesion_app.data.phantom import write_phantom
from lesion_app.errors import InputError
from lesion_app.progress import progress_bar

HERE = Path(__file__).resolve().parent
Run = tuple[str, int]  # arm, seed


def main(argv: list[str] | None = None) -> int:
    """Run the study; 0 = everything asked for is done."""
    options = parse_arguments(argv)
    console = Console()
    return run_program(lambda: run_study(options, console), console)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = study_parser(__doc__, SCALES, seeded="data, training and random order")
    parser.add_argument("--arms", nargs="+", help="only these (default: all)")
    parser.add_argument("--patients", type=int, help="phantom patients (default: the scale's)")
    parser.add_argument("--rounds", type=int, help="of review and training (default: the scale's)")
    parser.add_argument("--boxes", type=int, help="reviewed a round (default: the scale's)")
    parser.add_argument("--queue-score", type=float, help="lowest score of a find that waits (default: the scale's)")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="config value for every training")
    return parser.parse_args(argv)


def run_study(options: argparse.Namespace, console: Console) -> int:
    scale = dict(SCALES[options.scale])
    for key in ("patients", "rounds", "boxes"):
        if getattr(options, key) is not None:
            scale[key] = getattr(options, key)
        if scale[key] < 1:
            raise InputError(f"--{key} is {scale[key]}; expected at least 1")
    if options.queue_score is not None:
        scale["queue_score"] = options.queue_score
    if not 0 <= scale["queue_score"] <= 1:
        raise InputError(f"--queue-score is {scale['queue_score']}; expected a number from 0 to 1")
    arms = options.arms or list(ARMS)
    unknown = sorted(set(arms) - set(ARMS))
    if unknown:
        raise InputError(f"there is no arm '{unknown[0]}'; the arms are {', '.join(ARMS)}")
    shared = parse_overrides(options.set)
    merged_configs(scale["configs"], shared)
    out = options.out.absolute()
    chosen = {key: scale[key] for key in ("patients", "rounds", "boxes", "queue_score")}
    remember_settings(out, {"scale": options.scale, **chosen, "set": shared})
    todo = [(arm, seed) for seed in options.seeds for arm in (START, *(a for a in ARMS if a in arms))]
    waiting = [run for run in todo if not finished(out, run, scale)]
    with progress_bar(console, "arms") as bar:
        task = bar.add_task("", total=len(todo))

        def begin(run: Run) -> subprocess.Popen[bytes]:
            make_data(out, scale, run[1], console)
            return start(out, run, scale, shared, options.threads)

        def report(run: Run) -> str:
            write_report(out, scale)
            found = json.loads(last_result(out, run, scale).read_text())
            return f": AP {found['teacher']['p3d_ap']:.3f} after {found['reviewed']} reviewed boxes"

        run_processes(
            waiting,
            options.jobs,
            console,
            needed=needed,
            start=begin,
            finished=lambda run: finished(out, run, scale),
            name=arm_and_seed,
            log=lambda run: arm_folder(out, run) / "log.txt",
            report=report,
            progress=lambda: bar.update(task, completed=sum(finished(out, run, scale) for run in todo)),
        )
    done = sum(finished(out, run, scale) for run in todo)
    return exit_status(out, write_report(out, scale), done, len(todo), console)


def make_data(out: Path, scale: dict[str, Any], seed: int, console: Console) -> None:
    """The phantom of a seed and its datalist."""
    folder = data_folder(out, seed)
    if not (folder / ".complete").is_file():
        console.print(f"{time.strftime('%H:%M:%S')} generating {scale['patients']} patients of seed {seed}")
        options = {"missing_rate": scale["missing_rate"], "workers": os.cpu_count() or 1, **scale["phantom"]}
        write_phantom(folder, scale["patients"], seed, **options)
        (folder / ".complete").touch()
    if not (folder / DATALIST).is_file():
        prepare_deeplesion(folder, folder)


def data_folder(out: Path, seed: int) -> Path:
    return out / "data" / f"seed{seed}"


def arm_folder(out: Path, run: Run) -> Path:
    return out / "arms" / run[0] / f"seed{run[1]}"


def last_result(out: Path, run: Run, scale: dict[str, Any]) -> Path:
    """What an arm writes last."""
    folder = arm_folder(out, run)
    return (folder if run[0] == START else folder / f"round{scale['rounds']}") / "round.json"


def finished(out: Path, run: Run, scale: dict[str, Any]) -> bool:
    return last_result(out, run, scale).is_file()


def needed(run: Run) -> list[Run]:
    """The first model, which all other arms begin with."""
    return [] if run[0] == START else [(START, run[1])]


def start(out: Path, run: Run, scale: dict[str, Any], shared: dict[str, Any], threads: int) -> subprocess.Popen[bytes]:
    """Describe the arm in its folder and start it; it goes on where an earlier start was stopped."""
    name, seed = run
    folder, data = arm_folder(out, run), data_folder(out, seed)
    folder.mkdir(parents=True, exist_ok=True)
    is_start = name == START
    described = {
        "name": name,
        "seed": seed,
        "order": None if is_start else ARMS[name].order,
        "configs": scale["configs"],
        "overlay": str(folder / "overlay.json"),
        "dataset_dir": str(data),
        "datalist": str(data / DATALIST),
        "start_weights": None if is_start else str(arm_folder(out, (START, seed)) / "models" / "model.pt"),
        **{key: scale[key] for key in ("rounds", "boxes", "queue_score")},
    }
    (folder / "arm.json").write_text(json.dumps(described, indent=1))
    (folder / "overlay.json").write_text(json.dumps({**scale["start" if is_start else "round"], **shared}, indent=1))
    return start_process(HERE / "review_study" / "run_arm.py", [folder], folder, threads)


if __name__ == "__main__":
    sys.exit(main())
