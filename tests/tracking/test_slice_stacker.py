import numpy as np
import pytest
import torch

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.tracking.slice_stacker import SliceStacker


def on(*boxes_and_scores, labels=None):
    """Detections of one slice from ``(x1, y1, x2, y2, score)``."""
    table = torch.tensor(boxes_and_scores, dtype=torch.float64).reshape(-1, 5)
    found = {"boxes": table[:, :4], "scores": table[:, 4]}
    return found if labels is None else {**found, "labels": torch.tensor(labels)}


def random_volume(seed, n_slices=10, n=12):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 12, (n_slices, n, 2)).astype(float)
    boxes = np.concatenate([low, low + rng.integers(6, 12, (n_slices, n, 2))], axis=2)  # integers: equal IoUs occur
    return [{"boxes": b, "scores": rng.integers(0, 5, n) / 4, "labels": rng.integers(1, 3, n)} for b in boxes]


def iou(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def reference_chains(volume, threshold):
    """Repeatedly join the best free pair of two slices; first come first served among equals."""
    slices = [
        sorted(zip(v["scores"], v["labels"], map(tuple, v["boxes"])), key=lambda d: (-d[0], d[1], d[2])) for v in volume
    ]
    chains, previous = [], {}
    for z, found in enumerate(slices):
        current = {}
        before = slices[z - 1] if z else []
        while True:
            pairs = [
                (-iou(before[i][2], found[j][2]), i, j)
                for i in previous
                for j in range(len(found))
                if j not in current and before[i][1] == found[j][1] and iou(before[i][2], found[j][2]) > threshold
            ]
            if not pairs:
                break
            _, i, j = min(pairs)
            current[j] = previous.pop(i)
            current[j].append((z, found[j]))
        for j in range(len(found)):
            if j not in current:
                current[j] = [(z, found[j])]
                chains.append(current[j])
        previous = current
    return sorted(tuple((z, tuple(map(float, d[2])), float(d[0])) for z, d in chain) for chain in chains)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_equals_joining_pair_by_pair(seed, threshold):
    volume = random_volume(seed)
    lesions = SliceStacker(threshold)(volume)
    assert sorted(tuple(zip(t.slices, t.boxes, t.scores)) for t in lesions) == reference_chains(volume, threshold)


def test_worked_example():
    volume = [
        on((0, 0, 10, 10, 0.3)),
        on((1, 0, 11, 10, 0.9), (0, 2, 10, 12, 0.5)),  # IoU 9/11 and 8/12 with the box above: the first one wins
        on((0, 2, 10, 12, 0.4)),
    ]
    lesions = SliceStacker()(volume)
    assert [(t.slices, t.scores) for t in lesions] == [((0, 1), (0.3, 0.9)), ((1, 2), (0.5, 0.4))]
    assert lesions[0].score_weighted_box == pytest.approx((0.75, 0, 0, 10.75, 10, 2))


def test_the_threshold_itself_is_not_enough():
    half = [on((0, 0, 10, 20, 0.9)), on((0, 0, 10, 10, 0.9))]
    assert len(SliceStacker(0.5)(half)) == 2
    assert len(SliceStacker(0.499)(half)) == 1


def test_a_missing_slice_splits_a_lesion():
    box = (0, 0, 10, 10, 0.9)
    assert [t.slices for t in SliceStacker()([on(box), on(), on(box)])] == [(0,), (2,)]


def test_labels_are_never_mixed():
    volume = [on((0, 0, 10, 10, 0.9), labels=[1]), on((0, 0, 10, 10, 0.9), labels=[2])]
    assert [(t.label, t.slices) for t in SliceStacker()(volume)] == [(1, (0,)), (2, (1,))]


def test_one_slice_lesions_are_kept_unless_unwanted():
    volume = [on(), on((5, 5, 9, 9, 0.1)), on()]
    assert SliceStacker()(volume) == [Tracklet((1,), ((5, 5, 9, 9),), (0.1,))]
    assert SliceStacker(min_hits=2)(volume) == []
    assert SliceStacker(min_score=0.2)(volume) == []


def test_order_of_boxes_within_a_slice_does_not_matter():
    volume = random_volume(3)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(v["scores"])) for v in volume]
    shuffled = [{key: values[order] for key, values in v.items()} for v, order in zip(volume, orders)]
    assert SliceStacker()(volume) == SliceStacker()(shuffled)


def test_nothing_in_nothing_out():
    assert SliceStacker()([]) == SliceStacker()([on()]) == []


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="iou_threshold"):
        SliceStacker(1.0)
    with pytest.raises(ValueError, match="min_hits"):
        SliceStacker(min_hits=0)
