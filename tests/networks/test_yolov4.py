from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from lesion_app.networks.yolov4 import YOLOv4
from tests.networks.tiny_yolo import make_tiny_yolo, used_yolo


def target(boxes: list, labels: list[int] | None = None, ignore: list | None = None) -> dict[str, Tensor]:
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
    }
    if ignore is not None:
        found["ignore"] = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return found


def slab(height: int = 64, width: int = 64, seed: int = 0, slices: int = 3) -> Tensor:
    return torch.rand(slices, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def test_network_has_the_published_parameter_count() -> None:
    """yolov4.weights has 257,717,640 bytes: a header of 20 and 64,429,405 values, BatchNorm's statistics among them."""
    with torch.device("meta"):
        network = YOLOv4(num_classes=80)
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == 64_363_101
    assert parameters + sum(b.numel() for b in statistics) == (257_717_640 - 20) // 4


@pytest.mark.parametrize(("classes", "filters"), [(8, 39), (1, 18), (80, 255)])
def test_heads_have_darknets_filters(classes: int, filters: int) -> None:
    with torch.device("meta"):
        network = YOLOv4(num_classes=classes)
    assert [head.out.out_channels for head in network.heads] == [filters] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 16, 32), (4, 8, 16, 32)])
def test_every_head_looks_at_its_stride(strides: tuple[int, ...]) -> None:
    network = make_tiny_yolo(strides=strides)
    found = network.eval().predict(slab(64, 96)[None])
    assert found.grids == tuple((64 // s, 96 // s) for s in strides)
    losses = network.train()([slab(64, 96)], [target([[10, 10, 30, 34]])])
    sum(losses.values()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert still == []


def test_training_gives_three_finite_losses_for_slabs_of_any_size() -> None:
    network = make_tiny_yolo(num_classes=2)
    slabs = [slab(), slab(41, 70, 1), slab(20, 33, 2)]
    targets = [target([[10, 10, 30, 34]], [2]), target([[5, 5, 20, 20], [40, 20, 70, 41]]), target([])]
    losses = network(slabs, targets)
    assert set(losses) == {"loss_box", "loss_objectness", "loss_class"}
    assert all(torch.isfinite(v) and v > 0 for v in losses.values())


def test_one_small_slab_can_be_trained_on() -> None:
    losses = make_tiny_yolo()([slab(20, 30)], [target([[3, 3, 12, 12]])])
    assert all(torch.isfinite(v) for v in losses.values())


def test_overfits_one_slab() -> None:
    torch.manual_seed(0)
    image = slab(128, 128) / 5
    image[:, 20:48, 24:52] += 150
    image[:, 80:100, 60:92] += 100
    truth = target([[24, 20, 52, 48], [60, 80, 92, 100]], [1, 2])
    network = make_tiny_yolo(num_classes=2, norm_momentum=0.3)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=41, pct_start=0.2)
    for _ in range(40):
        loss = torch.stack(list(network([image], [truth]).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        (found,) = network.eval()([image])
    best = box_iou(truth["boxes"], found["boxes"])[:, found["scores"] > 0.5]
    labels = found["labels"][found["scores"] > 0.5]
    assert len(labels) == 2
    assert (best.max(dim=1).values > 0.6).all()
    assert labels[best.argmax(dim=1)].tolist() == [1, 2]


def test_ignored_slab_gives_no_gradient() -> None:
    network = make_tiny_yolo()
    losses = network([slab(50, 37)], [target([], ignore=[[0, 0, 37, 50]])])
    total = sum(losses.values())
    total.backward()
    assert total == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


@torch.no_grad()
def test_detections_lie_in_each_slab_by_falling_score() -> None:
    network = used_yolo(num_classes=3)
    slabs = [slab(64, 64), slab(41, 70, 1)]
    found = network(slabs)
    for image, one in zip(slabs, found):
        height, width = image.shape[-2:]
        assert len(one["boxes"]) == len(one["scores"]) == len(one["labels"]) > 3
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"] <= torch.tensor([width, height, width, height])).all()
        assert (one["boxes"][:, 2:] > one["boxes"][:, :2]).all()
        assert (one["scores"].diff() <= 0).all()
        assert ((one["scores"] > 0.01) & (one["scores"] <= 1)).all()
        assert set(one["labels"].tolist()) <= {1, 2, 3}
        assert one["labels"].dtype == torch.int64


@torch.no_grad()
def test_boxes_are_in_the_slabs_own_pixels() -> None:
    """Air beyond a slab, which padding adds, changes nothing but what is found at that border."""
    network = used_yolo()
    image = slab(64, 64)
    image[:, 40:] = image[:, :, 50:] = 0
    whole, cut = (network.predict(network._batch([part])[:]) for part in (image, image[:, :40, :50]))
    torch.testing.assert_close(whole.boxes, cut.boxes)


@torch.no_grad()
def test_network_that_finds_nothing_gives_empty_results() -> None:
    network = make_tiny_yolo().eval()
    network.score_threshold = 1.0
    (found,) = network([slab()])
    assert [tuple(found[k].shape) for k in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]


@torch.no_grad()
def test_single_slice_is_shown_to_all_three_channels() -> None:
    one, three = used_yolo(num_slices=1), used_yolo(num_slices=3)
    three.load_state_dict(one.state_dict())
    image = slab(slices=1)
    (a,), (b,) = one([image]), three([image.expand(3, -1, -1)])
    assert len(a["scores"]) > 3
    for key in a:
        assert torch.equal(a[key], b[key])


@torch.no_grad()
def test_suppression_keeps_one_of_each_heap() -> None:
    network = used_yolo(nms_iou=0.3)
    for kind in ("greedy", "diou"):
        network.nms = kind  # type: ignore[assignment]
        (found,) = network([slab()])
        overlap = box_iou(found["boxes"], found["boxes"]).triu(1)
        assert len(overlap) > 3
        if kind == "greedy":
            assert overlap.max() <= 0.3
        else:
            assert overlap.max() > 0.3  # boxes with distant centres may overlap more


def test_bfloat16_autocast_gives_finite_losses_and_gradients() -> None:
    network = make_tiny_yolo()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = network([slab()], [target([[10, 10, 30, 34]])])
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = used_yolo()([slab()])
    assert found["boxes"].dtype == torch.float32


def test_teacher_can_be_copied_and_loaded() -> None:
    network = make_tiny_yolo()
    teacher = copy.deepcopy(network)
    teacher.load_state_dict(make_tiny_yolo(1).state_dict())
    names = set(network.state_dict())
    assert not any("anchors" in name for name in names)  # settings, not weights


def test_wrong_targets_are_refused() -> None:
    network = make_tiny_yolo(num_classes=2)
    with pytest.raises(ValueError, match="one target a slab"):
        network([slab()])
    for label in (0, 3):
        with pytest.raises(ValueError, match="knows 1 to 2"):
            network([slab()], [target([[1, 1, 9, 9]], [label])])


def test_slab_of_other_slices_is_refused() -> None:
    with pytest.raises(ValueError, match="a slab of 1 slices came to a network of 3"):
        make_tiny_yolo().eval()([slab(slices=1)])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"num_slices": 2}, "num_slices"),
        ({"num_slices": 6}, "num_slices"),
        ({"strides": (8, 16)}, "strides"),
        ({"strides": (2, 16, 32)}, "strides"),
        ({"strides": (4, 32)}, "strides"),
        ({"anchors": ((1, 1), (2, 2))}, "anchors"),
        ({"anchors": ()}, "anchors"),
        ({"anchors": ((1, 1), (2, 2), (3, 0))}, "anchors"),
        ({"scale_x_y": (1.0,)}, "scale_x_y"),
        ({"objectness_prior": 0.0}, "objectness_prior"),
        ({"nms": "soft"}, "nms"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told), torch.device("meta"):
        YOLOv4(**{"width": 0.125, "depth": 0.1, **settings})
