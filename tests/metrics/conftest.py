"""Random typed boxes, and the matching rule as a plain loop."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union


def random_case(seed, images=6, classes=3):
    """Images with lesions and detections that overlap them now and then; equal scores occur."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner, side = rng.uniform(0, 30, (count, 2)), rng.uniform(4, 20, (count, 2))
        return np.concatenate([corner, corner + side], axis=1)

    truth, found = {}, {}
    for k in range(images):
        count, more = rng.integers(0, 4), rng.integers(0, 6)
        true = boxes(count)
        near = true[rng.integers(0, count, more)] + rng.normal(0, 2, (more, 4)) if count else boxes(more)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        truth[f"i{k}"] = {"boxes": true, "labels": rng.integers(1, classes + 1, count)}
        if k:
            scores = rng.integers(0, 11, more) / 10
            found[f"i{k}"] = {"boxes": near, "labels": rng.integers(1, classes + 1, more), "scores": scores}
    return truth, found


def slow_match(truth, found, threshold, same_label):
    """The rule of `match`, box by box: [(image, detection, lesion)]."""
    pairs = []
    for name, lesions in truth.items():
        here = found.get(name, {"boxes": [], "labels": [], "scores": []})
        taken = set()
        for d in sorted(range(len(here["scores"])), key=lambda d: -here["scores"][d]):
            best, at = 0.0, None
            for g in range(len(lesions["boxes"])):
                if same_label and lesions["labels"][g] != here["labels"][d]:
                    continue
                overlap = iou(here["boxes"][d], lesions["boxes"][g])
                if overlap > best:
                    best, at = overlap, g
            if at is not None and best > threshold and at not in taken:
                taken.add(at)
                pairs.append((name, d, at))
    return sorted(pairs)


@pytest.fixture(scope="session")
def typed_case() -> SimpleNamespace:
    """``iou(a, b)``, ``random_case(seed, images, classes)`` and ``slow_match(truth, found, threshold, same_label)``."""
    return SimpleNamespace(iou=iou, random_case=random_case, slow_match=slow_match)
