"""RetinaNet on P2 to P5 with a softmax: the one-stage peer of Retina U-Net.

Lin et al., "Focal loss for dense object detection", ICCV 2017, as changed by Jaeger et al., "Retina U-Net", ML4H 2019,
section 3.1. I/O and arguments: ``OneStageND``. Masks of the targets are not looked at.
"""

from __future__ import annotations

from lesion_app.networks.one_stage import OneStageND


class RetinaNet(OneStageND):
    """One-stage detector on an FPN, boxes only; arguments of ``OneStageND``."""
