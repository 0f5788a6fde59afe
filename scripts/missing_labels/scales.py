"""How large the study is: data, overlays and config values of the scales."""

from __future__ import annotations

from typing import Any

# CPU: small bodies in thick slices with lesions of 10 mm and more that are 150 HU more conspicuous than real ones, so
# that a small network trains to a flat curve in minutes; few patients, so that labels are what it lacks. missing_rate
# None is the law measured on DeepLesion.
_SMALL: dict[str, Any] = {
    "configs": ["train", "demo", "study_cpu"],
    "missing_rate": None,
    "values": {},
    "complete_share": 0.3,
}
_SMALL_PHANTOM: dict[str, Any] = {
    "size": 256,
    "z_spacings": (5.0,),
    "thickness_mm": (50.0, 60.0),
    "conspicuity_hu": 150.0,
    "smallest_mm": 10.0,
}

SCALES: dict[str, dict[str, Any]] = {
    # Many lesions in a sub-volume, so that the unlabelled ones stand on the slices trained on: 70 % have no label, and
    # hardly any of the small ones has one.
    "cpu": {
        **_SMALL,
        "patients": 400,
        "phantom": {**_SMALL_PHANTOM, "lesions_per_volume": (8, 12), "split": (0.6, 0.125, 0.275)},
        "difference_noise": 0.015,  # measured: its main arms with three seeds, docs/results/missing-labels.md
    },
    # As many lesions in a sub-volume as in DeepLesion's: half of them have no label, 28 % of the smallest have one and
    # 65 % of the largest. Fewer lesions a patient, hence more patients to test on.
    "cpu-counts": {
        **_SMALL,
        "patients": 480,
        "phantom": {**_SMALL_PHANTOM, "lesions_per_volume": None, "split": (0.5, 0.1, 0.4)},
        "values": {"epochs": 20},
        "difference_noise": 0.027,  # measured: its main arms with three seeds, one of which mined anatomy
    },
    "gpu": {
        "configs": ["train", "study_gpu"],
        "patients": 1600,
        "missing_rate": None,
        "phantom": {"split": (0.8, 0.05, 0.15), "lesions_per_volume": (2, 7)},
        "values": {},
        "complete_share": 0.06,
    },
}
