"""Which type is taken for which."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.metrics.confusion_matrix import confusion_matrix
from lesion_app.metrics.typed_boxes import typed_boxes

A, B, C, D = ([20 * k, 0, 20 * k + 10, 10] for k in range(4))


def test_worked_example():
    truth = {"a": {"boxes": [A, B, C], "labels": [1, 2, 2]}, "b": {"boxes": (), "labels": ()}}
    found = {
        # A right, B taken for 1, C below the score, D on nothing, A once more
        "a": {"boxes": [A, B, C, D, A], "labels": [1, 1, 2, 2, 2], "scores": [0.9, 0.8, 0.1, 0.7, 0.3]},
        "b": {"boxes": [A], "labels": [1], "scores": [0.25]},
    }
    matrix = confusion_matrix(typed_boxes(truth, found), 2)
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 1], [1, 2, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_loop(typed_case, seed):
    truth, found = typed_case.random_case(seed)
    shown = {}
    for name, f in found.items():
        keep = f["scores"] >= 0.3
        shown[name] = {key: f[key][keep] for key in f}
    expected = np.zeros((4, 4), dtype=int)
    pairs = typed_case.slow_match(truth, shown, 0.21, False)
    for name, d, g in pairs:
        expected[truth[name]["labels"][g] - 1, shown[name]["labels"][d] - 1] += 1
    for name, t in truth.items():
        for g, label in enumerate(t["labels"]):
            expected[label - 1, 3] += not any(p[0] == name and p[2] == g for p in pairs)
        for d, label in enumerate(shown.get(name, {"labels": ()})["labels"]):
            expected[3, label - 1] += not any(p[:2] == (name, d) for p in pairs)
    assert confusion_matrix(typed_boxes(truth, found), 3, 0.3).tolist() == expected.tolist()


def test_nothing_found_and_unknown_labels():
    boxes = typed_boxes({"a": {"boxes": [A], "labels": [2]}}, {})
    assert confusion_matrix(boxes, 2).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match="label 2"):
        confusion_matrix(boxes, 1)
