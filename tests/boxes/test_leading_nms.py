"""NMS that stops early keeps what NMS of all boxes keeps first."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import nms

from lesion_app.boxes.leading_nms import leading_nms


def crowd(boxes: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(boxes)
    corner = torch.rand((boxes, 2), generator=generator) * spread
    sides = 5 + 10 * torch.rand((boxes, 2), generator=generator)
    scores = torch.rand(boxes, generator=generator).sort(descending=True).values
    return torch.cat((corner, corner + sides), dim=1), scores


@pytest.mark.parametrize("spread", [1.0, 30.0, 500.0])  # nearly all suppressed, some, hardly any
@pytest.mark.parametrize("count", [1, 7, 60, 1000])
def test_boxes_are_the_first_that_nms_keeps(spread: float, count: int) -> None:
    boxes, scores = crowd(400, spread)
    assert torch.equal(leading_nms(boxes, scores, 0.5, count), nms(boxes, scores, 0.5)[:count])


def test_no_boxes_keep_none() -> None:
    assert leading_nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 3).tolist() == []
