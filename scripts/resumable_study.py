"""What the resumable studies share: refusing other settings, runs in processes, means and spreads."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from lesion_app.atomic_file import replacing
from lesion_app.errors import InputError

R = TypeVar("R")


def run_program(
    run: Callable[[], int], console: Console, stopped: str = "stopped; the same command goes on from here"
) -> int:
    """Exit status of a study: its own, 2 for a user's mistake, 130 when it was ``stopped``, which is then told."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the runs, too
    try:
        return run()
    except InputError as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(stopped)
        return 130


def remember_settings(out: Path, settings: Mapping[str, Any], what: str = "study", tell: bool = True) -> None:
    """Make the folder of a study and keep its settings there, or refuse to mix runs of other settings into it.

    Args:
        out: the folder.
        settings: what all runs in it have in common.
        what: is made there.
        tell: both settings in the sentence that refuses.

    Raises:
        InputError: other settings, or a folder that cannot be made, read or written to.
    """
    path = out / "settings.json"
    settings = json.loads(json.dumps(settings))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            write_text(path, json.dumps(settings, indent=1))
        before = json.loads(path.read_text())
    except OSError as error:
        raise InputError(
            f"{out} cannot be the folder of a {what} ({error.strerror}); name one that can be written to with --out"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); mend it or name another --out") from error
    if before != settings:
        found = f"the settings {before}, asked were {settings}" if tell else "other settings (see settings.json there)"
        raise InputError(f"{out} holds a {what} with {found}; name another --out")


def refuse_unmet_needs(
    todo: Sequence[tuple[str, int]],
    needed: Callable[[tuple[str, int]], Sequence[tuple[str, int]]],
    finished: Callable[[tuple[str, int]], bool],
) -> None:
    """Refuse to begin when an arm uses the model of another one that is neither there nor asked for.

    Args:
        todo: arms and seeds asked for.
        needed: arms and seeds whose models a run uses.
        finished: whether a run left all it is to leave.

    Raises:
        InputError: names the first such arm and what to add to ``--arms``.
    """
    for run in todo:
        unmet = [need for need in needed(run) if need not in todo and not finished(need)]
        if unmet and not finished(run):
            names = " ".join(dict.fromkeys(name for name, _ in unmet))
            raise InputError(
                f"arm '{run[0]}' uses the model of {' and '.join(map(arm_and_seed, unmet))}, which is not trained yet;"
                f" ask for it, too: --arms {names} {run[0]}"
            )


def ready(waiting: Sequence[R], needed: Callable[[R], Sequence[R]], finished: Callable[[R], bool]) -> list[R]:
    """Those whose needs are met."""
    return [run for run in waiting if all(map(finished, needed(run)))]


def run_processes(
    waiting: list[R],
    jobs: int,
    console: Console,
    *,
    needed: Callable[[R], Sequence[R]],
    start: Callable[[R], subprocess.Popen[bytes]],
    finished: Callable[[R], bool],
    name: Callable[[R], str],
    log: Callable[[R], Path],
    report: Callable[[R], str],
    progress: Callable[[], None],
) -> None:
    """Run what waits, ``jobs`` processes at a time; those running end with this program.

    Args:
        waiting: runs to do, in order; those started are taken out, what stays waits for a run that failed.
        needed: runs that one waits for, since it uses their models.
        start: starts a run.
        finished: whether a run left all it is to leave.
        name, log: what a run is called, and its log file.
        report: called after a run has finished; what it returns is printed behind the run's name.
        progress: called again and again.
    """
    running: list[tuple[R, subprocess.Popen[bytes]]] = []
    try:
        while waiting or running:
            for run in ready(waiting, needed, finished)[: max(jobs - len(running), 0)]:
                waiting.remove(run)
                running.append((run, start(run)))
                console.print(f"{time.strftime('%H:%M:%S')} started {name(run)}", highlight=False)
            if not running:
                break
            time.sleep(1.0)
            for entry in list(running):
                run, process = entry
                if process.poll() is None:
                    continue
                running.remove(entry)
                if process.returncode != 0 or not finished(run):
                    console.print(f"[red]{name(run)} failed; see {log(run)}[/red]")
                    continue
                console.print(f"{time.strftime('%H:%M:%S')} finished {name(run)}{report(run)}", highlight=False)
            progress()
    finally:
        for _, process in running:
            process.terminate()
        for _, process in running:
            process.wait()


def seeds_in(folder: Path) -> list[int]:
    """Seeds whose runs lie in the folder of an arm (``seed0``, ``seed1`` ...), in order."""
    names = [path.name.removeprefix("seed") for path in folder.glob("seed*")]
    return sorted(int(name) for name in names if name.isdecimal())


def arm_and_seed(run: tuple[str, int]) -> str:
    """What a run of an arm is called."""
    return f"{run[0]}, seed {run[1]}"


def exit_status(out: Path, written: Sequence[str], done: int, asked: int, console: Console, what: str = "arms") -> int:
    """Tell what was written and how far it is.

    Args:
        out: folder of the study.
        written: names of the files written there.
        done, asked: how many runs are finished, of how many asked for now.
        console: to tell it on.
        what: a run is.

    Returns:
        0 = everything asked for is done; else 1, and what to do is printed.
    """
    files = f"wrote {out}/{', '.join(written)}: " if written else ""
    console.print(f"{files}{done} of {asked} {what} done", markup=False)
    if done < asked:
        console.print(f"next: look at log.txt of the failed {what}, then run the same command again")
    return int(done < asked)


def start_process(script: Path, arguments: Sequence[str | Path], folder: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start a Python program whose output is added to ``folder/log.txt``."""
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(threads),
        )


def environment(threads: int) -> dict[str, str]:
    """This process's variables, with so many CPU threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value) and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "values": list(values)}


def percent(measure: Mapping[str, Any] | None, signed: bool = False) -> str:
    """A `spread` as per cent, ``12.3 ± 0.4``; a dash for none."""
    if measure is None:
        return "-"
    text = f"{100 * measure['mean']:{'+' if signed else ''}.1f}"
    return text if measure["sd"] is None else f"{text} ± {100 * measure['sd']:.1f}"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
