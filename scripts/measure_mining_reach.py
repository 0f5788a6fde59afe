"""How many of the hidden lesions does a finished arm of the missing-labels study find, and how right is it?

    python scripts/measure_mining_reach.py study --arm partial --seeds 0 1 2

Looks through the key slices that a finished arm of ``study_missing_labels.py`` was trained on, and through those of the
test patients, labelled by the same law, which it never saw: does mining fail because the teacher learnt the hidden
lesions by heart as background, or because it cannot tell them from their look-alikes? About a minute a seed. Writes
``reach-ARM.md`` into the study's folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from markdown_table import markdown_table
from missing_labels.reach import LOWEST, Finds, read_finds, unseen_records
from resumable_study import run_program, write_text
from rich.console import Console
from study_arguments import EachOnce, from_zero

from lesion_app.data.datalist import DATALIST, write_datalist
from lesion_app.errors import InputError

TAUS = (0.9, 0.8, 0.7, 0.5, 0.3)
PRECISIONS = (0.95, 0.9, 0.8)
SIDES_MM = (10, 14, 18, 24, 32)
"""Lower edges of the classes of lesions, by the longer side of the box."""


def look_through(arm_folder: Path, scratch: Path) -> dict[str, Finds]:
    """Finds of a finished arm's teacher on the slices it was trained on (``seen``) and on test patients' (``unseen``).

    Raises:
        InputError: the arm is not finished.
    """
    from lesion_app.bundle_run import run_bundle

    if not (arm_folder / "evaluation" / "evaluation.json").is_file():
        raise InputError(
            f"{arm_folder} holds no finished arm; run study_missing_labels.py with this arm and seed first"
        )
    arm = json.loads((arm_folder / "arm.json").read_text())
    root = Path(arm["dataset_dir"])
    unseen = scratch / "unseen.json"
    write_datalist(unseen, {}, {"training": unseen_records(root), "validation": [], "test": []})
    finds = {}
    for name, datalist in (("seen", root / "partial" / DATALIST), ("unseen", unseen)):
        mined = scratch / f"{name}-mined.json"
        values = {
            "dataset_dir": str(root),
            "datalist": str(datalist),
            "ckpt_dir": str(scratch),
            "output_dir": str(scratch / name),
            "weights": str(arm_folder / "models" / "model.pt"),
            "mined_datalist": str(mined),
        }
        overlay = str(arm_folder / "overlay.json")
        run_bundle([*arm["configs"], overlay, "mine"], {**values, "score_threshold": LOWEST})
        finds[name] = read_finds(mined)
    return finds


def tables(by_seed: Sequence[dict[str, Finds]]) -> str:
    """Markdown, per cent, means over the seeds."""
    head = ["slices", "hidden"] + [f"found at {100 * p:.0f} % right" for p in PRECISIONS]
    head += [f"tau {tau:.1f}: right / found" for tau in TAUS]
    rows, size_rows = [], []
    for name, title in (("seen", "trained on"), ("unseen", "of test patients")):
        seeds = [finds[name] for finds in by_seed]
        counts = {tau: [finds.counts(tau) for finds in seeds] for tau in TAUS}
        row = [title, f"{statistics.fmean(c.hidden for c in counts[TAUS[0]]):.0f}"]
        row += [_percent([finds.recall_at(precision) for finds in seeds]) for precision in PRECISIONS]
        row += [
            f"{_percent([c.precision for c in found])} / {_percent([c.recall for c in found])}"
            for found in counts.values()
        ]
        rows.append(row)
        size_row = [title]
        for low, high in zip(SIDES_MM, (*SIDES_MM[1:], float("inf"))):
            pairs = [finds.found_of_sides(low, high, 0.5) for finds in seeds]
            found, hidden = (sum(part) for part in zip(*pairs))
            size_row.append(f"{100 * found / hidden:.0f} % of {hidden / len(seeds):.0f}" if hidden else "-")
        size_rows.append(size_row)
    size_head = ["hidden lesions found at tau 0.5"]
    size_head += [f"{low}-{high} mm" for low, high in itertools.pairwise(SIDES_MM)] + [f">= {SIDES_MM[-1]} mm"]
    return "\n".join([*markdown_table(head, rows), "", *markdown_table(size_head, size_rows)]) + "\n"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(values):.0f}"


def main(argv: list[str] | None = None) -> int:
    """Look through the slices of the seeds asked for; 0 = the tables are written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="--out of study_missing_labels.py")
    parser.add_argument("--arm", default="partial", help="whose teacher looks")
    parser.add_argument("--seeds", type=from_zero, nargs="+", action=EachOnce, default=[0])
    options = parser.parse_args(argv)
    console = Console()

    def run() -> int:
        by_seed = []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as scratch:
                by_seed.append(look_through(options.study / "arms" / options.arm / f"seed{seed}", Path(scratch)))
        out = options.study / f"reach-{options.arm}.md"
        text = tables(by_seed)
        write_text(out, text)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        console.print(f"wrote {out}", highlight=False)
        return 0

    return run_program(run, console, stopped="stopped; nothing was written")


if __name__ == "__main__":
    sys.exit(main())
