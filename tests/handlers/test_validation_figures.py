from __future__ import annotations

from ignite.engine import Engine, Events

from lesion_app.handlers.validation_figures import ValidationFigures


def test_trainer_takes_over_the_figures_of_both_evaluators_at_the_interval():
    trainer, teacher, student = (Engine(lambda e, b: None) for _ in range(3))
    teacher.state.metrics["teacher_ap"], student.state.metrics["student_ap"] = 0.5, 0.25
    ValidationFigures([teacher, student], interval=2).attach(trainer)
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: seen.append(dict(e.state.metrics)))
    trainer.run([0], max_epochs=2)
    assert seen == [{}, {"teacher_ap": 0.5, "student_ap": 0.25}]
