from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from lesion_app.handlers.training_history import TrainingHistory, read_history


def run(folder, *, epochs=2, every=2, start_epoch=0, epoch_length=4, stop_after=None, val_interval=1):
    """A trainer whose loss is its iteration, resumed at ``start_epoch`` and broken off after an iteration."""
    engine = Engine(lambda e, b: [{"loss": float(e.state.iteration)}])
    TrainingHistory(folder, every=every, val_interval=val_interval).attach(engine)

    def validate(e):
        e.state.metrics["teacher_p3d_ap"] = e.state.epoch / 10

    engine.add_event_handler(Events.EPOCH_STARTED, validate)
    if stop_after:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=stop_after), lambda e: 1 / 0)
    engine.state.max_epochs, engine.state.epoch_length = epochs, epoch_length
    engine.state.epoch, engine.state.iteration = start_epoch, start_epoch * epoch_length
    engine.logger.disabled = True
    engine.run(range(epoch_length), max_epochs=epochs)


def test_lines_hold_means_since_the_line_before_and_validations(tmp_path):
    run(tmp_path)
    assert read_history(tmp_path / "history.jsonl") == [
        {"iteration": 2, "loss": 1.5},
        {"iteration": 4, "loss": 3.5},
        {"iteration": 4, "teacher_p3d_ap": 0.1},
        {"iteration": 6, "loss": 5.5},
        {"iteration": 8, "loss": 7.5},
        {"iteration": 8, "teacher_p3d_ap": 0.2},
    ]


def test_scores_of_a_mining_teacher_are_added_up_since_the_line_before(tmp_path):
    def step(engine, _):
        engine.state.teacher_scores = torch.tensor([1, engine.state.iteration]) if engine.state.iteration > 2 else None
        return [{"loss": 1.0}]

    engine = Engine(step)
    TrainingHistory(tmp_path, every=2, val_interval=100).attach(engine)
    engine.run(range(6), max_epochs=1)
    lines = read_history(tmp_path / "history.jsonl")
    assert [line.get("teacher_scores") for line in lines] == [None, [2, 7], [2, 11]]
    assert (tmp_path / "training_curves.png").is_file()


def test_picture_of_the_curves_is_drawn_in_the_end(tmp_path):
    run(tmp_path)
    with Image.open(tmp_path / "training_curves.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize("every", [2, 3, 5, 100])
def test_resumed_history_equals_the_uninterrupted_one(tmp_path, every):
    run(tmp_path / "whole", epochs=3, every=every)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "broken", epochs=3, every=every, stop_after=7)  # the state on disk is that of iteration 4
    run(tmp_path / "broken", epochs=3, every=every, start_epoch=1)
    assert (tmp_path / "broken" / "history.jsonl").read_text() == (tmp_path / "whole" / "history.jsonl").read_text()


def test_line_cut_off_by_a_kill_is_dropped_on_resume(tmp_path):
    run(tmp_path, epochs=1)
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text() + '{"iteration": 5, "lo')
    assert len(read_history(path)) == 3
    run(tmp_path, epochs=2, start_epoch=1)
    assert [line["iteration"] for line in map(json.loads, path.read_text().splitlines())] == [2, 4, 4, 6, 8, 8]
    assert not list(tmp_path.glob("*.tmp"))


def test_run_that_starts_anew_starts_its_history_anew(tmp_path):
    run(tmp_path, epochs=2)
    run(tmp_path, epochs=1)
    assert [line["iteration"] for line in read_history(tmp_path / "history.jsonl")] == [2, 4, 4]


def test_missing_history_reads_as_empty(tmp_path):
    assert read_history(tmp_path / "none.jsonl") == []
