"""3D RoIAlign: a slow reading of its definition, and torchvision's on flat volumes."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import roi_align

from lesion_app.networks import roi_align_3d as module
from lesion_app.networks.roi_align_3d import roi_align_3d


def point(volume, z, y, x):
    """Trilinear value [C] at voxel-centre coordinates; 0 more than one voxel outside."""
    extents = volume.shape[1:]
    if any(not -1 <= v <= extent for v, extent in zip((z, y, x), extents)):
        return volume.new_zeros(len(volume))
    corners = []
    for v, extent in zip((z, y, x), extents):
        v = min(max(v, 0.0), extent - 1.0)
        low = math.floor(v)
        corners.append([(low, 1 - (v - low)), (min(low + 1, extent - 1), v - low)])
    return sum(volume[:, i, j, k] * (a * b * c) for i, a in corners[0] for j, b in corners[1] for k, c in corners[2])


def slow(features, boxes, size, scale, ratio, aligned):
    pooled = []
    for volume, of_volume in zip(features, boxes):
        for x1, y1, z1, x2, y2, z2 in of_volume.tolist():
            lows, sides = [], []
            for low, high, s in zip((z1, y1, x1), (z2, y2, x2), scale):
                lows.append(low * s - (0.5 if aligned else 0.0))
                sides.append((high - low) * s if aligned else max((high - low) * s, 1.0))
            counts = [ratio if ratio > 0 else max(1, math.ceil(side / n)) for side, n in zip(sides, size)]
            cells = torch.zeros(volume.shape[0], *size)
            for d in range(size[0]):
                for h in range(size[1]):
                    for w in range(size[2]):
                        values = [
                            point(
                                volume,
                                *(
                                    lows[a] + sides[a] / size[a] * (cell + (i + 0.5) / counts[a])
                                    for a, (cell, i) in enumerate(zip((d, h, w), sample))
                                ),
                            )
                            for sample in torch.cartesian_prod(*(torch.arange(n) for n in counts)).tolist()
                        ]
                        cells[:, d, h, w] = torch.stack(values).mean(dim=0)
            pooled.append(cells)
    return torch.stack(pooled)


def random_boxes(count, seed, reach=14.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand((count, 3), generator=generator) * reach - 3
    return torch.cat((corner, corner + torch.rand((count, 3), generator=generator) * reach), dim=1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("ratio", "scale"), [(2, (1.0, 0.5, 0.25)), (1, (0.5, 0.5, 0.5)), (-1, (1.0, 0.5, 0.5))])
def test_cells_equal_the_definition(aligned, ratio, scale):
    features = torch.randn((2, 3, 5, 6, 7), generator=torch.Generator().manual_seed(0))
    boxes = [random_boxes(3, 1), random_boxes(2, 2)]
    size = (2, 1, 3)
    expected = slow(features, boxes, size, scale, ratio, aligned)
    found = roi_align_3d(features, boxes, size, scale, ratio, aligned)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [1, 2, 3, -1])
def test_flat_volumes_are_pooled_as_torchvision_pools_images(aligned, ratio):
    images = torch.randn((2, 6, 11, 13), generator=torch.Generator().manual_seed(0))
    flat = random_boxes(40, 3, reach=50.0)
    flat[:, 2], flat[:, 5] = 0.0, 1.0
    parts = [flat[:15], flat[15:]]
    expected = roi_align(images, [b[:, [0, 1, 3, 4]] for b in parts], (3, 4), 0.25, ratio, aligned)
    found = roi_align_3d(images[:, :, None], parts, (1, 3, 4), (1.0, 0.25, 0.25), ratio, aligned)
    torch.testing.assert_close(found[:, :, 0], expected, atol=1e-5, rtol=1e-4)


def test_gradient_of_flat_volumes_is_torchvisions():
    images = torch.randn((1, 2, 8, 9), generator=torch.Generator().manual_seed(0), requires_grad=True)
    volumes = images.detach()[:, :, None].clone().requires_grad_()
    box = torch.tensor([[1.0, 2.0, 0.0, 7.5, 6.0, 1.0]])
    weight = torch.randn(1, 2, 3, 3)
    (roi_align(images, [box[:, [0, 1, 3, 4]]], 3, 1.0, 2, True) * weight).sum().backward()
    (roi_align_3d(volumes, [box], (1, 3, 3))[:, :, 0] * weight).sum().backward()
    torch.testing.assert_close(volumes.grad[:, :, 0], images.grad)


def test_gradient_is_that_of_finite_differences():
    features = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    boxes = [torch.tensor([[0.2, 0.3, -0.4, 4.0, 3.0, 2.5]]).double(), torch.tensor([[1.0, 1.0, 1.0, 9.0, 2.0, 2.0]])]
    assert torch.autograd.gradcheck(lambda f: roi_align_3d(f, boxes, 2), (features,))


def test_box_of_one_voxel_is_that_voxel_by_half_open_edges():
    features = torch.arange(60.0).reshape(1, 1, 3, 4, 5)
    box = torch.tensor([[3.0, 1.0, 2.0, 4.0, 2.0, 3.0]])
    assert roi_align_3d(features, [box], 1, sampling_ratio=1).item() == features[0, 0, 2, 1, 3]


def test_ramp_is_averaged_exactly_in_every_cell():
    z, y, x = torch.meshgrid(*(torch.arange(n).float() + 0.5 for n in (8, 9, 10)), indexing="ij")
    features = torch.stack([z, y, x])[None]
    found = roi_align_3d(features, [torch.tensor([[1.0, 2.0, 2.0, 9.0, 8.0, 6.0]])], (2, 3, 4))[0]
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(found[1, 0, :, 0], torch.tensor([3.0, 5.0, 7.0]))
    torch.testing.assert_close(found[2, 0, 0, :], torch.tensor([2.0, 4.0, 6.0, 8.0]))


@pytest.mark.parametrize("ratio", [2, -1])
def test_pooling_in_parts_changes_nothing_and_keeps_the_order(monkeypatch, ratio):
    features = torch.randn(2, 3, 6, 7, 8)
    boxes = [random_boxes(7, 4), random_boxes(5, 5)]
    whole = roi_align_3d(features, boxes, 2, 0.5, ratio)
    monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", 1)
    torch.testing.assert_close(roi_align_3d(features, boxes, 2, 0.5, ratio), whole)
    one_by_one = [roi_align_3d(features[i : i + 1], [box[None]], 2, 0.5, ratio) for i in range(2) for box in boxes[i]]
    torch.testing.assert_close(torch.cat(one_by_one), whole)


def test_no_boxes_give_no_cells_and_a_zero_gradient():
    features = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    pooled = roi_align_3d(features, [torch.zeros(0, 6), torch.zeros(0, 6)], (1, 2, 3))
    assert pooled.shape == (0, 3, 1, 2, 3)
    pooled.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()


def test_box_far_outside_or_that_is_no_number_gives_zero():
    features = torch.ones(1, 1, 3, 4, 5)
    boxes = torch.tensor([[50.0, 50.0, 50.0, 60.0, 60.0, 60.0], [math.nan] * 6])
    assert not roi_align_3d(features, [boxes], 2).any()


def test_half_precision_is_pooled_in_float_and_returned_in_half():
    features = torch.randn(1, 4, 4, 5, 6)
    box = [torch.tensor([[0.5, 0.5, 0.5, 4.0, 4.0, 3.5]])]
    low = roi_align_3d(features.bfloat16(), box, 2)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), roi_align_3d(features, box, 2), atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("shape", "boxes", "size", "scale", "told"),
    [
        ((1, 2, 3, 4), [torch.zeros(0, 6)], 2, 1.0, r"\[N, C, D, H, W\]"),
        ((2, 1, 3, 4, 5), [torch.zeros(0, 6)], 2, 1.0, "N lists"),
        ((1, 1, 3, 4, 5), [torch.zeros(0, 4)], 2, 1.0, r"\[K, 6\]"),
        ((1, 1, 3, 4, 5), [torch.zeros(0, 6)], (2, 2), 1.0, "one or three"),
        ((1, 1, 3, 4, 5), [torch.zeros(0, 6)], 0, 1.0, "positive"),
        ((1, 1, 3, 4, 5), [torch.zeros(0, 6)], 1, (1.0, 0.0, 1.0), "positive"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, boxes, size, scale, told):
    with pytest.raises(ValueError, match=told):
        roi_align_3d(torch.zeros(shape), boxes, size, scale)
