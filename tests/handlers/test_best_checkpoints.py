"""The best few validations stay on disk, also across a resume."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from lesion_app.handlers.best_checkpoints import BestCheckpoints


def validate(keeper: BestCheckpoints, network: nn.Linear, values: list[float]) -> None:
    """A validation with each value; the network's bias remembers it."""
    engine = Engine(lambda *_: None)
    keeper.attach(engine)
    for value in values:
        nn.init.constant_(network.bias, value)
        engine.add_event_handler("EPOCH_COMPLETED", lambda e, v=value: e.state.metrics.update(m=v))
        engine.run([0])


def biases(keeper: BestCheckpoints) -> list[float]:
    return [torch.load(p, weights_only=True)["bias"].item() for p in keeper.paths()]


def test_best_two_stay_and_others_go(tmp_path):
    network = nn.Linear(1, 1)
    keeper = BestCheckpoints(network, tmp_path, "m", keep=2)
    validate(keeper, network, [0.25, 0.75, 0.5, 0.125])
    assert biases(keeper) == [0.75, 0.5]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0002.pt", "epoch-0003.pt"]


def test_of_equal_values_the_earlier_stays_and_nan_is_last(tmp_path):
    network = nn.Linear(1, 1)
    keeper = BestCheckpoints(network, tmp_path, "m", keep=2)
    validate(keeper, network, [float("nan"), 0.5, 0.5, 0.5])
    assert [p.name for p in keeper.paths()] == ["epoch-0002.pt", "epoch-0003.pt"]


def test_resumed_run_goes_on_from_its_own_state(tmp_path):
    network = nn.Linear(1, 1)
    keeper = BestCheckpoints(network, tmp_path, "m", keep=2)
    validate(keeper, network, [0.75, 0.5])
    state = keeper.state_dict()
    validate(keeper, network, [1.0])  # after the last saved state: will be run again
    resumed = BestCheckpoints(network, tmp_path, "m", keep=2)
    resumed.load_state_dict(state)
    validate(resumed, network, [0.625])
    assert biases(resumed) == [0.75, 0.625]
    assert len(list(tmp_path.iterdir())) == 2


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        BestCheckpoints(nn.Linear(1, 1), tmp_path, "m", keep=0)
