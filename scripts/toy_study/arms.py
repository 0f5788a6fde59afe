"""What is compared: the detectors of Retina U-Net's Figure 5, and what the paper says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Detector:
    """One curve.

    Args:
        title: in table and figure, the paper's name.
        config: overlay in ``bundle/configs``.
        stages: 1 or 2.
        segmentation: trained on whole-image masks beside the boxes (Mask R-CNN's are cut to boxes).
        values: config values in which the toy experiments differ from the detector's overlay.
    """

    title: str
    config: str
    stages: int
    segmentation: bool
    values: Mapping[str, Any]


# Of the published program's toy configuration: two training anchors (or RoIs) an image, three candidates a class of the
# U-Net.
_ONE_STAGE = {"network_def#anchors_per_image": 2}
_TWO_STAGE = {"network_def#rpn_anchors_per_image": 2, "network_def#rois_per_image": 2}

DETECTORS: dict[str, Detector] = {
    "retina_unet": Detector("Retina U-Net", "retina_unet", 1, True, _ONE_STAGE),
    "retina_net": Detector("RetinaNet", "retina_net", 1, False, _ONE_STAGE),
    "two_stage": Detector("two-stage Retina U-Net", "two_stage_retina_unet", 2, True, _TWO_STAGE),
    "faster_rcnn": Detector("Faster R-CNN+", "faster_rcnn_plus", 2, False, _TWO_STAGE),
    "mask_rcnn": Detector("Mask R-CNN", "mask_rcnn", 2, False, _TWO_STAGE),
    "unet": Detector("U-Net + heuristic", "unet_heuristic", 1, True, {"network_def#candidates_per_class": 3}),
}

Weights = dict[str, float]


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper (section 5.2) as the sign of a contrast between curves.

    The contrast is the weighted sum of the detectors' mAP, averaged over the numbers of training images
    (``where = "all"``), or what it is at the smallest number less what it is at the largest (``"smallest - largest"``).

    Args:
        text: what is claimed.
        weights: of the detectors in the contrast.
        where: see above.
        sign: +1: the contrast is greater than 0; 0: it is not.
    """

    text: str
    weights: Weights
    where: str = "all"
    sign: int = 1


# Each with its twin without segmentation: the same heads and losses but for the decoder's top and the auxiliary loss.
_GAIN: Weights = {"retina_unet": 0.5, "two_stage": 0.5, "retina_net": -0.5, "faster_rcnn": -0.5}
_ONE_STAGE_GAIN: Weights = {"retina_unet": 1.0, "retina_net": -1.0}
_TWO_STAGE_GAIN: Weights = {"two_stage": 1.0, "faster_rcnn": -1.0}
_MASKS: Weights = {"mask_rcnn": 1.0, "faster_rcnn": -1.0}
GAINS: dict[str, Weights] = {
    "Retina U-Net less RetinaNet": _ONE_STAGE_GAIN,
    "two-stage Retina U-Net less Faster R-CNN+": _TWO_STAGE_GAIN,
    "Mask R-CNN less Faster R-CNN+": _MASKS,
}
"""What a mask brings: contrasts shown at every number of images."""


def _lead(detector: str) -> list[Claim]:
    return [
        Claim(f"{DETECTORS[detector].title} is better than {DETECTORS[other].title}", {detector: 1.0, other: -1.0})
        for other in ("retina_net", "faster_rcnn", "mask_rcnn", "unet")
    ]


def _with_discriminative_masks() -> list[Claim]:
    return [
        Claim("segmentation helps (one-stage)", _ONE_STAGE_GAIN),
        Claim("segmentation helps (two-stage)", _TWO_STAGE_GAIN),
        Claim("the gap grows as images get fewer", _GAIN, "smallest - largest"),
        *_lead("retina_unet"),
        *_lead("two_stage"),
        Claim("Mask R-CNN's masks bring nothing over Faster R-CNN+", _MASKS, sign=0),
    ]


CLAIMS: dict[str, Sequence[Claim]] = {
    "shapes": _with_discriminative_masks(),
    "patterns": _with_discriminative_masks(),
    "scales": [
        Claim("segmentation brings nothing (one-stage)", _ONE_STAGE_GAIN, sign=0),
        Claim("segmentation brings nothing (two-stage)", _TWO_STAGE_GAIN, sign=0),
        Claim(
            "two-stage detectors are better",
            {"faster_rcnn": 0.5, "two_stage": 0.5, "retina_net": -0.5, "retina_unet": -0.5},
        ),
    ],
}
TASKS: dict[str, str] = {
    "shapes": "task 1: shapes",
    "patterns": "task 2: patterns",
    "scales": "task 3: scales",
}
