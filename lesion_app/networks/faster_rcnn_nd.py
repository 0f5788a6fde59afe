"""Faster R-CNN+ in 2D and 3D: Mask R-CNN without its mask loss.

Jaeger et al., "Retina U-Net", ML4H 2019, section 3.3 and figure 2b: Faster R-CNN (Ren et al., 2015) on an FPN, with
RoIAlign (hence the "+"). I/O and arguments: ``TwoStageND``. Masks of the targets are not looked at.
"""

from __future__ import annotations

from lesion_app.networks.two_stage import TwoStageND


class FasterRCNNND(TwoStageND):
    """Two-stage detector on an FPN, boxes only; arguments of ``TwoStageND``."""
