"""COCO's AP against its definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lesion_app.metrics.coco_ap import coco_ap
from lesion_app.metrics.typed_boxes import typed_boxes

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def slow_ap(typed_case, truth, found, label, threshold):
    """AP over 101 recalls: greedy by score, each detection takes the best lesion still free."""
    hits, lesions = [], 0
    for name, t in truth.items():
        here = [b for b, c in zip(t["boxes"], t["labels"]) if c == label]
        lesions += len(here)
        f = found.get(name, {"boxes": [], "labels": [], "scores": []})
        mine = [(s, b) for b, c, s in zip(f["boxes"], f["labels"], f["scores"]) if c == label]
        free = set(range(len(here)))
        for score, box in sorted(mine, key=lambda pair: -pair[0]):
            able = [(typed_case.iou(box, here[g]), g) for g in free]
            able = [pair for pair in able if pair[0] >= threshold]
            if able:
                free.remove(max(able)[1])
            hits.append((score, bool(able)))
    hits.sort(key=lambda pair: -pair[0])
    right = np.cumsum([h for _, h in hits]) if hits else np.zeros(0)
    precision, recall = right / np.arange(1, len(hits) + 1), right / lesions
    total = 0.0
    for level in np.linspace(0, 1, 101):
        reached = precision[recall >= level - 1e-12]
        total += reached.max() if len(reached) else 0.0
    return total / 101


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition(typed_case, seed):
    truth, found = typed_case.random_case(seed, images=8)
    for f in found.values():  # ties are broken by the order of the images, which the loop does not imitate
        f["scores"] = f["scores"] + np.random.default_rng(seed).uniform(0, 0.05, len(f["scores"]))
    result = coco_ap(typed_boxes(truth, found))
    types = sorted({int(c) for t in truth.values() for c in t["labels"]})
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        expected = np.mean([slow_ap(typed_case, truth, found, c, threshold) for c in types])
        assert result[name] == pytest.approx(expected, abs=1e-6)
    thresholds = np.linspace(0.5, 0.95, 10)
    assert result["mAP"] == pytest.approx(
        np.mean([slow_ap(typed_case, truth, found, c, x) for c in types for x in thresholds]), abs=1e-6
    )


def test_types_without_lesions_do_not_count():
    truth = {"a": {"boxes": [BOX], "labels": [3]}, "b": {"boxes": (), "labels": ()}}
    found = {
        "a": {"boxes": [BOX, FAR], "labels": [3, 1], "scores": [0.9, 0.95]},
        "b": {"boxes": [FAR], "labels": [8], "scores": [0.5]},
    }
    assert coco_ap(typed_boxes(truth, found)) == pytest.approx({"mAP": 1.0, "AP50": 1.0, "AP75": 1.0, "AR": 1.0})


def test_without_lesions_or_detections():
    nothing = coco_ap(typed_boxes({"a": {"boxes": (), "labels": ()}}, {}))
    assert all(math.isnan(v) for v in nothing.values())
    assert coco_ap(typed_boxes({"a": {"boxes": [BOX], "labels": [2]}}, {})) == {
        "mAP": 0.0, "AP50": 0.0, "AP75": 0.0, "AR": 0.0,
    }  # fmt: skip
