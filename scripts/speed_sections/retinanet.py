"""MONAI's RetinaNet 3D with its sliding window, as its LUNA16 tutorial builds it: the peer in 3D."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet, resnet_fpn_feature_extractor
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.networks.nets import resnet
from speed_sections.subjects import body_volume, settle_norms

OVERLAP = 0.25


def measure(patch: tuple[int, int, int] = (192, 192, 80), size: int = 512, repetitions: int = 2) -> dict[str, Any]:
    """Seconds of one patch, and what the sliding window needs of them for a volume as deep as the patch.

    The tutorial's grid is 0.703125 x 0.703125 x 1.25 mm, so a slice of ours (2 mm) is 1.6 of its slices.
    """
    torch.manual_seed(0)
    detector = retinanet()
    volume = body_volume(patch[2], max(patch[0], 64))[:, : patch[0], : patch[1]].permute(1, 2, 0)
    window = (volume[None, None].clamp(-1024, 300) + 1024) / 1324
    settle_norms(detector.network, window[..., : max(patch[2] // 2, 32)])
    detector.eval()
    seconds = []
    with torch.no_grad():
        for _ in range(repetitions):
            start = time.perf_counter()
            detector([window[0]])  # its boxes included
            seconds.append(time.perf_counter() - start)
    step = [p * (1 - OVERLAP) for p in patch[:2]]
    patches = math.prod(max(math.ceil((size - p) / s) + 1, 1) for p, s in zip(patch, step))
    return {
        "patch": list(patch),
        "seconds_per_patch": min(seconds),
        "patches_per_layer": patches,
        "seconds_per_slice_at_2_mm": min(seconds) * patches / ((1 - OVERLAP) * patch[2] * 1.25 / 2.0),
    }


def retinanet() -> RetinaNetDetector:
    """ResNet-50 FPN of two levels, three anchors, one class."""
    backbone = resnet.ResNet(
        block=resnet.ResNetBottleneck,
        layers=[3, 4, 6, 3],
        block_inplanes=resnet.get_inplanes(),
        n_input_channels=1,
        conv1_t_stride=[2, 2, 1],
        conv1_t_size=[7, 7, 7],
    )
    extractor = resnet_fpn_feature_extractor(
        backbone=backbone,
        spatial_dims=3,
        pretrained_backbone=False,
        trainable_backbone_layers=None,
        returned_layers=[1, 2],
    )
    network = RetinaNet(
        spatial_dims=3, num_classes=1, num_anchors=3, feature_extractor=extractor, size_divisible=[16, 16, 8]
    )
    anchors = AnchorGeneratorWithAnchorShape(
        feature_map_scales=[1, 2, 4], base_anchor_shapes=[[6, 8, 4], [8, 6, 5], [10, 10, 6]]
    )
    return RetinaNetDetector(network=network, anchor_generator=anchors)
