"""Retina U-Net: RetinaNet on a U-Net-like pyramid that also learns to segment.

Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical Object
Detection", ML4H 2019, section 3.2 and figure 1.
"""

from __future__ import annotations

from lesion_app.networks.one_stage import OneStageND
from lesion_app.networks.segmenting_detector import SegmentingDetector


class RetinaUNet(SegmentingDetector, OneStageND):
    """One-stage detector with an auxiliary segmentation at full resolution.

    Arguments, I/O and errors: those of ``OneStageND`` and ``SegmentingDetector``.
    """
