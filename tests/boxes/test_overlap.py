import json

import numpy as np
import pytest
import torch

from lesion_app.boxes.overlap import box_iobb, box_iou, box_overlap_3d, lie_in, paired_overlap


def random_boxes(n: int, dims: int, seed: int, integer: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(n, dims, generator=generator, dtype=torch.float64) * 20
    boxes = torch.cat([low, low + torch.rand(n, dims, generator=generator, dtype=torch.float64) * 15], dim=1)
    return boxes.round() if integer else boxes


def reference_overlap(a: list[float], b: list[float], kind: str) -> float:
    n = len(a) // 2
    inter = size_a = size_b = 1.0
    for k in range(n):
        inter *= max(min(a[k + n], b[k + n]) - max(a[k], b[k]), 0.0)
        size_a *= a[k + n] - a[k]
        size_b *= b[k + n] - b[k]
    over_a = inter / size_a if size_a else 0.0
    over_b = inter / size_b if size_b else 0.0
    union = size_a + size_b - inter
    return {"iou": inter / union if union else 0.0, "iobb": over_a, "iogt": over_b, "iobbgt": max(over_a, over_b)}[kind]


def published_iou(a: list[float], b: list[float]) -> float:
    """IoU as Lesion Harvester's evaluation writes it: inclusive pixels, "+1" on every side."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    inter = width * height
    area_a, area_b = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return inter / (area_a + area_b - inter)


@pytest.mark.parametrize("integer", [False, True])
def test_half_open_iou_equals_the_published_plus_one_iou(integer):
    inclusive_a, inclusive_b = random_boxes(40, 2, 1, integer), random_boxes(30, 2, 2, integer)
    expected = [[published_iou(a, b) for b in inclusive_b.tolist()] for a in inclusive_a.tolist()]
    to_half_open = torch.tensor([-1.0, -1.0, 0.0, 0.0], dtype=torch.float64)
    got = box_iou(inclusive_a + to_half_open, inclusive_b + to_half_open)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-14)
    assert 0 < (got > 0).double().mean() < 1


def test_worked_2d_example():
    boxes, regions = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 1.0, 6.0, 5.0], [4.0, 0.0, 5.0, 2.0]])
    torch.testing.assert_close(box_iou(boxes, regions), torch.tensor([[2 / 22, 0.0]]))
    torch.testing.assert_close(box_iobb(boxes, regions), torch.tensor([[2 / 8, 0.0]]))
    torch.testing.assert_close(box_iobb(regions, boxes), torch.tensor([[2 / 16], [0.0]]))


def test_box_lies_in_a_region_from_the_share_asked_for_on():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 0.0, 2.0]])  # the second has no area
    regions = torch.tensor([[2.0, 1.0, 6.0, 5.0], [4, 0, 5, 2]], dtype=torch.float64)
    assert lie_in(boxes, regions, 0.25).tolist() == [True, False]
    assert lie_in(boxes, regions, 0.26).tolist() == [False, False]
    assert lie_in(boxes, regions[:0], 0.25).tolist() == [False, False]
    assert lie_in(boxes[:0], regions, 0.25).tolist() == []


def test_lens_overlaps_equal_the_published_programs(real_data):
    vector = json.loads((real_data / "deeplesion/oracle/lens_iox_3d_pairs.json").read_text())
    inclusive_to_half_open = torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=torch.float64)
    box = torch.tensor([vector["box"]], dtype=torch.float64) + inclusive_to_half_open
    truth = torch.tensor(vector["gts"], dtype=torch.float64) + inclusive_to_half_open
    assert set(vector["expected"]) == {"IOU", "IOBB", "IOGT", "IOBBGT"}
    for kind, expected in vector["expected"].items():
        assert box_overlap_3d(box, truth, kind.lower())[0].tolist() == expected


@pytest.mark.parametrize("kind", ["iou", "iobb", "iogt", "iobbgt"])
def test_3d_matrix_equals_the_loop(kind):
    a, b = random_boxes(12, 3, 3), random_boxes(9, 3, 4)
    expected = [[reference_overlap(x, y, kind) for y in b.tolist()] for x in a.tolist()]
    np.testing.assert_allclose(box_overlap_3d(a, b, kind).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("dims", "matrix"), [(2, box_iou), (3, box_overlap_3d)])
def test_paired_overlap_is_the_diagonal(dims, matrix):
    a, b = random_boxes(25, dims, 5), random_boxes(25, dims, 6)
    torch.testing.assert_close(paired_overlap(a, b), matrix(a, b).diagonal(), rtol=1e-12, atol=0)


def test_boxes_without_area_overlap_nothing():
    flat, inverted, proper = [3.0, 3, 3, 9], [5.0, 5, 2, 2], [0.0, 0, 10, 10]
    boxes = torch.tensor([flat, inverted, proper])
    for function in (box_iou, box_iobb):
        overlap = function(boxes, boxes)
        assert overlap[2, 2] == 1
        assert overlap.sum() == 1
    boxes_3d = torch.tensor([[0.0, 0, 0, 4, 4, 0], [0.0, 0, 0, 4, 4, 4], [3.0, 3, 3, 1, 1, 1]])
    for kind in ("iou", "iobb", "iogt", "iobbgt"):
        assert torch.equal(box_overlap_3d(boxes_3d, boxes_3d, kind), torch.diag(torch.tensor([0.0, 1, 0])))


def test_empty_inputs_keep_their_shape():
    two, none = random_boxes(2, 2, 0), torch.empty(0, 4, dtype=torch.float64)
    assert box_iou(none, two).shape == box_iobb(none, two).shape == (0, 2)
    assert box_iou(two, none).shape == box_iobb(two, none).shape == (2, 0)
    assert box_overlap_3d(torch.empty(0, 6), torch.empty(3, 6)).shape == (0, 3)
    assert paired_overlap(none, none).shape == (0,)


def test_large_integer_volumes_are_exact():
    box = torch.tensor([[0, 0, 0, 4097, 4097, 3]])
    part = torch.tensor([[0, 0, 0, 4097, 4096, 3]])
    assert box_overlap_3d(box, part).item() == 4096 / 4097


def test_wrong_shapes_and_kinds_are_refused():
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        box_iou(torch.empty(2, 6), torch.empty(2, 4))
    with pytest.raises(ValueError, match=r"\[N, 6\]"):
        box_overlap_3d(torch.empty(2, 4), torch.empty(2, 6))
    with pytest.raises(ValueError, match="unknown overlap"):
        box_overlap_3d(torch.empty(2, 6), torch.empty(2, 6), "giou")
    with pytest.raises(ValueError, match="paired"):
        paired_overlap(torch.empty(2, 4), torch.empty(3, 4))
