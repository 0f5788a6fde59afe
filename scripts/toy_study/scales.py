"""How large the study is: images, numbers of training images and schedule."""

from __future__ import annotations

from typing import Any

_ENCODER = {
    "encoder_depth": 18,
    "encoder_width": 12,
    "network_def#backbone#norm": "instance",
    "pyramid_width": 24,
}
_ONE_STAGE = {**_ENCODER, "head_channels": 32, "network_def#head_layers": 2, "pre_nms": 200}
_TWO_STAGE = {
    **_ENCODER,
    "network_def#head_channels": 64,
    "rpn_channels": 32,
    "rpn_pre_nms": 200,
    "rpn_post_nms_train": 50,
    "rpn_post_nms_test": 50,
}
_SMALL_NETWORKS = {
    "retina_unet": _ONE_STAGE,
    "retina_net": _ONE_STAGE,
    "two_stage": _TWO_STAGE,
    "faster_rcnn": _TWO_STAGE,
    "mask_rcnn": _TWO_STAGE,
    "unet": _ENCODER,
}
# cpu: a quarter of the paper's image side, objects as large as the program draws them and never cut (with so small an
# image half of them would be), small networks, few iterations: 54 runs a seed in about 40 minutes on two cores.
# Contrast, hole and the difference of task 3 are larger than published, since 400 batches of 8 do not tell the
# published classes apart; from 100 images on nearly all detectors are then right, so the question lies below.
# gpu: the paper's images; the schedule of the published program's last version (24 epochs of 100 batches of 20), of
# its paper's version five epochs in six would be spent on a flat curve.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "images": [30, 50, 100],
        "validation": 40,
        "test": 200,
        "toy": {"size": 80, "margin_px": 20, "contrast": 0.5, "hole_px": 6, "scale_px": (17, 20)},
        "values": {
            "epochs": 10,
            "epoch_length": 40,
            "val_interval": 1,
            "batch_size": 8,
            "learning_rate": 0.001,
            "kept_checkpoints": 2,
            "num_workers": 0,
            "val_num_workers": 0,
            "print_every": 40,
            "history_every": 40,
            "use_mlflow": False,
        },
        "network": _SMALL_NETWORKS,
    },
    "gpu": {
        "images": [50, 100, 200, 500, 1000],
        "validation": 500,
        "test": 1000,
        "toy": {},
        "values": {
            "epochs": 24,
            "epoch_length": 100,
            "val_interval": 1,
            "batch_size": 20,
            "num_workers": 4,
            "val_num_workers": 2,
            "cache": "memory",
            "print_every": 100,
            "history_every": 100,
            "use_mlflow": False,
        },
        "network": {},
    },
    "tiny": {
        "images": [2, 4],
        "validation": 2,
        "test": 4,
        "toy": {"size": 64, "margin_px": 20, "contrast": 0.3},
        "values": {
            "epochs": 1,
            "epoch_length": 2,
            "batch_size": 2,
            "kept_checkpoints": 1,
            "num_workers": 0,
            "val_num_workers": 0,
            "use_mlflow": False,
            "mirrors": ["", "x"],
            "resamples": 20,
        },
        "network": _SMALL_NETWORKS,
    },
}
"""``values`` are config values of toy.json and toy_evaluate.json, ``network`` those of each detector."""
