"""Folded parts of DenseNet do what the trained ones do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.densenet import _DenseBlock, _Transition
from torchvision.ops import FrozenBatchNorm2d

from lesion_app.networks.folded_dense_block import (
    FoldedDenseBlock,
    FoldedTransition,
    NormRelu,
    add_upsampled,
    fold,
    join,
)


def used(module: nn.Module) -> nn.Module:
    """``module`` in evaluation, its normalisation with statistics, some of its scales negative."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module.eval()


def maps(channels: int, size: int = 8, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randn(count, channels, size, size, generator=generator).to(memory_format=torch.channels_last)


@torch.no_grad()
def test_folded_block_equals_the_trained_one() -> None:
    block = used(_DenseBlock(3, 8, bn_size=2, growth_rate=4, drop_rate=0.0))
    x = maps(8)
    torch.testing.assert_close(FoldedDenseBlock(block, torch.float32)(x), block(x), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_folded_transition_equals_the_trained_one() -> None:
    transition = used(_Transition(8, 4))
    x = maps(8)
    torch.testing.assert_close(FoldedTransition(transition, torch.float32)(x), transition(x), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
def test_folded_convolution_equals_convolution_and_normalisation(bias: bool) -> None:
    conv, norm = nn.Conv2d(5, 6, 3, stride=2, padding=1, bias=bias), nn.BatchNorm2d(6)
    used(nn.Sequential(conv, norm))
    x = maps(5)
    torch.testing.assert_close(fold(conv, norm)(x), norm(conv(x)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_frozen_normalisation_is_understood() -> None:
    norm = FrozenBatchNorm2d(5)
    norm.running_mean.uniform_(-1, 1)
    norm.weight.uniform_(-1, 1)
    x = maps(5)
    torch.testing.assert_close(NormRelu(norm, torch.float32)(x), torch.relu(norm(x)), atol=1e-6, rtol=1e-5)


def test_input_of_a_norm_stays_as_it_is() -> None:
    x = maps(5)
    before = x.clone()
    NormRelu(used(nn.BatchNorm2d(5)), torch.float32)(x)
    assert torch.equal(x, before)


def test_coarse_cells_are_added_to_their_four_fine_ones() -> None:
    fine, coarse = maps(3, size=6), maps(3, size=3)
    expected = fine + F.interpolate(coarse, scale_factor=2, mode="nearest")
    found = add_upsampled(fine, coarse)
    assert found is fine
    torch.testing.assert_close(found, expected)


def test_joined_maps_are_those_of_cat() -> None:
    parts = [maps(3), maps(5)]
    joined = join(parts)
    assert torch.equal(joined, torch.cat(parts, dim=1))
    assert joined.is_contiguous(memory_format=torch.channels_last)
