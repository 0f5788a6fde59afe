"""Figures of a whole training on disk, across resumes, and the picture of them."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor

from lesion_app.atomic_file import replacing
from lesion_app.visualize.training_curves import plot_training_curves

logger = logging.getLogger("lesion_app.training")


class TrainingHistory:
    """Appends figures to ``<folder>/history.jsonl`` and draws ``training_curves.png`` in the end.

    A line holds ``iteration`` and the means of the iteration figures since the line before, while a teacher mines its
    ``teacher_scores`` since then (counts in ten equal bins of 0 to 1), or the metrics of a validation.
    No line reaches beyond an epoch, where resumes begin: on a resume, lines of iterations that will be run again are
    dropped, and what is written is what an uninterrupted run would write.

    Args:
        folder: output folder.
        every: iterations a line averages over.
        val_interval: epochs between validations.
    """

    def __init__(self, folder: str | Path, every: int = 20, val_interval: int = 1) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "history.jsonl"
        self.every = every
        self.val_interval = val_interval
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._scores: Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after ``IterationFigures`` and ``ValidationFigures``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.val_interval), self._validated)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _start(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self._lines() if line["iteration"] <= engine.state.iteration]
        with replacing(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def _collect(self, engine: Engine) -> None:
        figures: dict[str, float] = engine.state.output[0]  # type: ignore[index]
        for name, value in figures.items():
            self._sums[name] += value
            self._counts[name] += 1
        scores: Tensor | None = getattr(engine.state, "teacher_scores", None)
        if scores is not None:
            self._scores = scores.clone() if self._scores is None else self._scores + scores
        iteration, epoch_length = engine.state.iteration, engine.state.epoch_length
        if iteration % self.every == 0 or (epoch_length and iteration % epoch_length == 0):
            figures = {name: self._sums[name] / self._counts[name] for name in self._sums}
            scored = {} if self._scores is None else {"teacher_scores": self._scores.tolist()}
            self._append(engine, {**figures, **scored})
            self._sums.clear()
            self._counts.clear()
            self._scores = None

    def _validated(self, engine: Engine) -> None:
        names = ("teacher_p3d_ap", "student_p3d_ap", "epoch_mined_precision", "epoch_mined_recall")
        metrics = engine.state.metrics
        self._append(engine, {name: float(metrics[name]) for name in names if name in metrics})

    def _append(self, engine: Engine, figures: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"iteration": int(engine.state.iteration), **figures}) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        return read_history(self.path)

    def _draw(self, engine: Engine) -> None:
        curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        hidden = ("teacher_scores", "ground_truth_boxes", "hidden", "mined_right", "mined_precision", "mined_recall")
        for line in self._lines():
            for name, value in line.items():
                if name != "iteration" and not name.startswith(hidden):
                    curves[name].append((line["iteration"], value))
        if curves:
            picture = plot_training_curves(curves, self.folder / "training_curves.png")
            logger.info("wrote %s and %s", picture, self.path)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Lines of a ``history.jsonl``; a last line cut off by a kill is left out."""
    lines = []
    if path.is_file():
        for text in path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines
