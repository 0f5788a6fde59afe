from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from lesion_app.boxes.expert_fusion import fuse_experts
from lesion_app.networks.anchor_rpn import AnchorRPN
from lesion_app.networks.centerness_rpn import CenternessRPN
from lesion_app.networks.centernet_rpn import CenterNetRPN
from lesion_app.networks.densenet_25d import DenseNet25D
from lesion_app.networks.fcos_rpn import FCOSRPN
from lesion_app.networks.inference_detector import inference_detector
from lesion_app.networks.lens import LENS

NAMES = ("deeplesion", "luna16", "lits")
SMALL = {"pre_nms_train": 200, "pre_nms_test": 200, "post_nms_train": 30, "post_nms_test": 30, "min_size": 2.0}
NETWORKS = {
    "centerness": partial(CenternessRPN, channels=8, **SMALL),
    "centernet": partial(CenterNetRPN, channels=8, **SMALL),
    "fcos": partial(FCOSRPN, channels=8, tower_layers=1, **SMALL),
    "anchors": partial(AnchorRPN, anchor_sizes=(8, 16, 24), fg_iou=0.5, **SMALL),
}


def make(
    datasets: tuple[str, ...] = NAMES, kind: str = "centerness", seed: int = 0, num_images: int = 3, **settings: Any
) -> LENS:
    torch.manual_seed(seed)
    backbone = DenseNet25D(
        num_images, growth_rate=4, block_config=(1, 2, 2), num_init_features=8, bn_size=2, out_channels=16
    )
    small = {"box_head_channels": 32, "box_score_threshold": 0.0, "proposals_test": 40}
    return LENS(backbone, datasets, NETWORKS[kind], **{**small, **settings})


def target(boxes: list[list[float]], dataset: int | None = None, ignore: list[list[float]] | None = None) -> dict:
    made = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }
    if dataset is not None:
        made["dataset"] = torch.tensor(dataset)
    if ignore is not None:
        made["ignore"] = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return made


def slab(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(9, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def branches(network: LENS, expert: int) -> list[Tensor]:
    return [*network.proposal_networks[expert].parameters(), *network.roi_heads.box_predictor[expert].parameters()]


def shared(network: LENS) -> list[Tensor]:
    return [*network.backbone.parameters(), *network.roi_heads.box_head.parameters()]


def loss_of(network: LENS, slabs: list[Tensor], targets: list[dict]) -> Tensor:
    return sum(network.train()(slabs, targets).values())


@pytest.mark.parametrize("owner", [0, 1, 2])
@pytest.mark.parametrize("pooled", [True, False])
def test_only_the_branches_of_the_batch_s_data_set_get_a_gradient(owner: int, pooled: bool) -> None:
    network = make(pool_proposals=pooled)
    slabs = [slab(), slab(48, 56, 1)]
    loss_of(network, slabs, [target([[10, 10, 30, 34]], owner), target([[5, 5, 20, 20]], owner)]).backward()
    assert all(p.grad is not None for p in shared(network))
    assert all(p.grad is not None for p in branches(network, owner))
    # None, not zero: an optimiser with momentum or decay moves what has a gradient of zero
    assert all(p.grad is None for other in {0, 1, 2} - {owner} for p in branches(network, other))


def test_optimiser_leaves_the_other_branches_where_they_are_after_they_had_learnt() -> None:
    network = make()
    optimizer = torch.optim.RAdam(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for owner in (1, 0, 0):
        before = {n: [p.detach().clone() for p in branches(network, n)] for n in range(3)}
        optimizer.zero_grad(set_to_none=True)
        loss_of(network, [slab()], [target([[10, 10, 30, 34]], owner)]).backward()
        optimizer.step()
        for n in range(3):
            same = all(torch.equal(a, b) for a, b in zip(before[n], branches(network, n)))
            assert same == (n != owner)


def test_batch_of_two_data_sets_teaches_each_its_own_branches() -> None:
    network = make()
    loss_of(network, [slab(), slab(seed=1)], [target([[10, 10, 30, 34]], 2), target([[5, 5, 20, 20]], 0)]).backward()
    assert all(p.grad is not None for n in (0, 2) for p in branches(network, n))
    assert all(p.grad is None for p in branches(network, 1))


def test_data_sets_of_one_batch_do_not_mix_in_the_second_stage() -> None:
    """Each sampled box goes through the layers of its own image's data set, in its own place."""
    heads = make().roi_heads.train()
    features = {"0": torch.randn(2, 16, 16, 16)}
    boxes = [torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([[30.0, 30, 50, 50], [8, 8, 30, 30]])]
    targets = [target([[4, 4, 20, 20]]), target([[30, 30, 50, 50]])]
    sizes = [(64, 64)] * 2
    seen: dict[str, Tensor] = {}
    heads._losses = lambda logits, deltas, *rest: seen.update(logits=logits, deltas=deltas) or {}  # type: ignore
    torch.manual_seed(0)
    heads.train_experts(features, boxes, sizes, targets, [2, 0])
    torch.manual_seed(0)
    proposals, *_ = heads._sample(boxes, targets)
    hidden = heads.box_head(heads._pool(features, proposals, sizes))
    cut = len(proposals[0])
    first, second = heads.box_predictor[2](hidden[:cut]), heads.box_predictor[0](hidden[cut:])
    torch.testing.assert_close(seen["logits"], torch.cat((first[0], second[0])))
    torch.testing.assert_close(seen["deltas"], torch.cat((first[1], second[1])))


def test_losses_have_the_paper_s_weights() -> None:
    """lambda_1 = 0.1 and lambda_2 = 10 of equation 1."""
    images, targets = [slab()], [target([[10, 10, 30, 34]], 0)]
    losses = []
    for size_weight, box_weight in ((0.1, 10.0), (1.0, 1.0)):
        network = make()
        network.proposal_networks[0].size_weight = size_weight
        network.box_regression_weight = box_weight
        torch.manual_seed(1)
        losses.append(network.train()(images, targets))
    paper, plain = losses
    torch.testing.assert_close(paper["loss_rpn_box_reg"], 0.1 * plain["loss_rpn_box_reg"])
    torch.testing.assert_close(paper["loss_box_reg"], 10 * plain["loss_box_reg"])
    for name in ("loss_objectness", "loss_classifier"):
        torch.testing.assert_close(paper[name], plain[name])
    assert make().proposal_networks[0].size_weight == 0.1
    assert make().box_regression_weight == 10


def test_ignored_box_gives_no_gradient() -> None:
    network = make()
    total = loss_of(network, [slab()], [target([], 0, ignore=[[0, 0, 64, 64]])])
    total.backward()
    assert total == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_image_without_boxes_has_exactly_no_box_loss() -> None:
    losses = make().train()([slab()], [target([], 1)])
    assert losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0
    assert losses["loss_classifier"] > 0


def test_experts_begin_differently() -> None:
    network = make()
    one, other = branches(network, 0), branches(network, 1)
    assert any(not torch.equal(a, b) for a, b in zip(one, other))


def test_experts_are_asked_apart_together_or_alone() -> None:
    network = make(fuse=False).eval()
    images = [slab(64, 64), slab(40, 52, 1)]
    with torch.no_grad():
        apart = network(images)
        network.fuse = True
        fused = network(images)
        network.expert = "luna16"
        alone = network(images)
    for a, f, one, (height, width) in zip(apart, fused, alone, [(64, 64), (40, 52)]):
        assert set(a["labels"].tolist()) == {1, 2, 3}
        expected = fuse_experts(a, 0.5, 50)
        assert all(torch.equal(expected[key], f[key]) for key in expected)
        assert set(f["labels"].tolist()) == {1}
        assert torch.equal(one["boxes"], a["boxes"][a["labels"] == 2])
        assert set(one["labels"].tolist()) == {1}
        assert a["boxes"][:, 2].max() <= width
        assert a["boxes"][:, 3].max() <= height


def test_pooled_proposals_are_those_of_all_networks() -> None:
    network = make().eval()
    network.proposal_nms_iou = 1.0
    features = torch.randn(1, 16, 16, 16)
    with torch.no_grad():
        each = [n(features, [(64, 64)])[0][0] for n in network.proposal_networks]
        network.proposals_test = 1000
        pooled = network._proposals(features, [(64, 64)], [0, 1, 2])
        network.pool_proposals = False
        own = network._proposals(features, [(64, 64)], [2])
    assert pooled[0] is pooled[1] is pooled[2]
    assert {tuple(b) for b in pooled[0][0].tolist()} == {tuple(b) for boxes in each for b in boxes.tolist()}
    assert torch.equal(own[0][0], each[2])


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_streaming_detections_equal_whole_slabs(fuse: bool, pooled: bool) -> None:
    network = make(fuse=fuse, pool_proposals=pooled).eval()
    images = [slab(40, 52, seed)[:3] for seed in range(4)]
    with torch.no_grad():
        naive = network([torch.cat(images[0:3]), torch.cat(images[1:4])])
        features = network.slice_features(torch.stack(images))
        streamed = network.detect([features[0:3], features[1:4]], (40, 52))
    assert network.num_slices == 9
    for a, b in zip(naive, streamed):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_deep_copy_finds_the_same_and_shares_nothing() -> None:
    network = make()
    twin = copy.deepcopy(network)
    with torch.no_grad():
        found, again = network.eval()([slab()])[0], twin.eval()([slab()])[0]
    assert all(torch.equal(found[key], again[key]) for key in found)
    assert not {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in twin.parameters()}
    twin.load_state_dict(network.state_dict())


def test_preparing_for_inference_falls_back_to_the_network_itself() -> None:
    network = make().train()
    prepared = inference_detector(network, keep=False)
    assert prepared is network
    assert not prepared.training


@pytest.mark.parametrize("kind", NETWORKS)
def test_learns_one_slab_by_heart_with_every_proposal_network(kind: str) -> None:
    """One data set: a two-stage detector with any first stage (Table II)."""
    network = make(("deeplesion",), kind, num_images=1)
    image = torch.full((3, 48, 48), 60.0)
    image[:, 12:28, 16:36] = 200.0
    wanted = torch.tensor([16.0, 12, 36, 28])
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(45):
        loss = loss_of(network, [image], [target([wanted.tolist()])])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        best = network.eval()([image])[0]
    assert best["scores"][0] > 0.5
    assert (best["boxes"][0] - wanted).abs().max() < 4


@pytest.mark.slow
def test_experts_learn_different_lesions_from_data_sets_that_label_different_ones() -> None:
    """A bright and a dark lesion on each slab: one data set labels the bright one, the other the dark one."""
    network = make(("bright", "dark"), num_images=1, fuse=False)
    image = torch.full((3, 64, 64), 100.0)
    image[:, 8:24, 8:28] = 220.0
    image[:, 40:56, 36:52] = 20.0
    labelled = [[[8.0, 8, 28, 24]], [[36.0, 40, 52, 56]]]
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(80):
        optimizer.zero_grad(set_to_none=True)
        loss_of(network, [image], [target(labelled[step % 2], step % 2)]).backward()
        optimizer.step()
    with torch.no_grad():
        found = network.eval()([image])[0]
    for number, (own, other) in enumerate(zip(labelled, reversed(labelled), strict=True), start=1):
        boxes = found["boxes"][found["labels"] == number]
        scores = found["scores"][found["labels"] == number]
        assert box_iou(boxes[:1], torch.tensor(own)) > 0.6
        assert scores[0] > 0.5
        assert box_iou(boxes[scores > 0.5], torch.tensor(other)).max() == 0


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([target([[1, 1, 9, 9]])], "does not say which"),
        ([target([[1, 1, 9, 9]], 3)], "expected 0 to 2"),
        (None, "one target a slab"),
        ([target([[1, 1, 1, 9]], 0)], "without area"),
    ],
)
def test_targets_that_would_train_on_nonsense_are_refused(targets, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().train()([slab()], targets)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": ()}, "at least one"),
        ({"datasets": ("a", "a")}, "each once"),
        ({"expert": "brats"}, "one of deeplesion"),
    ],
)
def test_data_sets_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)
