from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D


def target(boxes: list[list[float]], ignore: list[list[float]] | None = None) -> dict[str, Tensor]:
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }
    if ignore is not None:
        found["ignore"] = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)
    return found


def slab(height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(9, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def test_detector_has_mulans_parameter_count() -> None:
    from lesion_app.networks.densenet_25d import DenseNet25D

    network = FasterRCNN25D(DenseNet25D())
    assert sum(p.numel() for p in network.rpn.parameters()) == 2_398_283
    assert sum(p.numel() for p in network.parameters()) == 64_167_637


def test_training_gives_four_finite_losses_that_reach_every_part(tiny_detector: FasterRCNN25D) -> None:
    losses = tiny_detector([slab(), slab(48, 56, 1)], [target([[10, 10, 30, 34]]), target([[5, 5, 20, 20]])])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    still = [n for n, p in tiny_detector.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert still == []


def test_image_without_boxes_gives_exactly_zero_box_loss(tiny_detector: FasterRCNN25D) -> None:
    losses = tiny_detector([slab()], [target([])])
    assert losses["loss_box_reg"] == 0
    assert losses["loss_rpn_box_reg"] == 0
    assert losses["loss_classifier"] > 0


def test_ignored_box_gives_no_gradient(tiny_detector: FasterRCNN25D) -> None:
    """A region over the whole image leaves nothing to learn from where no lesion is labelled."""
    losses = tiny_detector([slab()], [target([], ignore=[[0, 0, 64, 64]])])
    total = sum(losses.values())
    total.backward()
    assert total == 0
    assert all(p.grad is None or not p.grad.any() for p in tiny_detector.parameters())


def test_ignored_region_takes_its_anchors_out_of_the_negatives(tiny_detector: FasterRCNN25D) -> None:
    anchors = torch.tensor([[4.0, 4, 20, 20], [40, 40, 56, 56], [10, 10, 18, 18], [4, 4, 60, 60]])
    found = {**target([], ignore=[[0, 0, 24, 24]]), "_size": torch.tensor((64, 64))}
    labels, _ = tiny_detector.rpn.assign_targets_to_anchors([anchors], [found])
    assert labels[0].tolist() == [-1, 0, -1, 0]


def test_labelled_lesion_inside_an_ignored_region_stays_positive(tiny_detector: FasterRCNN25D) -> None:
    anchors = torch.tensor([[4.0, 4, 20, 20], [40, 40, 56, 56]])
    found = {**target([[4, 4, 20, 20]], ignore=[[0, 0, 24, 24]]), "_size": torch.tensor((64, 64))}
    labels, _ = tiny_detector.rpn.assign_targets_to_anchors([anchors], [found])
    assert labels[0].tolist() == [1, 0]


def test_anchor_that_straddles_the_border_is_not_sampled(tiny_detector: FasterRCNN25D) -> None:
    anchors = torch.tensor([[-1.0, 4, 20, 20], [4, 4, 20, 65], [4, 4, 20, 64]])
    labels, _ = tiny_detector.rpn.assign_targets_to_anchors(
        [anchors], [{**target([]), "_size": torch.tensor((64, 64))}]
    )
    assert labels[0].tolist() == [-1, -1, 0]


def test_evaluation_returns_boxes_inside_each_slab(tiny_detector: FasterRCNN25D) -> None:
    tiny_detector.eval()
    with torch.no_grad():
        found = tiny_detector([slab(64, 64), slab(40, 52, 1)])
    for detections, (height, width) in zip(found, [(64, 64), (40, 52)]):
        boxes = detections["boxes"]
        assert len(boxes) == len(detections["scores"]) == len(detections["labels"]) > 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height


def test_streaming_detections_equal_whole_slabs(tiny_detector: FasterRCNN25D) -> None:
    tiny_detector.eval()
    images = [slab(40, 52, seed)[:3] for seed in range(4)]
    with torch.no_grad():
        naive = tiny_detector([torch.cat(images[0:3]), torch.cat(images[1:4])])
        features = tiny_detector.slice_features(torch.stack(images))
        streamed = tiny_detector.detect([features[0:3], features[1:4]], (40, 52))
    for a, b in zip(naive, streamed):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_slabs_of_different_size_detect_as_alone_up_to_padding(tiny_detector: FasterRCNN25D) -> None:
    tiny_detector.eval()
    with torch.no_grad():
        together = tiny_detector([slab(48, 48), slab(48, 48, 1)])
        alone = tiny_detector([slab(48, 48, 1)])
    torch.testing.assert_close(together[1], alone[0], atol=1e-4, rtol=1e-4)


def test_learns_one_slab_by_heart(tiny_detector: FasterRCNN25D) -> None:
    image = torch.full((9, 64, 64), 60.0)
    image[:, 20:36, 24:44] = 200.0
    optimizer = torch.optim.Adam(tiny_detector.parameters(), lr=3e-3)
    for _ in range(60):
        loss = sum(tiny_detector([image], [target([[24, 20, 44, 36]])]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tiny_detector.eval()
    with torch.no_grad():
        best = tiny_detector([image])[0]
    assert best["scores"][0] > 0.5
    assert (best["boxes"][0] - torch.tensor([24.0, 20, 44, 36])).abs().max() < 4


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (None, "one target a slab"),
        ([{"boxes": torch.zeros(1, 4, dtype=torch.int64), "labels": torch.ones(1, dtype=torch.int64)}], "float"),
        ([{"boxes": torch.tensor([[1.0, 1, 1, 5]]), "labels": torch.ones(1, dtype=torch.int64)}], "without area"),
        ([{"boxes": torch.tensor([[1.0, 1, 4, 5]]), "labels": torch.ones(1)}], "int64"),
    ],
)
def test_targets_that_would_train_on_nonsense_are_refused(tiny_detector: FasterRCNN25D, targets, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_detector([slab()], targets)


def sampled_by_the_box_head(detector: FasterRCNN25D, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Proposals and labels of the second stage when the first proposes one corner of a slab."""
    detector.train()
    proposals, labels, _ = detector.roi_heads._sample([torch.tensor([[0.0, 0, 9, 9]])], [found])
    return proposals[0], labels


def test_known_negative_is_always_sampled_as_background(tiny_detector: FasterRCNN25D) -> None:
    negative = [40.0, 40, 56, 56]
    tiny_detector.roi_heads.fg_bg_sampler.batch_size_per_image = 1
    found = {**target([[4, 4, 20, 20]]), "negatives": torch.tensor([negative])}
    proposals, labels = sampled_by_the_box_head(tiny_detector, found)
    assert negative in proposals.tolist()
    assert labels[proposals.tolist().index(negative)] == 0


def test_known_negative_that_is_a_label_stays_a_lesion(tiny_detector: FasterRCNN25D) -> None:
    found = {**target([[4, 4, 20, 20]]), "negatives": torch.tensor([[4.0, 4, 20, 20]])}
    proposals, labels = sampled_by_the_box_head(tiny_detector, found)
    assert set(labels[(proposals == torch.tensor([4.0, 4, 20, 20])).all(dim=1)].tolist()) == {1}


def test_no_negatives_change_nothing(tiny_detector: FasterRCNN25D) -> None:
    tiny_detector.train()
    losses = []
    for extra in ({}, {"negatives": torch.zeros(0, 4)}):
        torch.manual_seed(0)
        losses.append(sum(tiny_detector([slab()], [{**target([[10, 10, 30, 34]]), **extra}]).values()))
    assert losses[0] == losses[1]
