"""What all detectors on a pyramid share: images in, losses or detections out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from lesion_app.networks.detection_targets import check_targets_nd
from lesion_app.networks.pyramid import DETECTION_LEVELS, PyramidBackbone


class PyramidDetector(nn.Module, ABC):
    """Detector with anchors for images and volumes.

    I/O: ``model(images, targets)``, images a list of ``[S, H, W]`` slabs (``backbone.dim`` 2) or ``[C, D, H, W]``
    volumes (3), sizes may differ; targets as in ``check_targets_nd``. Training returns a dict of losses, evaluation a
    list of ``{boxes [N, 4 | 6], scores [N], labels [N]}`` in px or voxels of the image. Images without boxes are
    valid.

    Args:
        backbone: pyramid with the levels 2 to 5.
        num_classes: foreground classes.

    Raises:
        ValueError: the backbone lacks a level.
    """

    def __init__(self, backbone: PyramidBackbone, num_classes: int = 1) -> None:
        super().__init__()
        backbone.require(DETECTION_LEVELS, "a detector with anchors")
        self.backbone = backbone
        self.num_classes = num_classes

    @property
    def num_slices(self) -> int:
        """Channels of an image: in 2D the slices of a slab."""
        return self.backbone.in_channels

    @property
    def finest_level(self) -> int:
        """The finest level of the pyramid that is computed."""
        return 2

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode.

        Raises:
            ValueError: images or, in training, targets the network cannot take.
        """
        if self.training:
            targets = check_targets_nd(images, targets, self.num_classes)
        maps, sizes = self.backbone(images, self.finest_level)
        if not self.training:
            return self.detections(maps, sizes)
        assert targets is not None  # checked above
        return self.losses(maps, targets, sizes)

    @abstractmethod
    def losses(
        self, maps: dict[int, Tensor], targets: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        """Losses of a batch, by name.

        Args:
            maps: of the pyramid, by level.
            targets: of every image.
            sizes: ((D,) H, W) of every image before padding.
        """

    @abstractmethod
    def detections(self, maps: dict[int, Tensor], sizes: Sequence[tuple[int, ...]]) -> list[dict[str, Tensor]]:
        """Boxes of every image of a batch; arguments as in `losses`."""
