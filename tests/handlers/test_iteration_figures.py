from __future__ import annotations

import logging
import math

import pytest
import torch
from ignite.engine import Events

from lesion_app.errors import InputError
from lesion_app.handlers.iteration_figures import IterationFigures
from lesion_app.handlers.mean_teacher import MeanTeacher


def run(trainer, scripted, items, said, epochs=1, **options):
    student, teacher = scripted(), scripted(said)
    handlers = [MeanTeacher(student, teacher, **options), IterationFigures()]
    engine = trainer(student, items, handlers, epochs=epochs)
    outputs, metrics = [], []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: outputs.append(e.state.output))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: metrics.append(dict(e.state.metrics)))
    engine.run()
    return outputs, metrics


def test_output_is_one_dict_of_floats_with_losses_and_mining(scripted, trainer, item, said):
    outputs, _ = run(trainer, scripted, [[item()]], [said((30, 30, 40, 40, 0.95))])
    assert outputs == [
        [
            {
                "loss": 1.0,
                "loss_weight": 1.0,
                "mined_boxes": 1.0,
                "ground_truth_boxes": 1.0,
                "mined_per_ground_truth": 1.0,
            }
        ]
    ]


def test_ratios_of_an_epoch_are_of_its_sums(scripted, trainer, item, said):
    hidden = torch.tensor([[30.0, 30.0, 40.0, 40.0]])
    items = [[item([(10, 10, 20, 20)], truth_boxes=hidden)], [item([], truth_boxes=torch.zeros(0, 4))]]
    _, metrics = run(trainer, scripted, items, [said((30, 30, 40, 40, 0.95), (50, 5, 60, 15, 0.95))])
    assert metrics[0] == {
        "epoch_mined_boxes": 4.0,
        "epoch_mined_precision": 0.25,
        "epoch_mined_recall": 1.0,
        "epoch_mined_per_ground_truth": 4.0,
    }


def test_epoch_without_mined_boxes_does_not_show_the_precision_of_the_one_before(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said((30, 30, 40, 40, 0.95))])
    known = {"truth_boxes": torch.tensor([[30.0, 30.0, 40.0, 40.0]])}
    engine = trainer(student, [[item(**known)]], [MeanTeacher(student, teacher), IterationFigures()], epochs=2)
    metrics = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: metrics.append(dict(e.state.metrics)))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: setattr(teacher, "said", [said()]))
    engine.run()
    assert metrics[0]["epoch_mined_precision"] == 1.0
    assert "epoch_mined_precision" not in metrics[1]
    assert metrics[1]["epoch_mined_boxes"] == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_ends_the_training_in_one_sentence(scripted, trainer, item, value):
    student = scripted(weight=value)
    engine = trainer(student, [[item()]], [IterationFigures()])
    with pytest.raises(InputError, match=r"loss_weight is not finite at iteration 1; lower learning_rate") as caught:
        engine.run()
    assert "\n" not in str(caught.value)


def test_line_tells_losses_mining_and_time_left_at_the_chosen_interval(scripted, trainer, item, said, caplog):
    student, teacher = scripted(), scripted([said((30, 30, 40, 40, 0.95))])
    known = {"truth_boxes": torch.tensor([[30.0, 30.0, 40.0, 40.0]])}
    handlers = [MeanTeacher(student, teacher), IterationFigures(print_every=2)]
    with caplog.at_level(logging.INFO, "lesion_app.training"):
        trainer(student, [[item(**known)]] * 4, handlers).run()
    lines = [r.getMessage() for r in caplog.records if r.name == "lesion_app.training"]
    assert len(lines) == 2
    assert lines[0].startswith("iteration 2/4 loss 0.900 (weight 0.900) mined 1 of 1 labelled, right 1, hidden 1 | ")
    assert lines[1].endswith("00:00:00 left")
