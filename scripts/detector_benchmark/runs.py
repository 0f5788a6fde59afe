"""Runs of rows, each in a process of its own that goes on where an earlier start was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resumable_study import environment, start_process, write_text

from detector_benchmark.report import Run, row_folder
from detector_benchmark.rows import PRETRAINING, Row
from detector_benchmark.scales import Scale
from lesion_app.handlers.training_history import read_history

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Runs:
    """How to start, follow and measure the runs of one benchmark.

    Args:
        out: folder of the benchmark.
        scale: its scale.
        rows: by name, that of the stand-in for COCO's weights among them.
        data: see `make_data`.
        weights: by family, what its pretrained rows start from: ``coco``, a state dict or a Darknet file.
        shared: config values of every row, on top of the scale's and the row's.
        threads: CPU threads of a run.
    """

    out: Path
    scale: Scale
    rows: Mapping[str, Row]
    data: Mapping[str, Path]
    weights: Mapping[str, str]
    shared: Mapping[str, Any]
    threads: int

    def length(self, run: Run) -> int:
        """Iterations of a training."""
        budget = self._values(self.rows[run[0]])
        return int(budget["epochs"]) * int(budget["epoch_length"])

    def iterations(self, run: Run) -> int:
        """Iterations a run has behind it, all of them once it is finished."""
        if self.finished(run):
            return self.length(run)
        lines = read_history(row_folder(self.out, run) / "training" / "history.jsonl")
        return int(lines[-1]["iteration"]) if lines else 0

    def finished(self, run: Run) -> bool:
        """Whether a run is trained and evaluated."""
        folder = row_folder(self.out, run)
        if run[0] == PRETRAINING:
            return (folder / "models" / "last.pt").is_file()
        return all((folder / split / "evaluation.json").is_file() for split in ("test", "training"))

    def needed(self, run: Run) -> list[Run]:
        """A pretrained run waits for the stand-in it starts from."""
        return [(PRETRAINING, 0)] if self.needs_stand_in(run) else []

    def needs_stand_in(self, run: Run) -> bool:
        """Whether a run starts from the weights of `PRETRAINING`."""
        row = self.rows[run[0]]
        return row.pretrained and self.weights.get(row.family) == stand_in_weights(self.out)

    def start(self, run: Run) -> subprocess.Popen[bytes]:
        """Describe a run in its folder and start it."""
        name, seed = run
        row = self.rows[name]
        folder = row_folder(self.out, run)
        folder.mkdir(parents=True, exist_ok=True)
        stand_in = name == PRETRAINING
        described = {
            "name": name,
            "seed": seed,
            "configs": training_configs(row, self.scale),
            "dataset_dir": str(self.data["root"]),
            "datalist": str(self.data["untyped" if stand_in else "typed"]),
            "evaluated": [] if stand_in else ["test", "training"],
        }
        for file, content in (
            ("row.json", described),
            ("overlay.json", self._values(row)),
            ("in_evaluation.json", dict(row.in_evaluation)),
        ):
            write_text(folder / file, json.dumps(content, indent=1))
        return start_process(HERE / "run_row.py", [folder], folder, self.threads)

    def measure(self, run: Run) -> bool:
        """Time and memory of a finished run, with nothing else running; whether that succeeded."""
        folder = row_folder(self.out, run)
        with (folder / "log.txt").open("ab") as log:
            done = subprocess.run(
                [sys.executable, str(HERE / "measure_row.py"), str(folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.threads),
                check=False,
            )
        return done.returncode == 0

    def _values(self, row: Row) -> dict[str, Any]:
        """Config values of a row: the scale's, its family's, its own, the user's."""
        values = {**self.scale.shared, **self.scale.families[row.family], **row.overrides, **self.shared}
        if row.pretrained:
            values[row.weights_key] = self.weights[row.family]
        return values


def training_configs(row: Row, scale: Scale) -> list[str]:
    """Configs of a row's training without the values of scale, row and user."""
    return ["train", *scale.base.get(row.family, ()), "typed_detection", *row.configs]


def stand_in_weights(out: Path) -> str:
    """Where `PRETRAINING` leaves its weights."""
    return str(row_folder(out, (PRETRAINING, 0)) / "models" / "last.pt")
