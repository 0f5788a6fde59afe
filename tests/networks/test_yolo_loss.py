from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou

from lesion_app.networks.yolo_head import Predictions
from lesion_app.networks.yolo_loss import YOLOLoss

ANCHORS = (((8, 8), (16, 12)), ((30, 30), (20, 50)))
STRIDES = (8, 16)
SIZE = (64, 64)


def make_loss(**settings) -> YOLOLoss:
    return YOLOLoss(ANCHORS, STRIDES, **settings)


def predictions(images: int = 1, classes: int = 2, seed: int = 0, grown: float = 1.0) -> Predictions:
    """Boxes that are the anchors, with random logits that ask for gradients."""
    rng = torch.Generator().manual_seed(seed)
    anchor_boxes, cells = [], []
    for anchors, stride in zip(ANCHORS, STRIDES):
        for row in range(64 // stride):
            for column in range(64 // stride):
                for w, h in anchors:
                    x, y = (column + 0.5) * stride, (row + 0.5) * stride
                    anchor_boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    cells.append([column * stride, row * stride, (column + 1) * stride, (row + 1) * stride])
    anchor = torch.tensor(anchor_boxes, dtype=torch.float32)
    middle = (anchor[:, :2] + anchor[:, 2:]).repeat(1, 2) / 2
    boxes = (middle + (anchor - middle) * grown).expand(images, -1, -1)
    return Predictions(
        boxes.clone().requires_grad_(),
        torch.randn(images, len(anchor), generator=rng).requires_grad_(),
        torch.randn(images, len(anchor), classes, generator=rng).requires_grad_(),
        anchor,
        torch.tensor(cells, dtype=torch.float32),
        ((8, 8), (4, 4)),
    )


def target(boxes: list, labels: list[int] | None = None, **more: list) -> dict[str, Tensor]:
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
    }
    if "ignore" in more:
        found["ignore"] = torch.tensor(more["ignore"], dtype=torch.float32).reshape(-1, 4)
    return found


def gradients(found: Predictions, targets: list[dict[str, Tensor]], size=SIZE, **settings) -> dict[str, Tensor]:
    losses = make_loss(**settings)(found, targets, [size] * len(targets))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    return losses


def shape_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    common = min(a[0], b[0]) * min(a[1], b[1])
    return common / (a[0] * a[1] + b[0] * b[1] - common)


def slow_assign(truth: list[list[float]], anchor_iou: float) -> set[tuple[int, int]]:
    """Darknet's rule, truth by truth and anchor by anchor."""
    found = set()
    for number, (x1, y1, x2, y2) in enumerate(truth):
        overlaps = {
            (head, a): shape_iou((x2 - x1, y2 - y1), anchor)
            for head, anchors in enumerate(ANCHORS)
            for a, anchor in enumerate(anchors)
        }
        best = max(overlaps, key=lambda k: overlaps[k])
        for (head, a), overlap in overlaps.items():
            if (head, a) == best or overlap > anchor_iou:
                cells = 64 // STRIDES[head]
                column = min(int((x1 + x2) / 2 // STRIDES[head]), cells - 1)
                row = min(int((y1 + y2) / 2 // STRIDES[head]), cells - 1)
                found.add((number, [0, 128][head] + (row * cells + column) * 2 + a))
    return found


@pytest.mark.parametrize("anchor_iou", [0.1, 0.213, 0.5, 1.0])
def test_truths_teach_the_places_of_darknets_rule(anchor_iou: float) -> None:
    rng = torch.Generator().manual_seed(3)
    corner = torch.rand(40, 2, generator=rng) * 50
    truth = torch.cat((corner, (corner + 1 + torch.rand(40, 2, generator=rng) * 60).clamp(max=64)), dim=1)
    number, place = make_loss(anchor_iou=anchor_iou).assign(truth, ((8, 8), (4, 4)), SIZE)
    assert set(zip(number.tolist(), place.tolist())) == slow_assign(truth.tolist(), anchor_iou)
    if anchor_iou == 1:
        assert number.tolist() == list(range(40))
    else:
        assert len(number) > 40


def test_centre_on_the_far_edge_belongs_to_the_last_cell() -> None:
    _, place = make_loss(anchor_iou=1).assign(torch.tensor([[60.0, 60, 68, 68]]), ((8, 8), (4, 4)), SIZE)
    assert place.tolist() == [63 * 2]


def ciou(a: list[float], b: list[float]) -> float:
    """Equations 8 to 11 of Zheng et al. for two boxes."""
    iou = float(box_iou(torch.tensor([a]), torch.tensor([b])))
    centre = [((p[0] + p[2]) / 2, (p[1] + p[3]) / 2) for p in (a, b)]
    rho2 = (centre[0][0] - centre[1][0]) ** 2 + (centre[0][1] - centre[1][1]) ** 2
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    v = 4 / math.pi**2 * (math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))) ** 2
    alpha = v / (1 - iou + v) if v else 0.0
    return iou - rho2 / c2 - alpha * v


@pytest.mark.parametrize("box", [[9.0, 9, 16, 17], [8.0, 8, 16, 16], [10.0, 4, 30, 12]])
def test_box_loss_is_the_published_ciou(box: list[float]) -> None:
    found = predictions()
    loss = make_loss(anchor_iou=1.0)
    (_, (place,)) = loss.assign(torch.tensor([box]), found.grids, SIZE)
    mine = loss(found, [target([box])], [SIZE])["loss_box"].detach() / loss.box_weight
    predicted = found.boxes[0, place].tolist()
    assert float(mine) == pytest.approx(1 - ciou(predicted, box), abs=1e-5)
    library = complete_box_iou(torch.tensor([predicted]), torch.tensor([box]))
    assert float(mine) == pytest.approx(1 - float(library), abs=1e-5)


def test_losses_are_sums_over_places_averaged_over_images() -> None:
    one = make_loss()(predictions(), [target([[8, 8, 16, 16]], [2])], [SIZE])
    found = predictions()
    two = replace(
        found,
        boxes=found.boxes.repeat(2, 1, 1),
        objectness=found.objectness.repeat(2, 1),
        classes=found.classes.repeat(2, 1, 1),
    )
    both = make_loss()(two, [target([[8, 8, 16, 16]], [2])] * 2, [SIZE] * 2)
    for name in one:
        torch.testing.assert_close(one[name], both[name])
    weighted = make_loss(box_weight=6.0, objectness_weight=2.0, class_weight=0.5)(
        predictions(), [target([[8, 8, 16, 16]], [2])], [SIZE]
    )
    assert [float((weighted[n] / one[n]).detach()) for n in one] == pytest.approx([2.0, 2.0, 0.5])


def test_objectness_and_classes_are_logistic() -> None:
    """Every number by hand: one truth at one place, nothing near it."""
    found = predictions()
    losses = make_loss(anchor_iou=1.0, ignore_iou=1.0)(found, [target([[8, 8, 16, 16]], [2])], [SIZE])
    place = (1 * 8 + 1) * 2
    logits = found.objectness[0].tolist()
    expected = sum(math.log1p(math.exp(-x if i == place else x)) for i, x in enumerate(logits))
    assert float(losses["loss_objectness"]) == pytest.approx(expected, rel=1e-5)
    first, second = found.classes[0, place].tolist()
    expected = math.log1p(math.exp(first)) + math.log1p(math.exp(-second))
    assert float(losses["loss_class"]) == pytest.approx(expected, rel=1e-5)


def test_prediction_that_overlaps_a_truth_is_neither_taught_nor_untaught() -> None:
    found = predictions()
    gradients(found, [target([[8, 8, 16, 16]])], anchor_iou=1.0, ignore_iou=0.1)
    overlap = box_iou(found.boxes[0].detach(), torch.tensor([[8.0, 8, 16, 16]]))[:, 0]
    place = (1 * 8 + 1) * 2
    silent = (overlap > 0.1) & (torch.arange(len(overlap)) != place)
    assert silent.sum() >= 2
    grad = found.objectness.grad[0]  # type: ignore[index]
    assert not grad[silent].any()
    assert (grad[~silent & (torch.arange(len(grad)) != place)] > 0).all()
    assert grad[place] < 0


def test_ignored_region_gives_no_objectness_gradient() -> None:
    found = predictions()
    gradients(found, [target([], ignore=[[0, 0, 32, 32]])])
    grad = found.objectness.grad[0]  # type: ignore[index]
    inside = (found.anchor_boxes >= 0).all(1) & (found.anchor_boxes <= 32).all(1)
    outside = (found.anchor_boxes[:, 0] >= 32) | (found.anchor_boxes[:, 1] >= 32)
    assert inside.sum() > 10
    assert not grad[inside].any()
    assert (grad[outside] > 0).all()


@pytest.mark.parametrize("grown", [0.1, 1.0, 10.0])
def test_region_over_the_image_leaves_nothing_to_learn(grown: float) -> None:
    found = predictions(grown=grown)
    losses = gradients(found, [target([], ignore=[[0, 0, 50, 37]])], size=(37, 50))
    assert sum(losses.values()) == 0
    assert not found.objectness.grad.any()  # type: ignore[union-attr]


def test_truth_inside_an_ignored_region_is_taught() -> None:
    found = predictions()
    losses = gradients(found, [target([[8, 8, 16, 16]], ignore=[[0, 0, 64, 64]])], anchor_iou=1.0)
    assert float(losses["loss_class"]) > 0
    assert found.objectness.grad[0].nonzero().flatten().tolist() == [(1 * 8 + 1) * 2]  # type: ignore[index]


def test_padding_around_the_image_gives_no_gradient() -> None:
    found = predictions()
    gradients(found, [target([])], size=(40, 24))
    grad = found.objectness.grad[0]  # type: ignore[index]
    padding = (found.cells[:, 0] >= 24) | (found.cells[:, 1] >= 40)
    assert not grad[padding].any()
    assert (grad[~padding] > 0).all()


def test_image_without_boxes_gives_exactly_zero_box_and_class_loss() -> None:
    found = predictions()
    losses = gradients(found, [target([])])
    assert losses["loss_box"] == 0
    assert losses["loss_class"] == 0
    assert losses["loss_objectness"] > 0
    assert not found.boxes.grad.any()  # type: ignore[union-attr]


def test_truths_of_two_classes_at_one_place_are_both_taught() -> None:
    found = predictions()
    box = [8, 8, 16, 16]
    losses = gradients(found, [target([box, box], [1, 2])], anchor_iou=1.0)
    place = (1 * 8 + 1) * 2
    assert (found.classes.grad[0, place] < 0).all()  # type: ignore[index]
    alone = make_loss(anchor_iou=1.0)(predictions(), [target([box], [1])], [SIZE])
    torch.testing.assert_close(losses["loss_objectness"], alone["loss_objectness"])
