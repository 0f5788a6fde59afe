"""What docs/tracking.md says about the defaults, measured on drifting spheres among false boxes.

``python tests/tracking/test_linkers_on_spheres.py`` prints the table of that page.
"""

import numpy as np
import pytest

from lesion_app.tracking.kalman_linker import KalmanLinker
from lesion_app.tracking.slice_stacker import SliceStacker

PIXEL_MM, PADDING_PX = 0.8, 5.0


def sphere(rng, interval_mm):
    """Detections around one lesion of 6 to 40 mm, and its true box on each slice it is on.

    Boxes are the sphere's sections with DeepLesion's padding; 10 % of them are missed and the corners of the others
    are off by 1 px (standard deviation). Ten false boxes a slice, of lower score, lie within 60 px.
    """
    radius_mm, start, drift = rng.uniform(3, 20), rng.uniform(100, 400, 2), rng.normal(0, 0.19 * interval_mm, 2)
    middle_mm = radius_mm + (2 + rng.random()) * interval_mm
    detections, truth = [], {}
    for z in range(int(2 * radius_mm / interval_mm) + 6):
        boxes, scores = [], []
        height_mm, centre = z * interval_mm - middle_mm, start + drift * z
        if abs(height_mm) < radius_mm:
            half = np.sqrt(radius_mm**2 - height_mm**2) / PIXEL_MM + PADDING_PX
            truth[z] = np.r_[centre - half, centre + half]
            if rng.random() > 0.1:
                boxes.append(truth[z] + rng.normal(0, 1, 4))
                scores.append(rng.uniform(0.5, 1))
        for _ in range(rng.poisson(10)):
            low = rng.uniform(start - 60, start + 60)
            boxes.append(np.r_[low, low + rng.uniform(12, 40, 2)])
            scores.append(rng.uniform(0.05, 0.4))
        detections.append({"boxes": np.reshape(boxes, (-1, 4)), "scores": np.array(scores)})
    return detections, truth


def iou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def follow(linker, interval_mm, n=40):
    """Share of the lesions' slices that the best tracklet hits, and share of its slices that hit the lesion."""
    rng = np.random.default_rng(0)
    hits = slices = linked = 0
    for _ in range(n):
        detections, truth = sphere(rng, interval_mm)
        best = linker(detections)[0]
        hits += sum(z in truth and iou(box, truth[z]) >= 0.5 for z, box in zip(best.slices, best.boxes))
        slices, linked = slices + len(truth), linked + len(best.slices)
    return hits / slices, hits / linked


@pytest.mark.parametrize("interval_mm", [1, 2, 5])
def test_bridging_one_slice_finds_more_of_a_lesion_than_none_or_stacking(interval_mm):
    bridged, strict = (follow(KalmanLinker(max_gap=gap), interval_mm)[0] for gap in (1, 0))
    assert bridged > strict + 0.03
    assert bridged > follow(SliceStacker(), interval_mm)[0] + 0.03


@pytest.mark.parametrize("interval_mm", [2, 5])
def test_a_second_bridged_slice_brings_more_false_boxes_than_lesion(interval_mm):
    (covered, pure), (covered_2, pure_2) = (follow(KalmanLinker(max_gap=gap), interval_mm) for gap in (1, 2))
    assert covered_2 - covered < pure - pure_2


@pytest.mark.parametrize("interval_mm", [2, 5])
def test_a_strict_iou_cuts_lesions_to_pieces(interval_mm):
    loose, strict = (follow(KalmanLinker(iou_threshold=threshold), interval_mm)[0] for threshold in (0.3, 0.7))
    assert loose > strict + 0.15


if __name__ == "__main__":
    linkers = {
        f"Kalman, IoU {threshold}, gap {gap}": KalmanLinker(iou_threshold=threshold, max_gap=gap)
        for threshold in (0.3, 0.5, 0.7)
        for gap in (0, 1, 2)
    }
    for name, linker in {**linkers, "stacking, IoU > 0.5": SliceStacker()}.items():
        cells = (f"{covered:.0%} / {pure:.0%}" for covered, pure in (follow(linker, d, 400) for d in (1, 2, 5)))
        print(f"| {name} | {' | '.join(cells)} |")
