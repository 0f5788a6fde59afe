"""What comes after the network: linking, and the evaluation of many sub-volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from speed_sections.plain_p3d import numpy_p3d, plain_p3d
from speed_sections.timing import interleaved, ratio, summary

from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.metrics.p3d import evaluate_p3d
from lesion_app.tracking.kalman_linker import KalmanLinker

Truth = dict[str, list[tuple[int, Box2D]]]


def measure_linking(slices: int = 400, boxes: int = 50, repetitions: int = 5) -> dict[str, Any]:
    """Seconds a slice of the Kalman linker at the most boxes a slice can have."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 470, (boxes, 2))
    side = rng.uniform(8, 40, (boxes, 2))
    volume = []
    for _ in range(slices):
        corner = corner + rng.normal(0, 1.5, corner.shape)
        moved = rng.random(boxes) < 0.2  # a lesion ends, another begins
        corner[moved] = rng.uniform(0, 470, (int(moved.sum()), 2))
        found = torch.from_numpy(np.concatenate((corner, corner + side), axis=1)).float()
        scores = torch.from_numpy(rng.random(boxes)).float()
        volume.append({"boxes": found, "scores": scores, "labels": torch.ones(boxes, dtype=torch.int64)})
    linker = KalmanLinker(iou_threshold=0.3, max_gap=1, fill_gaps=True)
    seconds = interleaved({"link": lambda: linker(volume)}, repetitions)["link"]
    return {"slices": slices, "boxes_per_slice": boxes, "seconds_per_slice": summary(seconds, slices)}


def measure_evaluation(volumes: int = 1071, tracklets: int = 112_000, repetitions: int = 3) -> dict[str, Any]:
    """The vectorised P3D evaluation against the published rules, tracklet by tracklet, on the same tracklets."""
    truth, lesions = made_up(volumes, tracklets)
    fast = evaluate_p3d(truth, lesions)
    marks = {name: np.array([(z, *box) for z, box in found]).reshape(-1, 5) for name, found in truth.items()}
    arrays = {
        name: [np.column_stack((t.slices, np.array(t.boxes), t.scores)) for t in found]
        for name, found in lesions.items()
    }
    plain, by_rows = plain_p3d(truth, lesions), numpy_p3d(marks, arrays)
    jobs = {
        "vectorised": lambda: evaluate_p3d(truth, lesions),
        "numpy": lambda: numpy_p3d(marks, arrays),
        "plain": lambda: plain_p3d(truth, lesions),
    }
    seconds = interleaved(jobs, repetitions, warm_up=0)
    return {
        "sub_volumes": volumes,
        "tracklets": tracklets,
        "marks": sum(len(m) for m in truth.values()),
        "average_precision": {
            "vectorised": fast.average_precision,
            "numpy": by_rows["average_precision"],
            "plain": plain["average_precision"],
        },
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "times_faster": {name: ratio(seconds[name], seconds["vectorised"]) for name in ("numpy", "plain")},
    }


def made_up(volumes: int, tracklets: int, seed: int = 0) -> tuple[Truth, dict[str, list[Tracklet]]]:
    """Sub-volumes of some 40 slices with 3.4 marks each on average, a quarter of them found, and many false lesions."""
    rng = np.random.default_rng(seed)
    truth: Truth = {}
    lesions: dict[str, list[Tracklet]] = {}
    each = np.full(volumes, tracklets // volumes)
    each[: tracklets % volumes] += 1
    for number in range(volumes):
        name = f"{number:06d}"
        depth = int(rng.integers(12, 70))
        count = min(1 + rng.poisson(2.4), 44)
        corner, side = rng.uniform(0, 450, (count, 2)), rng.uniform(5, 60, (count, 2))
        z = rng.integers(0, depth, count)
        marks = np.concatenate((corner, corner + side), axis=1)
        truth[name] = [(int(z[i]), tuple(float(v) for v in marks[i])) for i in range(count)]  # type: ignore[misc]
        lesions[name] = []
        for i in range(int(each[number])):
            on = i % 40 < 1 and i // 40 < count
            box = marks[i // 40] + rng.normal(0, 2, 4) if on else np.zeros(4)
            if not on:
                start = rng.uniform(0, 470, 2)
                box = np.concatenate((start, start + rng.uniform(6, 40, 2)))
            first = int(max(z[i // 40] - 1, 0)) if on else int(rng.integers(0, depth))
            length = min(int(rng.integers(1, 6)), depth - first)
            box = np.concatenate((box[:2], np.maximum(box[2:], box[:2] + 1)))
            lesions[name].append(
                Tracklet.from_arrays(
                    range(first, first + length), np.tile(box, (length, 1)), rng.random(length).tolist()
                )
            )
    return truth, lesions
