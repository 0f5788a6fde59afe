"""How large the benchmark is: data, budget and the sizes of the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scale:
    """One scale.

    Args:
        patients: of the phantom.
        phantom: arguments of `write_phantom`.
        shared: config values of every row: the budget and the data.
        families: config values of a family's rows.
        base: by family, overlays between ``train`` and ``typed_detection``.
        adam_rate, sgd_rate: learning rates; the paper's are 1e-4 and 2e-5.
        coarser: pixels are this many times the paper's.
        lowest_score: detectors report boxes from this score on.
        coco: COCO's weights are what pretrained rows start from; else those of a run on the untyped rows.
    """

    patients: int
    phantom: Mapping[str, Any]
    shared: Mapping[str, Any]
    families: Mapping[str, Mapping[str, Any]]
    base: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adam_rate: float = 1e-4
    sgd_rate: float = 2e-5
    coarser: float = 1.0
    lowest_score: float = 0.05
    coco: bool = True


# Small bodies, thick slices and lesions 150 HU more conspicuous than real ones, so that small networks learn within
# minutes; every lesion is labelled on its key slice, since detectors are compared here, not ways with missing labels. A
# fifth of the patients keeps untyped labels, for the stand-in of COCO's weights.
_CPU_PHANTOM: dict[str, Any] = {
    "size": 256,
    "z_spacings": (5.0,),
    "thickness_mm": (40.0, 50.0),
    "lesions_per_volume": (4, 8),
    "conspicuity_hu": 150.0,
    "missing_rate": 0.0,
    "split": (0.2, 0.4, 0.4),
}
_CPU_SHARED: dict[str, Any] = {
    "epochs": 10,
    "epoch_length": 50,
    "val_interval": 2,
    "batch_size": 8,
    "num_workers": 0,
    "val_num_workers": 0,
    "cache": "memory",
    "pretrained": False,
    "pixel_spacing_mm": 1.5,
    "max_size_px": 256,
    "hu_min": -250,
    "hu_max": 450,
    "training_images_measured": 100,
    "history_every": 10,
    "print_every": 50,
    "use_mlflow": False,
}
ADAM = {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": "@learning_rate"}
_CPU_FAMILIES: dict[str, dict[str, Any]] = {
    "faster_rcnn": {
        "network_def#backbone": "resnet18",
        "network_def#norm_eps": 1e-5,
        "network_def#min_size": 160,
        "network_def#max_size": 256,
        "network_def#anchor_sizes": [10, 20, 40, 80, 160],
        "network_def#fpn_channels": 64,
        "network_def#box_head_channels": 256,
        "network_def#rpn_pre_nms_train": 300,
        "network_def#rpn_post_nms_train": 200,
        "network_def#rpn_pre_nms_test": 300,
        "network_def#rpn_post_nms_test": 150,
        "network_def#box_samples_per_image": 64,
        "rotated_padding_px": 25,
        "rotated_max_crop_px": 32,
        "rotated_size_px": [128, 128],
    },
    # Adam, since a few hundred steps of Darknet's SGD move nothing; running statistics that follow as fast as that.
    "yolov4": {
        "learning_rate": 0.001,
        "lr_warmup_iterations": 50,
        "lr_decay_iterations": [400, 450],
        "optimizer": ADAM,
        "network_def#width": 0.25,
        "network_def#depth": 0.25,
        "network_def#norm_momentum": 0.1,
    },
    "ours": {
        "learning_rate": 0.001,
        "network_def#box_score_threshold": 0.05,
        "slice_interval_mm": 5.0,
    },
    "retina_unet": {
        "learning_rate": 0.001,
        "slice_interval_mm": 5.0,
        "encoder_depth": 18,
        "encoder_width": 16,
        "pyramid_width": 32,
        "anchor_sizes": [6, 12, 24, 48],
        "head_channels": 64,
    },
    "lens": {
        "learning_rate": 0.001,
        "slice_interval_mm": 5.0,
        "network_def#backbone#growth_rate": 12,
        "network_def#backbone#block_config": [2, 4, 4],
        "network_def#backbone#num_init_features": 24,
        "network_def#backbone#out_channels": 64,
        "network_def#proposal_network#channels": 64,
        "network_def#proposal_network#pre_nms_train": 1000,
        "network_def#proposal_network#pre_nms_test": 500,
        "network_def#proposal_network#post_nms_train": 300,
        "network_def#proposal_network#post_nms_test": 150,
        "network_def#proposal_network#min_size": 4.0,
        "network_def#proposals_train": 300,
        "network_def#proposals_test": 150,
        "network_def#box_head_channels": 256,
        "network_def#box_score_threshold": 0.05,
    },
    "other": {},
}

SCALES: dict[str, Scale] = {
    "cpu": Scale(
        patients=220,
        phantom=_CPU_PHANTOM,
        shared=_CPU_SHARED,
        families=_CPU_FAMILIES,
        base={"ours": ("demo",)},
        adam_rate=1e-3,
        sgd_rate=2e-4,
        coarser=2.0,
        coco=False,
    ),
    "smoke": Scale(
        patients=12,
        phantom={**_CPU_PHANTOM, "size": 128, "thickness_mm": (30.0, 35.0)},
        shared={
            **_CPU_SHARED,
            "epochs": 2,
            "epoch_length": 2,
            "val_interval": 1,
            "batch_size": 2,
            "training_images_measured": 4,
            "pixel_spacing_mm": 2.0,
        },
        families={**_CPU_FAMILIES, "faster_rcnn": {**_CPU_FAMILIES["faster_rcnn"], "network_def#min_size": 96}},
        base={"ours": ("demo",)},
        adam_rate=1e-3,
        sgd_rate=2e-4,
        coarser=2.0,
        coco=False,
    ),
    "gpu": Scale(
        patients=3000,
        phantom={"missing_rate": 0.0, "split": (0.2, 0.4, 0.4)},
        shared={
            "epochs": 20,
            "epoch_length": 500,
            "val_interval": 2,
            "batch_size": 16,
            "cache": "memory",
            "history_every": 50,
            "print_every": 100,
            "use_mlflow": False,
            "amp": True,
        },
        families={
            "faster_rcnn": {},
            # Darknet's steps at 80 and 90 % of the training
            "yolov4": {"learning_rate": 0.001, "lr_decay_iterations": [8000, 9000]},
            "ours": {"pretrained": False, "network_def#box_score_threshold": 0.05},
            "retina_unet": {},
            "lens": {"pretrained": False, "network_def#box_score_threshold": 0.05},
            "other": {},
        },
    ),
    # The paper's own budgets, which differ: 110 epochs of 420 batches of 32, and 16,000 batches of 64.
    "paper": Scale(
        patients=3000,
        phantom={"missing_rate": 0.0, "split": (0.2, 0.4, 0.4)},
        shared={"epochs": 110, "epoch_length": 420, "use_mlflow": False},
        families={
            "faster_rcnn": {},
            "yolov4": {"epochs": 16, "epoch_length": 1000},
            "ours": {"network_def#box_score_threshold": 0.05},
            "retina_unet": {},
            "lens": {"network_def#box_score_threshold": 0.05},
            "other": {},
        },
    ),
}
