"""Carries the figures of the validations over to the trainer, where every logger looks."""

from __future__ import annotations

from collections.abc import Sequence

from ignite.engine import Engine, Events


class ValidationFigures:
    """Copies ``state.metrics`` of finished evaluators into the trainer's at the end of an epoch.

    Stands after the ``ValidationHandler``s and before the loggers.

    Args:
        evaluators: evaluators whose metrics have names of their own (``teacher_...``, ``student_...``).
        interval: epochs between two validations.
    """

    def __init__(self, evaluators: Sequence[Engine], interval: int = 1) -> None:
        self.evaluators = list(evaluators)
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._copy)

    def _copy(self, engine: Engine) -> None:
        for evaluator in self.evaluators:
            engine.state.metrics.update(evaluator.state.metrics)
