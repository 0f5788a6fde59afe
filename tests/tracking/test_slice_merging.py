"""2D boxes of a volume merged around the best ones."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.tracking.slice_merging import SliceMerger


def slice_of(*boxes: tuple[float, ...], labels: list[int] | None = None) -> dict:
    """Each (x1, y1, x2, y2, score)."""
    found = {"boxes": np.array([b[:4] for b in boxes], float), "scores": np.array([b[4] for b in boxes], float)}
    return found if labels is None else {**found, "labels": labels}


def slow_merge(volume, threshold):
    """The rule box by box; (x1, y1, z1, x2, y2, z2, score) each."""

    def iou(a, b):
        w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        area = lambda c: (c[2] - c[0]) * (c[3] - c[1])  # noqa: E731
        return w * h / (area(a) + area(b) - w * h)

    left = [
        (s, z, label, tuple(b))
        for z, d in enumerate(volume)
        for b, s, label in zip(d["boxes"].tolist(), d["scores"], d["labels"])
    ]
    left.sort(key=lambda row: (-row[0], row[1]))
    found = []
    while left:
        score, core, label, box = left[0]
        joins = [row for row in left if row[2] == label and (row is left[0] or iou(box, row[3]) > threshold)]
        occupied = {row[1] for row in joins}
        first = last = core
        while first - 1 in occupied:
            first -= 1
        while last + 1 in occupied:
            last += 1
        found.append((*box[:2], first, *box[2:], last + 1, score))
        taken = [row for row in joins if first <= row[1] <= last]
        left = [row for row in left if row not in taken]
    return found


def test_best_box_takes_its_neighbours_up_to_the_first_gap():
    volume = [
        slice_of((0, 0, 10, 10, 0.3)),
        slice_of(),
        slice_of((1, 0, 10, 10, 0.4)),
        slice_of((0, 0, 10, 11, 0.9), (1, 1, 10, 10, 0.2)),
        slice_of((0, 0, 9, 9, 0.5)),
    ]
    lesions = SliceMerger()(volume)
    assert [lesion.extent for lesion in lesions] == [(0, 0, 2, 10, 11, 5), (0, 0, 0, 10, 10, 1)]
    assert lesions[0].scores == (0.4, 0.9, 0.5)
    assert (lesions[0].score, lesions[0].key_slice) == (0.9, 3)
    assert set(lesions[0].boxes) == {(0, 0, 10, 11)}


def test_overlap_is_with_the_best_box_not_along_the_chain():
    volume = [slice_of((0, 0, 10, 10, 0.9)), slice_of((6, 0, 16, 10, 0.8)), slice_of((12, 0, 22, 10, 0.7))]
    assert [lesion.slices for lesion in SliceMerger()(volume)] == [(0, 1), (2,)]


def test_classes_do_not_merge_and_thresholds_are_strict():
    volume = [slice_of((0, 0, 10, 10, 0.9), labels=[1]), slice_of((0, 0, 10, 10, 0.8), labels=[2])]
    assert [(lesion.label, lesion.slices) for lesion in SliceMerger()(volume)] == [(1, (0,)), (2, (1,))]
    half = [slice_of((0, 0, 10, 10, 0.9)), slice_of((0, 0, 10, 5, 0.8))]
    assert len(SliceMerger(iou_threshold=0.5)(half)) == 2
    assert len(SliceMerger(iou_threshold=0.49)(half)) == 1


def test_equals_the_slow_reference():
    generator = np.random.default_rng(4)
    for _ in range(8):
        volume = []
        for _ in range(7):
            n = int(generator.integers(0, 5))
            low = generator.uniform(0, 20, (n, 2))
            boxes = np.concatenate([low, low + generator.uniform(3, 12, (n, 2))], axis=1)
            volume.append({"boxes": boxes, "scores": generator.uniform(0, 1, n), "labels": [1] * n})
        found = [(*lesion.extent, lesion.score) for lesion in SliceMerger()(volume)]
        assert found == slow_merge(volume, 0.1)


def test_margin_adds_slices_as_far_as_the_volume_goes():
    volume = [slice_of((0, 0, 4, 4, 0.5)), slice_of((0, 0, 4, 4, 0.9)), slice_of(), slice_of()]
    (lesion,) = SliceMerger(margin_slices=1)(volume)
    assert lesion.slices == (0, 1, 2)
    assert lesion.scores == (0.5, 0.9, 0.9)


def test_short_lesions_low_scores_and_empty_volumes():
    volume = [slice_of((0, 0, 4, 4, 0.5)), slice_of((0, 0, 4, 4, 0.05)), slice_of((20, 20, 21, 21, 0.9))]
    assert len(SliceMerger()(volume)) == 2
    assert [lesion.slices for lesion in SliceMerger(min_hits=2)(volume)] == [(0, 1)]
    assert [lesion.slices for lesion in SliceMerger(min_score=0.1)(volume)] == [(2,), (0,)]
    assert SliceMerger()([]) == []
    assert SliceMerger()([slice_of(), slice_of()]) == []


@pytest.mark.parametrize("settings", [{"iou_threshold": 1.0}, {"min_hits": 0}, {"margin_slices": -1}])
def test_arguments_out_of_range_are_told(settings):
    with pytest.raises(ValueError, match="must"):
        SliceMerger(**settings)
