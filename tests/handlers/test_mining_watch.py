from __future__ import annotations

import logging

import pytest
import torch
from ignite.engine import Engine

from lesion_app.handlers.mining_watch import MiningWatch, highest


@pytest.fixture
def watch(caplog):
    """``watch(figures of every iteration, ...)``: what was warned of."""

    def run(*figures, scores=None, **options):
        def step(engine, one):
            engine.state.mining = one
            engine.state.teacher_scores = scores

        engine = Engine(step)
        MiningWatch(**{"every": len(figures), **options}).attach(engine)
        with caplog.at_level(logging.WARNING, "lesion_app.mining"):
            engine.run(list(figures), max_epochs=1)
        return [record.getMessage() for record in caplog.records]

    return run


def figures(mined, labelled, right=None):
    found = {"mined_boxes": mined, "ground_truth_boxes": labelled}
    return found if right is None else {**found, "mined_right": right}


def test_nothing_mined_is_told_with_the_scores_the_teacher_gave(watch):
    histogram = torch.zeros(10, dtype=torch.int64)
    histogram[[0, 6]] = 1
    (line,) = watch(figures(0, 4), figures(0, 4), scores=histogram)
    assert line.startswith("iteration 2: the teacher has mined nothing in 2 iterations")
    assert "0.6 to 0.7" in line


def test_a_flood_of_mined_boxes_is_told(watch):
    (line,) = watch(figures(10, 4), figures(12, 6))
    assert "2.2 boxes were mined for each labelled one" in line


def test_wrong_boxes_are_told_where_the_truth_is_known(watch):
    (line,) = watch(figures(4, 8, right=1), figures(4, 8, right=2))
    assert "38 % of the mined boxes are lesions" in line


def test_good_mining_is_silent(watch):
    assert watch(figures(2, 4, right=2), figures(1, 4, right=1)) == []


def test_iterations_before_mining_begins_do_not_count(watch):
    assert watch({}, {}, {}, figures(1, 4), every=1) == []
    assert watch({}, {}, figures(0, 4), every=2) == []


def test_each_stretch_is_judged_alone(watch):
    lines = watch(figures(0, 4), figures(3, 4), figures(0, 4), every=1)
    assert [line.split(":")[0] for line in lines] == ["iteration 1", "iteration 3"]


def test_teacher_without_any_box():
    assert highest(None) == highest(torch.zeros(10)) == "it found no box at all"
