import itertools
import time

import numpy as np
import pytest
import torch

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.kalman import ConstantVelocityKalman
from lesion_app.tracking.kalman_linker import KalmanLinker


def on(*boxes_and_scores, labels=None):
    """Detections of one slice from ``(x1, y1, x2, y2, score)``."""
    table = np.array(boxes_and_scores, dtype=float).reshape(-1, 5)
    found = {"boxes": torch.from_numpy(table[:, :4]), "scores": torch.from_numpy(table[:, 4])}
    return found if labels is None else {**found, "labels": torch.tensor(labels)}


def random_volume(seed, n_slices=12, n_lesions=4, size=60.0):
    rng = np.random.default_rng(seed)
    centre, half = rng.uniform(10, size, (n_lesions, 2)), rng.uniform(4, 10, (n_lesions, 2))
    volume = []
    for _ in range(n_slices):
        centre = centre + rng.normal(0, 2.5, centre.shape)
        seen = rng.random(n_lesions) < 0.75
        boxes = np.concatenate([centre - half, centre + half], axis=1)[seen]
        volume.append({"boxes": boxes, "scores": rng.random(len(boxes)), "labels": rng.integers(1, 3, len(boxes))})
    return volume


def iou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def best_matching(weight):
    """Pairs of the matching with the largest sum, by trying all; pairs of weight 0 are not matched."""
    rows, columns = weight.shape
    best, best_sum = [], 0.0
    slots = list(range(columns)) + [None] * rows
    for choice in set(itertools.permutations(slots, rows)):
        pairs = [(r, c) for r, c in enumerate(choice) if c is not None and weight[r, c] > 0]
        total = sum(weight[r, c] for r, c in pairs)
        if total > best_sum + 1e-12:
            best, best_sum = pairs, total
    return best


def reference_chains(volume, threshold, max_gap):
    """Track after track, label after label, with exhaustive matching; returns sets of (slice, box)."""
    kalman = ConstantVelocityKalman()
    finished = []
    for label in (1, 2):
        live = []
        for z, found in enumerate(volume):
            boxes = [b for b, kind in zip(found["boxes"], found["labels"]) if kind == label]
            weight = np.zeros((len(live), len(boxes)))
            for t, track in enumerate(live):
                track["state"] = kalman.predict(*track["state"])
                predicted = kalman.boxes(track["state"][0])[0]
                for d, box in enumerate(boxes):
                    overlap = iou(predicted, box)
                    weight[t, d] = overlap if overlap >= threshold else 0.0
            matched = dict(best_matching(weight))
            for t, track in enumerate(live):
                track["missed"] += 1
                if t in matched:
                    box = boxes[matched[t]]
                    track["state"] = kalman.update(*track["state"], box[None])
                    track["missed"] = 0
                    track["chain"].append((z, tuple(box)))
            finished += [t for t in live if t["missed"] > max_gap]
            live = [t for t in live if t["missed"] <= max_gap]
            for d in set(range(len(boxes))) - set(matched.values()):
                live.append({"state": kalman.start(boxes[d][None]), "missed": 0, "chain": [(z, tuple(boxes[d]))]})
        finished += live
    return {tuple(t["chain"]) for t in finished}


@pytest.mark.parametrize("max_gap", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_equals_exhaustive_tracking_one_by_one(seed, max_gap):
    volume = random_volume(seed)
    lesions = KalmanLinker(iou_threshold=0.2, max_gap=max_gap, fill_gaps=False)(volume)
    assert {tuple(zip(t.slices, t.boxes)) for t in lesions} == reference_chains(volume, 0.2, max_gap)


def test_worked_example_two_lesions_and_a_lone_box():
    volume = [
        on((10, 10, 30, 30, 0.5), (100, 100, 120, 120, 0.3)),
        on((101, 101, 121, 121, 0.8), (11, 11, 31, 31, 0.4)),
        on((12, 12, 32, 32, 0.45), (300, 300, 310, 310, 0.9)),
    ]
    lesions = KalmanLinker()(volume)
    assert lesions == [
        Tracklet((2,), ((300, 300, 310, 310),), (0.9,)),
        Tracklet((0, 1), ((100, 100, 120, 120), (101, 101, 121, 121)), (0.3, 0.8)),
        Tracklet((0, 1, 2), ((10, 10, 30, 30), (11, 11, 31, 31), (12, 12, 32, 32)), (0.5, 0.4, 0.45)),
    ]


def test_a_drifting_lesion_is_followed_where_plain_overlap_would_lose_it():
    volume = [on((x, 50, x + 20, 70, 0.9)) for x in (10, 16, 23, 31, 40, 50, 61, 73)]
    assert iou((61, 50, 81, 70), (73, 50, 93, 70)) < 0.3
    assert [len(t.slices) for t in KalmanLinker(iou_threshold=0.3)(volume)] == [8]


def test_a_gap_is_bridged_and_filled_with_the_lower_score():
    volume = [on((10, 10, 30, 30, 0.9)), on(), on((14, 10, 34, 30, 0.6))]
    (lesion,) = KalmanLinker(max_gap=1)(volume)
    assert lesion == Tracklet((0, 1, 2), ((10, 10, 30, 30), (12, 10, 32, 30), (14, 10, 34, 30)), (0.9, 0.6, 0.6))
    (lesion,) = KalmanLinker(max_gap=1, fill_gaps=False)(volume)
    assert lesion.slices == (0, 2)
    assert len(KalmanLinker(max_gap=0)(volume)) == 2


def test_a_gap_longer_than_allowed_ends_the_lesion():
    box = (10, 10, 30, 30, 0.9)
    for missing, expected in ((1, 1), (2, 1), (3, 2)):
        lesions = KalmanLinker(max_gap=2)([on(box), *[on()] * missing, on(box)])
        assert len(lesions) == expected
        assert sum(len(t.slices) for t in lesions) == (missing + 2 if expected == 1 else 2)


def test_labels_are_never_mixed():
    volume = [on((10, 10, 30, 30, 0.9), labels=[1]), on((10, 10, 30, 30, 0.8), labels=[2])] * 2
    lesions = KalmanLinker(max_gap=1)(volume)
    assert [(t.label, t.slices) for t in lesions] == [(1, (0, 1, 2)), (2, (1, 2, 3))]


def test_a_rejected_pair_takes_no_box_from_one_that_stands():
    # IoU of A-X 0.75, A-Y and B-X 0.65: the sum over all pairs is largest with the two weak ones, which then fail
    a, b, x, y = ((0, shift, 10, shift + 10) for shift in (0, 3.5, 1.4, -2.1))
    lesions = KalmanLinker(iou_threshold=0.7)([on((*a, 0.9), (*b, 0.8)), on((*x, 0.7), (*y, 0.6))])
    assert [t.boxes for t in lesions] == [(a, x), (b,), (y,)]


def test_min_hits_and_min_score():
    volume = [on((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.2)), on((0, 0, 10, 10, 0.1))]
    assert len(KalmanLinker()(volume)) == 2
    assert [t.slices for t in KalmanLinker(min_hits=2)(volume)] == [(0, 1)]
    assert [t.slices for t in KalmanLinker(min_score=0.2)(volume)] == [(0,), (0,)]


def test_filled_slices_do_not_count_as_hits():
    volume = [on((0, 0, 10, 10, 0.9)), on(), on((0, 0, 10, 10, 0.9))]
    assert KalmanLinker(min_hits=3, max_gap=1)(volume) == []


@pytest.mark.parametrize("seed", range(4))
def test_order_of_boxes_within_a_slice_does_not_matter(seed):
    volume = random_volume(seed, n_lesions=12)
    for found in volume:
        found["scores"] = np.round(found["scores"], 1)  # ties
    rng = np.random.default_rng(seed)
    shuffled = []
    for found in volume:
        order = rng.permutation(len(found["scores"]))
        shuffled.append({key: torch.from_numpy(values[order]) for key, values in found.items()})
    assert KalmanLinker()(volume) == KalmanLinker()(shuffled)


def test_nothing_in_nothing_out():
    assert KalmanLinker()([]) == []
    assert KalmanLinker()([on(), on()]) == []
    assert KalmanLinker()([{"boxes": [], "scores": []}]) == []


def test_scores_fall():
    scores = [t.score for t in KalmanLinker()(random_volume(1, n_lesions=15))]
    assert len(scores) > 10
    assert scores == sorted(scores, reverse=True)


def test_a_long_crowded_scan_is_linked_in_seconds():
    volume = random_volume(0, n_slices=300, n_lesions=65, size=480)
    start = time.perf_counter()
    lesions = KalmanLinker()(volume)
    assert time.perf_counter() - start < 5  # 0.2 s on an idle core
    assert len(lesions) > 100


def test_bad_detections_and_arguments_are_refused():
    with pytest.raises(ValueError, match="slice 1: expected boxes"):
        KalmanLinker()([on(), {"boxes": torch.zeros(2, 4), "scores": torch.zeros(3)}])
    with pytest.raises(ValueError, match="finite"):
        KalmanLinker()([on((0, 0, 10, float("nan"), 0.5))])
    with pytest.raises(ValueError, match="iou_threshold"):
        KalmanLinker(iou_threshold=0)
    with pytest.raises(ValueError, match="max_gap"):
        KalmanLinker(max_gap=-1)
