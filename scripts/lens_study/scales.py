"""How large the study is: phantom collections, overlays and the second opinion's size at the scales."""

from __future__ import annotations

from typing import Any

_THIN = {
    "size": 256,
    "z_spacings": (5.0,),
    "thickness_mm": (50.0, 60.0),
    "lesions_per_volume": (5, 9),
    "conspicuity_hu": 150.0,
}
# A patch of 60 x 60 x 40 mm and a quarter of ResNet-18's width: seconds instead of minutes an epoch on a CPU.
_SMALL_OPINION = {
    "fpr_patch#num_slices": 8,
    "fpr_patch#interval_mm": 5.0,
    "fpr_patch#size_px": 48,
    "fpr_patch#pixel_mm": 1.25,
    "fpr_network_def#hu_min": -250,
    "fpr_network_def#hu_max": 450,
    "fpr_network_def#width": 16,
    "fpr_network_def#pretrained": False,
}

SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "training": ["train", "demo", "lens_train", "lens_demo", "lens_study_cpu"],
        "inference": ["demo_inference", "lens_inference", "lens_demo", "lens_study_cpu"],
        "patients": {"deeplesion": 130, "luna16": 32, "lits": 32, "nih-ln": 32},
        "split": (0.54, 0.08, 0.38),
        "phantom": _THIN,
        # The real sets are scans of a whole chest or abdomen, not sub-volumes around a lesion.
        "single_type_phantom": {"thickness_mm": (110.0, 130.0)},
        "embedding": {
            "embedding_iterations": 300,
            "embedding_crop#interval_mm": 5.0,
            "num_workers": 0,
        },
        "second_opinion": {
            **_SMALL_OPINION,
            # Three hundred true positives make 35 iterations an epoch, and nearly all false ones score below 0.1:
            # with the paper's six epochs of them the classifier learns little and nothing of the strong ones.
            "fpr_epochs": 16,
            "fpr_lr_milestones": [6, 12],
            "fpr_learning_rate": 0.001,
            "fpr_min_candidate_score": 0.1,
            "num_workers": 0,
        },
        "online": {"ema_decay": 0.995, "mining_start_iteration": 300},
        # A small network's finds below 0.3 are nearly all wrong, and one in twenty of thousands is many.
        "mining": {"min_score": 0.3, "delta_false_share": 0.02},
    },
    "gpu": {
        "training": ["train", "lens_train"],
        "inference": ["lens_inference"],
        "patients": {"deeplesion": 800, "luna16": 200, "lits": 130, "nih-ln": 170},
        "split": (0.7, 0.06, 0.24),
        "phantom": {},
        "embedding": {},
        "second_opinion": {"fpr_pretrained": False},
        "online": {},
        "mining": {"delta_false_share": 0.02},
    },
    "tiny": {
        "training": ["train", "demo", "lens_train", "lens_demo", "lens_study_cpu"],
        "inference": ["demo_inference", "lens_inference", "lens_demo", "lens_study_cpu"],
        "patients": {"deeplesion": 12, "luna16": 3, "lits": 3, "nih-ln": 4},
        "split": (0.4, 0.2, 0.4),
        "phantom": {**_THIN, "size": 160},
        "shared": {"epochs": 2, "epoch_length": 6, "val_interval": 1, "max_size_px": 160, "lr_milestones": [1]},
        "embedding": {"embedding_iterations": 4, "embedding_batch_size": 8, "num_workers": 0},
        "second_opinion": {
            **_SMALL_OPINION,
            "fpr_network_def#width": 8,
            "fpr_epochs": 1,
            "fpr_lr_milestones": [1],
            "fpr_epoch_length": 2,
            "fpr_min_candidate_score": 0.0,
            "num_workers": 0,
        },
        "online": {"ema_decay": 0.9, "mining_start_iteration": 2},
        "mining": {"delta_false_share": 0.02},
    },
}
