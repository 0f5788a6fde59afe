"""Confident boxes of other data sets' experts that no annotation explains."""

from __future__ import annotations

import pytest
import torch

from lesion_app.mining.cross_dataset import uncertain_boxes

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [40.0, 40.0, 50.0, 50.0]])


def test_confident_boxes_away_from_annotations_are_uncertain():
    known = torch.tensor([[29.0, 29.0, 35.0, 35.0]])
    assert uncertain_boxes(BOXES, torch.tensor([0.6, 0.9, 0.4]), known).tolist() == [True, False, False]


def test_score_must_exceed_sigma_and_touching_is_no_overlap():
    known = torch.tensor([[10.0, 0.0, 20.0, 10.0]])
    assert uncertain_boxes(BOXES[:2], torch.tensor([0.51, 0.5]), known).tolist() == [True, False]


def test_overlap_up_to_a_threshold_may_be_allowed():
    known = torch.tensor([[5.0, 0.0, 15.0, 10.0]])  # IoU 1 / 3
    score = torch.tensor([0.9])
    assert uncertain_boxes(BOXES[:1], score, known, overlap_iou=0.3).tolist() == [False]
    assert uncertain_boxes(BOXES[:1], score, known, overlap_iou=0.34).tolist() == [True]


def test_no_boxes_and_no_annotations():
    assert uncertain_boxes(torch.zeros(0, 4), torch.zeros(0), BOXES).tolist() == []
    assert uncertain_boxes(BOXES, torch.ones(3), torch.zeros(0, 4)).tolist() == [True] * 3
    with pytest.raises(ValueError, match="one score a box"):
        uncertain_boxes(BOXES, torch.ones(2), BOXES)


@pytest.mark.parametrize("seed", range(10))
def test_equals_a_pixel_count(seed):
    generator = torch.Generator().manual_seed(seed)

    def boxes(n):
        corner = torch.randint(0, 20, (n, 2), generator=generator)
        return torch.cat([corner, corner + torch.randint(1, 8, (n, 2), generator=generator)], dim=1)

    found, known = boxes(12), boxes(3)
    scores = torch.rand(12, generator=generator)
    taken = torch.zeros(40, 40, dtype=torch.bool)
    for x1, y1, x2, y2 in known.tolist():
        taken[y1:y2, x1:x2] = True
    wanted = [
        s > 0.3 and not bool(taken[y1:y2, x1:x2].any()) for (x1, y1, x2, y2), s in zip(found.tolist(), scores.tolist())
    ]
    assert uncertain_boxes(found.double(), scores, known.double(), 0.3).tolist() == wanted
