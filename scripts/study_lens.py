"""LENS step by step: Table I (a) to (e), Tables III and IV, on phantom collections that are each labelled in their way.

    python scripts/study_lens.py --scale cpu --out study --seeds 0 1 2

Trains every arm (``lens_study/arms.py``) through the bundle's configs, each in a process of its own. Can be stopped at
any moment and started again with the same command: what is done stays, an interrupted training goes on from its last
epoch. The ladder comes first, seed by seed, then the other arms with the first seed. Writes ``summary.json``,
``tables.md`` and ``ladder.png`` into ``--out`` after every arm, of every finished arm that lies there, whatever was
asked for now.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lens_study.arms import ARMS
from lens_study.collections import make_collections
from lens_study.report import write_report
from lens_study.run_arm import FIGURES, Places
from lens_study.scales import SCALES
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
from study_arguments import study_parser

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
    parser = study_parser(__doc__, SCALES)
    parser.add_argument("--arms", nargs="+", help="only these (default: all)")
    return parser.parse_args(argv)


def run_study(options: argparse.Namespace, console: Console) -> int:
    unknown = sorted(set(options.arms or []) - set(ARMS))
    if unknown:
        raise InputError(f"there is no arm '{unknown[0]}'; the arms are {', '.join(ARMS)}")
    out: Path = options.out.absolute()
    todo = planned(options.seeds, options.arms)
    refuse_unmet_needs(todo, needed, lambda run: finished(out, run))
    remember_settings(out, {"scale": options.scale})
    waiting = [run for run in todo if not finished(out, run)]
    with progress_bar(console, "arms") as bar:
        task = bar.add_task("", total=len(todo))

        def begin(run: Run) -> subprocess.Popen[bytes]:
            make_collections(Places(out, run[1]).data, SCALES[options.scale], run[1], console)
            return start(out, run, options.scale, options.threads)

        def report(_: Run) -> str:
            write_report(out, options.scale)
            return ""

        run_processes(
            waiting,
            options.jobs,
            console,
            needed=needed,
            start=begin,
            finished=lambda run: finished(out, run),
            name=arm_and_seed,
            log=lambda run: Places(out, run[1]).arm(run[0]) / "log.txt",
            report=report,
            progress=lambda: bar.update(task, completed=sum(finished(out, run) for run in todo)),
        )
    done = sum(finished(out, run) for run in todo)
    return exit_status(out, write_report(out, options.scale), done, len(todo), console)


def planned(seeds: list[int], only: list[str] | None) -> list[Run]:
    """Runs in order: the ladder seed by seed, then the others with the first seed."""
    chosen = [name for name in ARMS if not only or name in only]
    ladder = [(name, seed) for seed in seeds for name in chosen if ARMS[name].every_seed]
    return ladder + [(name, seeds[0]) for name in chosen if not ARMS[name].every_seed]


def needed(run: Run) -> list[Run]:
    """Arms whose models this one uses."""
    arm = ARMS[run[0]]
    return [(name, run[1]) for name in (*arm.needs, *(("multi",) if arm.mined else ()))]


def finished(out: Path, run: Run) -> bool:
    folder = Places(out, run[1]).arm(run[0])
    rows = ARMS[run[0]].evaluations
    return (folder / "trained").is_file() and all((folder / row.name / FIGURES).is_file() for row in rows)


def start(out: Path, run: Run, scale: str, threads: int) -> subprocess.Popen[bytes]:
    """Start an arm; it goes on where an earlier start was stopped."""
    folder = Places(out, run[1]).arm(run[0])
    folder.mkdir(parents=True, exist_ok=True)
    script = HERE / "lens_study" / "run_arm.py"
    return start_process(script, [out, run[0], str(run[1]), scale], folder, threads)


if __name__ == "__main__":
    sys.exit(main())
