"""A detector small enough for unit tests."""

from __future__ import annotations

import pytest
import torch

from lesion_app.networks.densenet_25d import DenseNet25D
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D


def make_tiny_detector(seed: int = 0, norm: str = "batch", num_images: int = 3) -> FasterRCNN25D:
    torch.manual_seed(seed)
    backbone = DenseNet25D(
        num_images=num_images,
        growth_rate=4,
        block_config=(1, 2, 2),
        num_init_features=8,
        bn_size=2,
        out_channels=16,
        norm=norm,  # type: ignore[arg-type]
    )
    return FasterRCNN25D(
        backbone,
        anchor_sizes=(8, 16, 32),
        rpn_min_size=2,
        rpn_pre_nms_train=200,
        rpn_pre_nms_test=200,
        rpn_post_nms_train=50,
        rpn_post_nms_test=50,
        box_head_channels=32,
        box_score_threshold=0.0,
    )


@pytest.fixture
def tiny_detector() -> FasterRCNN25D:
    return make_tiny_detector()
