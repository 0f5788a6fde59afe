"""Two-stage Retina U-Net: Faster R-CNN+ on a U-Net-like pyramid that also learns to segment.

Jaeger et al., "Retina U-Net", ML4H 2019, section 3.3 and figure 2d.
"""

from __future__ import annotations

from lesion_app.networks.segmenting_detector import SegmentingDetector
from lesion_app.networks.two_stage import TwoStageND


class TwoStageRetinaUNet(SegmentingDetector, TwoStageND):
    """Two-stage detector with an auxiliary segmentation at full resolution.

    Arguments, I/O and errors: those of ``TwoStageND`` and ``SegmentingDetector``.
    """
