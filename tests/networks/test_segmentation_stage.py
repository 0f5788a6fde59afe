from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from lesion_app.networks.segmentation_stage import UNKNOWN, SegmentationStage, truth_map
from tests.networks.tiny_retina import SIZES, filled, make_tiny, target

A, B = [10.0, 12.0, 34.0, 36.0], [40.0, 4.0, 50.0, 20.0]


def stage(**settings) -> SegmentationStage:
    return SegmentationStage(make_tiny("retina_unet").backbone, 2, **settings)


def published_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """(1 - mean over the classes of the batch's soft Dice + cross entropy) / 2 over the pixels that are known."""
    pixels = [(i, y, x) for i, y, x in (truth != UNKNOWN).nonzero().tolist()]
    u = torch.stack([logits[i, :, y, x] for i, y, x in pixels]).softmax(dim=1)
    v = torch.nn.functional.one_hot(torch.tensor([int(truth[p]) for p in pixels]), logits.shape[1]).float()
    dice = (2 * (u * v).sum(dim=0) / (u.sum(dim=0) + v.sum(dim=0)))[1:].mean()
    return (1 - dice - (v * u.log()).sum(dim=1).mean()) / 2


def test_loss_is_the_published_one() -> None:
    logits = torch.randn(2, 3, *SIZES[2], generator=torch.Generator().manual_seed(0))
    targets = [target(2, [A, B], [1, 2], masks=filled(2, [A])), target(2, [B], [2], masks=filled(2, [B]))]
    truth = torch.stack([truth_map(one, SIZES[2]) for one in targets])
    loss = stage().loss(logits, targets, [SIZES[2]] * 2)
    torch.testing.assert_close(loss, published_loss(logits, truth), atol=1e-4, rtol=1e-4)


def test_pixels_of_a_box_without_mask_are_unknown() -> None:
    truth = truth_map(target(2, [A, B], [2, 1], masks=filled(2, [A])), SIZES[2])
    assert (truth[12:36, 10:34] == 2).all()
    assert (truth[4:20, 40:50] == UNKNOWN).all()
    assert int((truth == 0).sum()) == 48 * 64 - 24 * 24 - 16 * 10


def test_mask_within_a_box_without_one_is_known() -> None:
    inner = [12.0, 14.0, 20.0, 22.0]
    truth = truth_map(target(2, [inner, A], [1, 1], masks=filled(2, [inner])), SIZES[2])
    assert (truth[14:22, 12:20] == 1).all()
    assert truth[13, 13] == UNKNOWN


def test_empty_mask_is_no_mask() -> None:
    truth = truth_map(target(2, [A], masks=torch.zeros(1, *SIZES[2], dtype=torch.bool)), SIZES[2])
    assert (truth[12:36, 10:34] == UNKNOWN).all()


def test_of_overlapping_masks_the_later_has_the_pixel() -> None:
    truth = truth_map(target(2, [A, A], [1, 2], masks=filled(2, [A, A])), SIZES[2])
    assert (truth[12:36, 10:34] == 2).all()


def test_foreground_only_where_classes_are_not_told_apart() -> None:
    truth = truth_map(target(2, [A], [2], masks=filled(2, [A])), SIZES[2], class_specific=False)
    assert truth.max() == 1


def test_pixels_that_a_half_open_box_touches_are_unknown() -> None:
    truth = truth_map(target(2, [[10.5, 12.0, 12.0, 12.5]]), SIZES[2])
    assert (truth == UNKNOWN).nonzero().tolist() == [[12, 10], [12, 11]]


@pytest.mark.parametrize("unknown", [{"boxes": [A, B]}, {"boxes": [A], "ignore": [B]}])
def test_mined_box_and_ignored_region_give_no_gradient(unknown: dict) -> None:
    """A box mined by a teacher stands behind the labelled ones and has no mask."""
    given = target(2, unknown["boxes"], masks=filled(2, [A]), **{k: v for k, v in unknown.items() if k == "ignore"})
    logits = torch.randn(1, 3, *SIZES[2], requires_grad=True)
    stage().loss(logits, [given], [SIZES[2]]).backward()
    assert not logits.grad[0, :, 4:20, 40:50].any()
    outside = logits.grad[0].clone()
    outside[:, 4:20, 40:50] = 1
    assert outside.any(dim=0).all()


def test_what_is_mined_does_not_change_the_loss_elsewhere() -> None:
    """However wrong the network is within the mined box."""
    logits = torch.randn(1, 3, *SIZES[2])
    changed = logits.clone()
    changed[:, :, 4:20, 40:50] = torch.randn(1, 3, 16, 10) * 20
    given = [target(2, [A, B], masks=filled(2, [A]))]
    torch.testing.assert_close(stage().loss(logits, given, [SIZES[2]]), stage().loss(changed, given, [SIZES[2]]))


def test_padding_takes_no_part() -> None:
    logits = torch.randn(1, 3, 64, 64, requires_grad=True)
    stage().loss(logits, [target(2, [A], masks=filled(2, [A]))], [SIZES[2]]).backward()
    assert not logits.grad[0, :, 48:].any()


def test_long_way_without_masks_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    one = stage()
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            one.loss(torch.zeros(1, 3, *SIZES[2]), [target(2, [B] * 60)], [SIZES[2]])
    assert [r.message for r in caplog.records if "had a mask" in r.message] == [
        "none of 120 boxes had a mask, so the segmentation learns background only; add the config "
        "outlined_labels.json, or masks"
    ]


def test_wrong_number_of_class_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 class_weights"):
        stage(class_weights=[1.0, 2.0])
