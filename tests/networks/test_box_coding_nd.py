from __future__ import annotations

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from lesion_app.networks.box_coding_nd import decode_boxes, encode_boxes


def boxes(dim: int, count: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(count, dim, generator=rng) * 50
    return torch.cat([low, low + 1 + torch.rand(count, dim, generator=rng) * 30], dim=1)


@pytest.mark.parametrize("dim", [2, 3])
def test_decoding_takes_encoding_back(dim: int) -> None:
    wanted, anchors = boxes(dim, 20, 0), boxes(dim, 20, 1)
    found = decode_boxes(encode_boxes(wanted, anchors, (0.1, 0.2)), anchors, (0.1, 0.2))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_2d_is_torchvisions_coder() -> None:
    wanted, anchors = boxes(2, 10, 0), boxes(2, 10, 1)
    expected = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(wanted, anchors)
    torch.testing.assert_close(encode_boxes(wanted, anchors, (0.1, 0.2)), expected)


def test_worked_example_in_3d() -> None:
    anchor = torch.tensor([[0.0, 0.0, 0.0, 4.0, 8.0, 2.0]])
    box = torch.tensor([[2.0, 0.0, 0.0, 10.0, 8.0, 1.0]])
    log2 = math.log(2) / 0.2
    expected = torch.tensor([[1.0 / 0.1, 0.0, -0.25 / 0.1, log2, 0.0, -log2]])
    torch.testing.assert_close(encode_boxes(box, anchor, (0.1, 0.2)), expected)


def test_wild_offsets_give_finite_boxes() -> None:
    found = decode_boxes(torch.full((1, 6), 1e4), boxes(3, 1, 0), (0.1, 0.2))
    assert torch.isfinite(found).all()
