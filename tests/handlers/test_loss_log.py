"""The loss on the log."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from ignite.engine import Engine

from lesion_app.errors import InputError
from lesion_app.handlers.loss_log import LossLog


def run(losses, epochs=1, **options):
    engine = Engine(lambda engine, loss: {"loss": torch.tensor(loss, requires_grad=True)})
    LossLog(**options).attach(engine)
    engine.run(losses, max_epochs=epochs)


def test_loss_is_told_every_so_often_and_its_mean_each_epoch(caplog):
    with caplog.at_level(logging.INFO, "lesion_app.training"):
        run([1.0, 2.0, 6.0], epochs=2, print_every=2)
    assert [record.message for record in caplog.records] == [
        "iteration 2/6 loss 2.0000",
        "epoch 1/2 mean loss 3.0000",
        "iteration 4/6 loss 1.0000",
        "iteration 6/6 loss 6.0000",
        "epoch 2/2 mean loss 3.0000",
    ]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_loss_that_is_no_number_ends_training(broken):
    with pytest.raises(InputError, match="not finite at iteration 2; lower the learning rate"):
        run([1.0, broken, 1.0])
