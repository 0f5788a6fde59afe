"""LENS step by step: Table I (a) to (e), Tables III and IV, on phantom collections that are each labelled in their way.

    python scripts/study_lens.py --scale cpu --out study --seeds 0 1 2

Trains every arm (``lens_study/arms.py``) through the bundle's configs, each in a process of its own. Can be stopped at
any moment and started again with the same command: what is done stays, an interrupted training goes on from its last
epoch. The ladder comes first, seed by seed, then the other arms with the first seed. Writes ``summary.json``,
``tables.md`` and ``ladder.png`` into ``--out`` after every arm.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lens_study.arms import ARMS
from lens_study.collections import make_collections
from lens_study.report import write_report
from lens_study.run_arm import FIGURES, Places
from lens_study.scales import SCALES
from rich.console import Console

from lesion_app.atomic_file import replacing
from lesion_app.errors import InputError
from lesion_app.progress import progress_bar

HERE = Path(__file__).resolve().parent
Run = tuple[str, int]  # arm, seed


def main(argv: list[str] | None = None) -> int:
    """Run the study; 0 = everything asked for is done."""
    options = parse_arguments(argv)
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the arms, too
    try:
        return run_study(options, console)
    except InputError as error:
        console.print(f"error: {error}", style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return 130


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=sorted(SCALES), default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study; the same one to go on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of data and training")
    parser.add_argument("--arms", nargs="+", help="only these (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="arms at a time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of an arm")
    return parser.parse_args(argv)


def run_study(options: argparse.Namespace, console: Console) -> int:
    unknown = sorted(set(options.arms or []) - set(ARMS))
    if unknown:
        raise InputError(f"there is no arm '{unknown[0]}'; the arms are {', '.join(ARMS)}")
    out: Path = options.out.absolute()
    remember_settings(out, {"scale": options.scale})
    todo = planned(options.seeds, options.arms)
    waiting = [run for run in todo if not finished(out, run)]
    running: dict[Run, subprocess.Popen[bytes]] = {}
    failed: list[Run] = []
    try:
        with progress_bar(console, "arms") as bar:
            task = bar.add_task("", total=len(todo), completed=len(todo) - len(waiting))
            while waiting or running:
                for run in ready(waiting, out, options.jobs - len(running)):
                    waiting.remove(run)
                    make_collections(Places(out, run[1]).data, SCALES[options.scale], run[1], console)
                    running[run] = start(out, run, options.scale, options.threads)
                    console.print(f"{time.strftime('%H:%M:%S')} started {run[0]}, seed {run[1]}", highlight=False)
                if not running:
                    break  # what is left waits for an arm that failed
                time.sleep(2.0)
                for run, process in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[run]
                    if process.returncode != 0 or not finished(out, run):
                        failed.append(run)
                        log = Places(out, run[1]).arm(run[0]) / "log.txt"
                        console.print(f"[red]{run[0]}, seed {run[1]} failed; see {log}[/red]")
                        continue
                    write_report(out, todo, options.scale)
                    console.print(f"{time.strftime('%H:%M:%S')} finished {run[0]}, seed {run[1]}", highlight=False)
                    bar.update(task, advance=1)
    finally:
        for process in running.values():
            process.terminate()
    done = write_report(out, todo, options.scale)
    console.print(f"wrote {out}/summary.json, tables.md, ladder.png: {done} of {len(todo)} runs done")
    if failed or waiting:
        console.print("next: look at log.txt of the failed arms, then run the same command again")
        return 1
    return 0


def planned(seeds: list[int], only: list[str] | None) -> list[Run]:
    """Runs in order: the ladder seed by seed, then the others with the first seed."""
    chosen = [name for name in ARMS if not only or name in only]
    ladder = [(name, seed) for seed in seeds for name in chosen if ARMS[name].every_seed]
    return ladder + [(name, seeds[0]) for name in chosen if not ARMS[name].every_seed]


def needed(run: Run) -> list[Run]:
    """Arms whose models this one uses."""
    arm = ARMS[run[0]]
    return [(name, run[1]) for name in (*arm.needs, *(("multi",) if arm.mined else ()))]


def ready(waiting: list[Run], out: Path, slots: int) -> list[Run]:
    """The next runs that can start."""
    able = [run for run in waiting if all(finished(out, need) for need in needed(run))]
    return able[: max(slots, 0)]


def finished(out: Path, run: Run) -> bool:
    folder = Places(out, run[1]).arm(run[0])
    rows = ARMS[run[0]].evaluations
    return (folder / "trained").is_file() and all((folder / row.name / FIGURES).is_file() for row in rows)


def remember_settings(out: Path, settings: dict[str, Any]) -> None:
    """Refuse to mix runs of other settings into a study."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if path.is_file():
        before = json.loads(path.read_text())
        if before != settings:
            raise InputError(
                f"{out} holds a study with the settings {before}, asked were {settings}; name another --out"
            )
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(settings, indent=1))


def start(out: Path, run: Run, scale: str, threads: int) -> subprocess.Popen[bytes]:
    """Start an arm; it goes on where an earlier start was stopped."""
    folder = Places(out, run[1]).arm(run[0])
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(HERE / "lens_study" / "run_arm.py"), str(out), run[0], str(run[1]), scale],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )


if __name__ == "__main__":
    sys.exit(main())
