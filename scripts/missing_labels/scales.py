"""How large the study is: data and overlays of the two scales."""

from __future__ import annotations

from typing import Any

# CPU: small bodies in thick slices with lesions of 10 mm and more that are 150 HU more conspicuous than real ones, so
# that a small network trains to a flat curve in minutes; few patients, so that labels are what it lacks; many lesions
# in a sub-volume, so that the unlabelled ones stand on the slices trained on. missing_rate None is the law measured on
# DeepLesion: in sub-volumes with so many lesions it leaves 70 % of them without a label (55 % over all of
# DeepLesion's).
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {
        "configs": ["train", "demo", "study_cpu"],
        "patients": 400,
        "missing_rate": None,
        "phantom": {
            "size": 256,
            "z_spacings": (5.0,),
            "thickness_mm": (50.0, 60.0),
            "lesions_per_volume": (8, 12),
            "conspicuity_hu": 150.0,
            "smallest_mm": 10.0,
            "split": (0.6, 0.125, 0.275),
        },
        "num_slices": 3,
        "sizes_px": [12, 24],
        "warmup": 100,
        "decay_at": 1200,
        "complete_share": 0.3,
    },
    "gpu": {
        "configs": ["train", "study_gpu"],
        "patients": 1600,
        "missing_rate": None,
        "phantom": {"split": (0.8, 0.05, 0.15), "lesions_per_volume": (2, 7)},
        "num_slices": 9,
        "sizes_px": [12, 38],
        "warmup": 500,
        "decay_at": 8000,
        "complete_share": 0.06,
    },
}
