"""How large the study is, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lesion_app.labeling.review_queue import Order


@dataclass(frozen=True)
class Arm:
    """One curve: in which ``order`` the reader looks; None = he looks at nothing, and the training goes on alike."""

    title: str
    order: Order | None


ARMS: dict[str, Arm] = {
    "volumes": Arm("volume with most expected lesions first (ours)", "volumes"),
    "random": Arm("random order", "random"),
    "score": Arm("highest score first", "score"),
    "nobody": Arm("nobody looks, training goes on", None),
}
START = "start"

# The phantom of study_missing_labels.py's CPU scale: few patients with many lesions each, 70 % of them without a label
# by the law measured on DeepLesion, so that labels are what the network lacks. queue_score: all that the first model
# finds of the hidden lesions with half of its finds being right (docs/results/missing-labels.md). About 500 finds wait
# then: three rounds of 80 boxes are half of them, where orders differ most; with 40 they differ by less than runs.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "configs": ["train", "demo", "study_cpu"],
        "patients": 260,
        "missing_rate": None,
        "phantom": {
            "size": 256,
            "z_spacings": (5.0,),
            "thickness_mm": (50.0, 60.0),
            "lesions_per_volume": (6, 10),
            "conspicuity_hu": 250.0,
            "split": (0.54, 0.09, 0.37),
        },
        "rounds": 3,
        "boxes": 80,
        "queue_score": 0.1,
        "start": {"mine": False, "epochs": 14, "val_interval": 7},
        "round": {"mine": False, "epochs": 4, "val_interval": 4, "learning_rate": 0.0005},
    },
    "gpu": {
        "configs": ["train", "study_gpu"],
        "patients": 1600,
        "missing_rate": None,
        "phantom": {"split": (0.8, 0.05, 0.15), "lesions_per_volume": (2, 7)},
        "rounds": 5,
        "boxes": 100,
        "queue_score": 0.1,
        "start": {},
        "round": {"epochs": 4, "val_interval": 4},
    },
}
