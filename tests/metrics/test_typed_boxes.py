"""Which detection meets which lesion, against a plain loop."""

from __future__ import annotations

import pytest
import torch

from lesion_app.metrics.typed_boxes import match, typed_boxes


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("same_label", [True, False])
def test_equals_the_plain_loop(typed_case, seed, same_label):
    truth, found = typed_case.random_case(seed)
    boxes = typed_boxes(truth, found)
    for threshold in (0.0, 0.21, 0.5):
        hits, _ = match(boxes, threshold, same_label)
        names = list(truth)
        first_found, first_true = {}, {}
        for row, image in reversed(list(enumerate(boxes.found_image))):
            first_found[image] = row
        for row, image in reversed(list(enumerate(boxes.true_image))):
            first_true[image] = row
        pairs = [
            (names[boxes.found_image[d]], d - first_found[boxes.found_image[d]], g - first_true[boxes.true_image[g]])
            for d, g in enumerate(hits)
            if g >= 0
        ]
        assert sorted(pairs) == typed_case.slow_match(truth, found, threshold, same_label)


def test_a_hit_overlaps_by_more_than_the_threshold():
    truth = {"a": {"boxes": [[0, 0, 10, 10]], "labels": [1]}}
    found = {"a": {"boxes": [[0, 0, 5, 10]], "labels": [1], "scores": [0.5]}}
    boxes = typed_boxes(truth, found)
    assert match(boxes, 0.5, True)[0].tolist() == [-1]
    assert match(boxes, 0.49, True)[0].tolist() == [0]
    assert match(boxes, 0.49, True)[1].tolist() == [0.5]


def test_scores_are_compared_as_a_network_writes_them():
    found = {"a": {"boxes": torch.zeros(2, 4), "labels": [1, 1], "scores": torch.tensor([0.7, 0.69])}}
    boxes = typed_boxes({"a": {"boxes": (), "labels": ()}}, found)
    assert len(boxes.scored_at_least(0.7).score) == 1


def test_nothing_anywhere_is_fine():
    boxes = typed_boxes({"a": {"boxes": (), "labels": ()}}, {})
    assert match(boxes, 0.2, True)[0].shape == (0,)
    assert typed_boxes({}, {}).n_images == 0


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ({}, {"a": {"boxes": (), "labels": (), "scores": ()}}, "a"),
        ({"a": {"boxes": [[0, 0, 1, 1]], "labels": [0]}}, {}, "labels count from 1"),
        ({"a": {"boxes": [[0, 0, 1, 1]], "labels": []}}, {}, "N labels"),
        ({"a": {"boxes": [], "labels": []}}, {"a": {"boxes": [[0, 0, 1, 1]], "labels": [1], "scores": []}}, "score"),
        (
            {"a": {"boxes": [], "labels": []}},
            {"a": {"boxes": [[0, 0, 1, 1]], "labels": [1], "scores": [float("nan")]}},
            "score",
        ),
    ],
)
def test_nonsense_is_refused(truth, found, message):
    with pytest.raises(ValueError, match=message):
        typed_boxes(truth, found)
