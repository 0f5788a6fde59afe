"""The fast copy of the detector finds what the detector finds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from lesion_app.errors import InputError
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from lesion_app.networks.inference_detector import InferenceDetector, composed_fusion, inference_detector
from tests.networks.conftest import make_tiny_detector


def used_detector(norm: str = "batch", num_images: int = 3) -> FasterRCNN25D:
    """A detector whose normalisation has seen something and whose scores differ."""
    network = make_tiny_detector(norm=norm, num_images=num_images)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            module.weight.data.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            module.bias.data.copy_(0.2 * torch.randn(module.num_features, generator=generator))
    network.eval()
    with torch.no_grad():  # a map of unit spread, so that no score saturates and ties decide nothing
        spread = network.backbone(torch.stack(slabs(1, 64, 3 * num_images)).unflatten(1, (num_images, 3)) - 50).std()
        network.backbone.fuse_maps.weight.div_(spread)
        network.roi_heads.box_predictor.cls_score.weight.mul_(10)
        network.rpn.head.cls_logits.weight.mul_(10)
    return network


def slabs(count: int = 2, size: int = 64, slices: int = 9) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(slices, size, size, generator=generator) * 255 for _ in range(count)]


def assert_same(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]], atol: float) -> None:
    assert len(found) == len(expected)
    for own, other in zip(found, expected):
        assert len(own["boxes"]) == len(other["boxes"]) > 5
        nearest = box_iou(other["boxes"], own["boxes"]).argmax(dim=1)
        torch.testing.assert_close(own["boxes"][nearest], other["boxes"], atol=0.05, rtol=0)
        torch.testing.assert_close(own["scores"][nearest], other["scores"], atol=atol, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("num_images", [1, 3])
def test_float32_copy_finds_the_same_boxes(norm: str, num_images: int) -> None:
    network = used_detector(norm, num_images)
    given = slabs(slices=3 * num_images)
    with torch.no_grad():
        expected = network(given)
    assert_same(inference_detector(network, "float32")(given), expected, atol=1e-5)


def test_slabs_of_any_size_are_padded_as_in_the_detector() -> None:
    network = used_detector()
    given = [slabs(1, 50)[0][:, :, :41], slabs(1, 64)[0]]
    with torch.no_grad():
        expected = network(given)
    assert_same(inference_detector(network, "float32")(given), expected, atol=1e-5)


def test_streamed_images_give_the_detections_of_whole_slabs() -> None:
    fast = inference_detector(used_detector(), "float32")
    assert isinstance(fast, InferenceDetector)
    given = slabs()
    images = torch.cat([s.unflatten(0, (3, 3)) for s in given])
    features = fast.slice_features(images)
    assert_same(fast.detect([features[:3], features[3:]], (64, 64)), fast(given), atol=1e-6)
    assert features[0].side_deep is not None
    assert features[1].side_deep is None  # the centre is fused, not a side


def test_bfloat16_map_stays_close() -> None:
    network = used_detector()
    images = torch.cat([s.unflatten(0, (3, 3)) for s in slabs()])
    exact, low = (InferenceDetector(copy.deepcopy(network), dtype) for dtype in (torch.float32, torch.bfloat16))
    maps = [fast._fuse([fast.slice_features(images)[:3]]).float() for fast in (exact, low)]
    assert ((maps[0] - maps[1]).norm() / maps[0].norm()) < 0.03
    scores = torch.cat([d["scores"] for d in low(slabs())])
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_composed_fusion_is_the_pyramid_and_the_fusion() -> None:
    backbone = used_detector().backbone
    fuse4, fuse8, fuse16 = composed_fusion(backbone)
    generator = torch.Generator().manual_seed(3)
    widths = [layer.in_channels for layer in (backbone.lateral2, backbone.lateral3, backbone.lateral4)]
    maps = [torch.randn(3, c, s, s, generator=generator) for c, s in zip(widths, (16, 8, 4))]

    def up(x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")

    with torch.no_grad():
        pyramid = up(up(backbone.lateral4(maps[2])) + backbone.lateral3(maps[1])) + backbone.lateral2(maps[0])
        expected = backbone.fuse_maps(pyramid.flatten(0, 1)[None])
        joined = [m.flatten(0, 1)[None] for m in maps]
        found = up(up(fuse16(joined[2])) + fuse8(joined[1])) + fuse4(joined[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_original_is_left_alone_and_can_be_trained_on() -> None:
    network = used_detector()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inference_detector(network, "bfloat16")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())


def test_copy_cannot_be_trained() -> None:
    fast = inference_detector(used_detector(), "float32")
    with pytest.raises(ValueError, match="inference only"):
        fast.train()
    assert not fast.eval().training


def test_detector_of_another_kind_is_returned_as_it_is() -> None:
    other = nn.Conv2d(1, 1, 1)
    assert inference_detector(other) is other
    assert not other.training


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="float32"):
        inference_detector(used_detector(), "half")  # type: ignore[arg-type]
