"""Tells early when the teacher mines nothing, or rubbish."""

from __future__ import annotations

import logging
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

logger = logging.getLogger("lesion_app.mining")
REMEDY = (
    "raise score_threshold, ask that a box is found again (mining_checks) or look for hard negatives "
    "(mine_negatives.json; docs/recipe.md)"
)


class MiningWatch:
    """Looks at the mined boxes of every stretch of iterations and warns in one line.

    Warned of: nothing mined (with the highest scores the teacher gave, since tau may simply lie above them); far more
    mined than labelled, where DeepLesion lacks about one label for each it has; and, where all lesions are known
    (phantom), too many that are none. Stands after :class:`lesion_app.handlers.mean_teacher.MeanTeacher`.

    Args:
        every: iterations of a stretch.
        most_per_label: mined boxes a labelled one from which they are suspicious.
        least_precision: share of right ones below which mining does harm: with 55 to 75 % it lost 3 to 9 points of AP,
            with 82 % and more at most 2 (docs/results/missing-labels.md; BX, Table II: tau 0.80 loses 17).
    """

    def __init__(self, every: int = 1000, most_per_label: float = 1.5, least_precision: float = 0.8) -> None:
        self.every = every
        self.most_per_label = most_per_label
        self.least_precision = least_precision
        self._clear()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, lambda _: self._clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)

    def _clear(self) -> None:
        self._iterations = 0
        self._totals: dict[str, float] = {}
        self._scores: Tensor | None = None

    def _look(self, engine: Engine) -> None:
        figures: dict[str, float] = getattr(engine.state, "mining", None) or {}
        scores: Any = getattr(engine.state, "teacher_scores", None)
        if figures:
            self._iterations += 1
            for name, value in figures.items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            if scores is not None:
                self._scores = scores.clone() if self._scores is None else self._scores + scores
        if self._iterations == self.every:
            for text in self.warnings():
                logger.warning("iteration %d: %s", engine.state.iteration, text)
            self._clear()

    def warnings(self) -> list[str]:
        """What is wrong with the stretch so far."""
        total = self._totals
        mined, labelled = total.get("mined_boxes", 0.0), total.get("ground_truth_boxes", 0.0)
        if not mined:
            return [
                f"the teacher has mined nothing in {self._iterations} iterations; {highest(self._scores)}, so lower "
                "score_threshold, or train longer before mining_start_iteration"
            ]
        found = []
        if labelled and mined > self.most_per_label * labelled:
            found.append(
                f"{mined / labelled:.1f} boxes were mined for each labelled one, which is more than labels can be "
                f"missing; look at mined_lesions.png, {REMEDY}"
            )
        if "mined_right" in total and total["mined_right"] < self.least_precision * mined:
            found.append(
                f"{100 * total['mined_right'] / mined:.0f} % of the mined boxes are lesions, so mining does harm; "
                f"{REMEDY}"
            )
        return found


def highest(histogram: Tensor | None) -> str:
    """The highest bin of a score histogram that is not empty, in words."""
    if histogram is None or not histogram.any():
        return "it found no box at all"
    top = int(torch.nonzero(histogram)[-1])
    return f"its highest scores lie in {top / len(histogram):.1f} to {(top + 1) / len(histogram):.1f}"
