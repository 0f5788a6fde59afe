"""The four proposal networks: one interface, what each cell learns, ignore regions, and that each learns at all."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lesion_app.networks.anchor_rpn import AnchorRPN
from lesion_app.networks.centerness_rpn import CenternessRPN
from lesion_app.networks.centernet_rpn import CenterNetRPN, peak_focal_loss, peak_radius
from lesion_app.networks.fcos_rpn import FCOSRPN, wanted_centerness
from lesion_app.networks.map_cells import MapCells, smallest_claim
from lesion_app.networks.proposal_choice import ProposalChoice, pool_proposals

SMALL = {"pre_nms_train": 200, "pre_nms_test": 200, "post_nms_train": 50, "post_nms_test": 50, "min_size": 2.0}
NETWORKS = {
    "centerness": partial(CenternessRPN, channels=16, **SMALL),
    "centernet": partial(CenterNetRPN, channels=16, **SMALL),
    "fcos": partial(FCOSRPN, channels=16, tower_layers=1, **SMALL),
    "anchors": partial(AnchorRPN, anchor_sizes=(8, 16, 24), fg_iou=0.5, **SMALL),
}
EVERY = pytest.mark.parametrize("kind", NETWORKS)
LOSSES = {
    "centerness": {"loss_objectness", "loss_rpn_box_reg"},
    "centernet": {"loss_objectness", "loss_rpn_box_reg", "loss_rpn_offset"},
    "fcos": {"loss_objectness", "loss_rpn_box_reg", "loss_rpn_centerness"},
    "anchors": {"loss_objectness", "loss_rpn_box_reg"},
}


def make(kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return NETWORKS[kind](8, 4)


def target(boxes: list[list[float]], ignore: list[list[float]] | None = None) -> dict[str, Tensor]:
    made = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)}
    made["labels"] = torch.ones(len(boxes), dtype=torch.int64)
    if ignore is not None:
        made["ignore"] = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return made


def feature_map(batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 8, 12, 16, generator=torch.Generator().manual_seed(seed))


def cells(height: int = 12, width: int = 16) -> MapCells:
    return MapCells(height, width, 4, torch.device("cpu"))


@EVERY
def test_proposals_lie_in_their_images_by_falling_score_and_carry_no_gradient(kind: str) -> None:
    network = make(kind).eval()
    proposals, scores, losses = network(feature_map(2), [(48, 64), (40, 50)])
    assert losses == {}
    for boxes, score, (height, width) in zip(proposals, scores, [(48, 64), (40, 50)]):
        assert 0 < len(boxes) == len(score) <= 50
        assert not boxes.requires_grad
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height
        assert (score.diff() <= 0).all()
        assert ((score >= 0) & (score <= 1)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()


@EVERY
def test_training_gives_named_finite_losses_that_reach_every_weight(kind: str) -> None:
    network = make(kind).train()
    _, _, losses = network(feature_map(2), [(48, 64)] * 2, [target([[10, 8, 30, 28]]), target([])])
    assert set(losses) == LOSSES[kind]
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@EVERY
def test_image_without_boxes_has_no_box_loss(kind: str) -> None:
    _, _, losses = make(kind).train()(feature_map(), [(48, 64)], [target([])])
    assert losses["loss_objectness"] > 0
    assert all(loss == 0 for name, loss in losses.items() if name != "loss_objectness")


@EVERY
def test_region_over_the_whole_image_leaves_no_gradient(kind: str) -> None:
    network = make(kind).train()
    _, _, losses = network(feature_map(), [(48, 64)], [target([], ignore=[[0, 0, 64, 48]])])
    total = sum(losses.values())
    total.backward()
    assert total == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


@EVERY
def test_lesion_in_an_ignored_region_is_learnt(kind: str) -> None:
    torch.manual_seed(0)  # the anchors are sampled
    _, _, losses = make(kind).train()(feature_map(), [(48, 64)], [target([[20, 16, 36, 32]], ignore=[[0, 0, 64, 48]])])
    assert losses["loss_objectness"] > 0
    assert losses["loss_rpn_box_reg"] > 0


@pytest.mark.parametrize("kind", ["centerness", "centernet", "fcos"])
def test_padding_is_no_background(kind: str) -> None:
    """Whatever stands in the padding of a smaller image changes no loss."""
    network = make(kind).train()
    logits_of = {"centerness": "centerness", "centernet": "heat", "fcos": "lesion"}[kind]
    seen: list[Tensor] = []
    getattr(network, logits_of).register_forward_hook(lambda m, i, o: (o.retain_grad(), seen.append(o))[0])
    _, _, losses = network(feature_map(), [(24, 32)], [target([])])
    losses["loss_objectness"].backward()
    touched = seen[0].grad[0, 0] != 0
    assert touched[:6, :8].all()
    assert not touched[6:].any()
    assert not touched[:, 8:].any()


@EVERY
def test_learns_where_one_lesion_is(kind: str) -> None:
    network = make(kind).train()
    features = torch.zeros(1, 8, 12, 16)
    features[:, :4, 4:8, 5:10] = 1.0
    features[:, 4:] = torch.rand(1, 4, 12, 16, generator=torch.Generator().manual_seed(1)) * 0.1
    wanted = torch.tensor([20.0, 16, 40, 32])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(80):
        _, _, losses = network(features, [(48, 64)], [target([wanted.tolist()])])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    boxes, scores, _ = network.eval()(features, [(48, 64)])
    assert scores[0][0] > 0.5
    assert (boxes[0][0] - wanted).abs().max() < 3


# what cells learn from


def brute_force_assignment(
    boxes: list[list[float]], ignore: list[list[float]], centre: float, ring: float, uncertain: float
) -> tuple[list[int], list[int]]:
    """The paper's rule, cell by cell (section IV-B)."""

    def inside(x: float, y: float, box: list[float], ratio: float) -> bool:
        mx, my = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        w, h = (box[2] - box[0]) * ratio / 2, (box[3] - box[1]) * ratio / 2
        return mx - w <= x < mx + w and my - h <= y < my + h

    labels, matched = [], []
    for row in range(12):
        for column in range(16):
            x, y = column * 4 + 2, row * 4 + 2
            own = [
                i
                for i, b in enumerate(boxes)
                if inside(x, y, b, centre) or ((b[0] + b[2]) / 2 // 4, (b[1] + b[3]) / 2 // 4) == (column, row)
            ]
            own.sort(key=lambda i: (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1]))
            near = any(inside(x, y, b, ring) for b in boxes) or any(inside(x, y, b, uncertain) for b in ignore)
            matched.append(own[0] if own else -1)
            labels.append(1 if own else -1 if near else 0)
    return labels, matched


@pytest.mark.parametrize("uncertain", [0.5, 1.0])
@pytest.mark.parametrize(
    ("boxes", "ignore"),
    [
        ([], []),
        ([[4, 4, 60, 44]], []),
        ([[4, 4, 60, 44], [20, 16, 44, 36]], [[0, 30, 30, 48]]),
        ([[7, 9, 10, 11], [1, 1, 2.5, 30]], [[5, 5, 12, 12]]),
        ([], [[0, 0, 64, 48]]),
    ],
)
def test_cells_learn_from_centre_regions_and_not_from_the_rings(boxes, ignore, uncertain: float) -> None:
    network = CenternessRPN(8, channels=4, uncertain_ratio=uncertain)
    labels, matched = network.assign(
        cells(), torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(ignore).reshape(-1, 4).float(), (48, 64)
    )
    expected = brute_force_assignment(boxes, ignore, 0.2, 0.5, uncertain)
    assert labels.tolist() == expected[0]
    assert matched.tolist() == expected[1]


def test_uncertain_box_is_ignored_wholly_and_has_no_centre() -> None:
    network = CenternessRPN(8, channels=4)
    labels, _ = network.assign(cells(), torch.zeros(0, 4), torch.tensor([[8.0, 8, 32, 24]]), (48, 64))
    grid = labels.reshape(12, 16)
    assert (grid[2:6, 2:8] == -1).all()
    assert (grid == -1).sum() == 4 * 6
    assert not (grid == 1).any()


def test_border_loss_is_the_l1_distance_in_cells_of_the_centre_region_alone() -> None:
    network = CenternessRPN(8, channels=4, size_weight=0.1)
    for p in network.borders.parameters():
        nn.init.zeros_(p)
    nn.init.constant_(network.borders[2].bias, 1.0)
    box = [20.0, 14, 44, 30]
    labels, _ = network.assign(cells(), torch.tensor([box]), torch.zeros(0, 4), (48, 64))
    picked = cells().centres[labels == 1]
    expected = 0.0
    for x, y in picked.tolist():
        sides = [(x - box[0]) / 4, (y - box[1]) / 4, (box[2] - x) / 4, (box[3] - y) / 4]
        expected += 0.1 * sum(abs(s - 1.0) for s in sides) / len(picked)
    _, _, losses = network.train()(feature_map(), [(48, 64)], [target([box])])
    assert math.isclose(losses["loss_rpn_box_reg"].item(), expected, rel_tol=1e-5)


def test_decoded_borders_are_the_boxes_they_were_made_from() -> None:
    some = torch.tensor([[3.0, 5, 20, 41]]).expand(12 * 16, 4)
    torch.testing.assert_close(cells().boxes_from(cells().distances_to(some)), some)


def test_smallest_of_several_boxes_claims_a_cell() -> None:
    claims = torch.tensor([[True, True], [True, False], [False, False]])
    assert smallest_claim(claims, torch.tensor([[0.0, 0, 9, 9], [2, 2, 4, 4]])).tolist() == [1, 0, -1]


def test_fcos_learns_from_every_cell_in_a_lesion() -> None:
    labels, _ = FCOSRPN(8, channels=4, tower_layers=1).assign(
        cells(), torch.tensor([[8.0, 8, 32, 24]]), torch.tensor([[28.0, 8, 40, 24]]), (48, 64)
    )
    grid = labels.reshape(12, 16)
    assert (grid[2:6, 2:8] == 1).all()
    assert (grid[2:6, 8:10] == -1).all()
    assert (grid == 1).sum() == 24
    assert (grid == -1).sum() == 8


def test_wanted_centerness_is_fcos_equation_3() -> None:
    found = wanted_centerness(torch.tensor([[2.0, 2, 2, 2], [1.0, 2, 4, 2], [1.0, 1, 4, 9]]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5, 1 / 6]))


def test_peak_radius_is_as_large_as_the_iou_allows() -> None:
    for width, height in ((20.0, 20.0), (30.0, 8.0), (5.0, 50.0)):
        radius = peak_radius(torch.tensor([[width, height]]), 0.7).item()

        def least_iou(r: float, width: float = width, height: float = height) -> float:
            overlap = (width - r) * (height - r)
            moved = overlap / (2 * width * height - overlap)
            inwards = (width - 2 * r) * (height - 2 * r) / (width * height)
            outwards = width * height / ((width + 2 * r) * (height + 2 * r))
            return min(moved, inwards, outwards)

        assert math.isclose(least_iou(radius), 0.7, rel_tol=1e-4)


def test_heat_map_is_one_at_centres_only_and_falls_off_with_the_size() -> None:
    network = CenterNetRPN(8, channels=4)
    heat = network.heat_target(cells(), torch.tensor([[4.0, 4, 20, 20], [24, 8, 64, 44]])).reshape(12, 16)
    assert (heat == 1).nonzero().tolist() == [[3, 3], [6, 11]]
    assert heat[3, 4] < heat[6, 12] < 1  # the larger lesion's peak is wider
    assert heat[0, 15] < 0.2


def test_peak_focal_loss_by_hand() -> None:
    logits, wanted = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 0.5, 0.0])
    p = torch.sigmoid(logits).tolist()
    expected = -(
        (1 - p[0]) ** 2 * math.log(p[0]) + 0.5**4 * p[1] ** 2 * math.log(1 - p[1]) + p[2] ** 2 * math.log(1 - p[2])
    )
    assert math.isclose(peak_focal_loss(logits, wanted).item(), expected, rel_tol=1e-5)


def test_refused_regions() -> None:
    with pytest.raises(ValueError, match="centre_ratio"):
        CenternessRPN(8, centre_ratio=0.6, ignore_ratio=0.5)


# choosing and pooling


def test_choice_takes_the_best_clips_them_and_drops_tiny_and_overlapped_ones() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [40, 40, 60, 60], [5, 5, 6, 30], [20, 20, 30, 30]]])
    scores = torch.tensor([[0.5, 0.9, 0.4, 0.8, 0.1]])
    choice = ProposalChoice(5, 4, 5, 5, nms_iou=0.7, min_size=2.0)
    found, certainty = choice(boxes, scores, [(50, 50)], training=False)
    assert found[0].tolist() == [[0, 0, 10, 9], [40, 40, 50, 50]]
    torch.testing.assert_close(certainty[0], torch.tensor([0.9, 0.4]))
    assert len(choice(boxes, scores, [(50, 50)], training=True)[0][0]) == 3
    assert len(ProposalChoice(5, 5, 5, 5, None, 2.0)(boxes, scores, [(50, 50)], False)[0][0]) == 4


def test_pooled_proposals_are_suppressed_across_networks() -> None:
    boxes, scores = pool_proposals(
        [torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), torch.tensor([[0.0, 0, 10, 9]])],
        [torch.tensor([0.3, 0.2]), torch.tensor([0.9])],
        nms_iou=0.7,
        count=10,
    )
    assert boxes.tolist() == [[0, 0, 10, 9], [20, 20, 30, 30]]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.2]))
