from __future__ import annotations

import torch
from ignite.engine import Engine

from lesion_app.handlers.best_model import BestModel


def validate(handler: BestModel, *values: float) -> None:
    """Run an evaluator once for each value of the metric; the network's weight is that value."""
    engine = Engine(lambda e, b: None)
    handler.attach(engine)
    for value in values:
        with torch.no_grad():
            handler.network.weight.fill_(value)
        engine.state.metrics["ap"] = value
        engine.run([0])
        engine.state.metrics.clear()


def saved(path) -> float:
    return torch.load(path, weights_only=True)["weight"].item()


def make(path) -> BestModel:
    return BestModel(torch.nn.Linear(1, 1, bias=False), path, "ap")


def test_best_validation_is_kept(tmp_path):
    validate(make(tmp_path / "models" / "m.pt"), 0.25, 0.5, 0.375, 0.5)
    assert saved(tmp_path / "models" / "m.pt") == 0.5
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["m.pt"]


def test_first_validation_after_a_resume_cannot_overwrite_a_better_model(tmp_path):
    path = tmp_path / "m.pt"
    first = make(path)
    validate(first, 0.5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(path)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    validate(second, 0.25)
    assert saved(path) == 0.5
    validate(second, 0.75)
    assert saved(path) == 0.75


def test_model_is_written_even_when_nothing_is_found_yet(tmp_path):
    validate(make(tmp_path / "m.pt"), 0.0)
    assert saved(tmp_path / "m.pt") == 0.0


def test_metric_that_is_not_a_number_is_never_best(tmp_path):
    validate(make(tmp_path / "m.pt"), float("nan"))
    assert not (tmp_path / "m.pt").exists()
