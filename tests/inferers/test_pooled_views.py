"""Many looks, nested or not, are one ensemble behind the detector protocol."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lesion_app.inferers.checkpoint_ensemble import CheckpointEnsemble
from lesion_app.inferers.mirrored_views import MirroredViews
from lesion_app.inferers.pooled_views import mirror, restored
from tests.inferers.seeing_networks import BrightestPixel, LeftOnly, spot


def test_nothing_found_is_an_empty_result():
    class Blind(nn.Module):
        def forward(self, images, targets=None):
            return [{"boxes": torch.empty(0, 4), "scores": torch.empty(0), "labels": torch.empty(0).long()}] * len(
                images
            )

    (found,) = MirroredViews(Blind()).eval()([spot(0, 0)])
    assert found["boxes"].shape == (0, 4)
    assert found["labels"].dtype == torch.int64


def test_mirrored_checkpoints_are_one_ensemble_whichever_way_they_are_nested():
    networks = [LeftOnly(0.9), BrightestPixel(0.6), BrightestPixel(0.3)]
    inside = MirroredViews(CheckpointEnsemble(networks)).eval()
    outside = CheckpointEnsemble([MirroredViews(n) for n in networks]).eval()
    assert len(inside.looks()) == len(outside.looks()) == 12
    (a,), (b,) = inside([spot(1, 1)]), outside([spot(1, 1)])
    assert torch.allclose(a["scores"], b["scores"])
    # 10 of 12 looks: two of .9, four of .6, four of .3; each the same pixel, so plain sums
    assert a["scores"].item() == pytest.approx((2 * 0.9 + 4 * 0.6 + 4 * 0.3) / 12)


def test_whole_volumes_are_streamed_only_where_every_network_can(make_tiny_detector):
    able = make_tiny_detector()
    assert hasattr(MirroredViews(able), "slice_features")
    assert hasattr(MirroredViews(able), "detect")
    for model in (MirroredViews(BrightestPixel()), CheckpointEnsemble([able, BrightestPixel()])):
        assert not hasattr(model, "slice_features")
        assert not hasattr(model, "detect")


def test_most_detections_are_bounded_and_the_best_stay():
    class Two(nn.Module):
        def forward(self, images, targets=None):
            boxes = torch.tensor([[0.0, 0, 2, 2], [5.0, 5, 8, 8]])
            return [{"boxes": boxes, "scores": torch.tensor([0.2, 0.9]), "labels": torch.tensor([1, 1])}] * len(images)

    (found,) = MirroredViews(Two(), ("",), max_detections=1).eval()([spot(0, 0)])
    assert found["boxes"].tolist() == [[5, 5, 8, 8]]


def test_training_mode_and_faulty_settings_are_refused():
    with pytest.raises(ValueError, match="inference only"):
        MirroredViews(BrightestPixel())([spot(0, 0)])
    for settings in ({"iou_threshold": 1.0}, {"min_score": -0.1}, {"max_detections": 0}):
        with pytest.raises(ValueError, match="must"):
            MirroredViews(BrightestPixel(), **settings)


def test_restoring_undoes_mirroring_for_random_boxes():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 6, 8, 10, generator=generator)
    low = torch.randint(0, 4, (20, 3), generator=generator).float()
    boxes = torch.cat([low, low + torch.randint(1, 3, (20, 3), generator=generator)], dim=1)
    for axes in ("x", "y", "z", "xyz"):
        turned = restored({"boxes": boxes}, axes, image.shape)["boxes"]
        for before, after in zip(boxes.int().tolist(), turned.int().tolist()):
            x1, y1, z1, x2, y2, z2 = before
            a1, b1, c1, a2, b2, c2 = after
            cut = image[:, z1:z2, y1:y2, x1:x2]
            assert torch.equal(mirror(cut, axes), mirror(image, axes)[:, c1:c2, b1:b2, a1:a2])


def test_streaming_a_volume_through_mirrored_checkpoints_equals_whole_slabs(make_tiny_detector):
    """The project's own detector: every three-slice image encoded once a look, slabs turned for mirrors along z."""
    networks = [make_tiny_detector(seed).eval() for seed in (1, 2)]
    model = MirroredViews(CheckpointEnsemble(networks), ("", "x", "yz"), iou_threshold=0.3, min_score=0.0).eval()
    slab = torch.rand(9, 32, 40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        (whole,) = model([slab])
        features = model.slice_features(slab.reshape(3, 3, 32, 40))
        (streamed,) = model.detect([features], (32, 40))
    assert model.num_slices == 9
    assert features[0].nbytes > 0
    assert len(whole["scores"]) > 0
    assert torch.allclose(whole["scores"], streamed["scores"], atol=1e-5)
    assert torch.allclose(whole["boxes"], streamed["boxes"], atol=1e-3)
