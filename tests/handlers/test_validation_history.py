"""A line a validation, the same with and without a resume."""

from __future__ import annotations

import json
from pathlib import Path

from ignite.engine import Engine, Events

from lesion_app.handlers.validation_history import ValidationHistory


def train(folder: Path, first: int, last: int, interval: int = 1) -> list[dict]:
    """Epochs ``first`` to ``last`` of two iterations each; the metric of an epoch is its number."""
    trainer = Engine(lambda *_: None)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda e: e.state.metrics.update(val_map=e.state.epoch / 10, val_ap=1, other=0),
    )
    ValidationHistory(folder, ["val_"], interval).attach(trainer)
    trainer.load_state_dict({"epoch": first - 1, "max_epochs": last, "epoch_length": 2})
    trainer.run([0, 0], max_epochs=last)
    return [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]


def test_metrics_of_the_prefix_are_written_after_each_validation(tmp_path):
    lines = train(tmp_path, 1, 4, interval=2)
    assert lines == [
        {"iteration": 4, "epoch": 2, "val_map": 0.2, "val_ap": 1.0},
        {"iteration": 8, "epoch": 4, "val_map": 0.4, "val_ap": 1.0},
    ]


def test_resumed_run_writes_what_an_uninterrupted_one_does(tmp_path):
    whole = train(tmp_path / "whole", 1, 4)
    train(tmp_path / "parts", 1, 3)  # killed in epoch 4, the last saved state being that of epoch 2
    with (tmp_path / "parts" / "validation.jsonl").open("a") as file:
        file.write('{"iteration": 8, "ep')
    assert train(tmp_path / "parts", 3, 4) == whole
