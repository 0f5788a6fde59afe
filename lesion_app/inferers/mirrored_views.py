"""Test-time mirroring for any detector, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lesion_app.inferers.pooled_views import Look, PooledViews, looks_of

FOUR_MIRRORS = ("", "x", "y", "xy")
"""The views of Jaeger et al.: the image, and mirrored left-right, up-down and both."""


class MirroredViews(PooledViews):
    """A detector that looks at every image as it is and mirrored, and merges what it found.

    Jaeger et al., "Retina U-Net", 2019, section 4.3: test-time mirroring, consolidated by weighted box clustering.
    Obeys the detector protocol in evaluation, so it stands wherever its network could: ``[S, H, W]`` slabs with boxes
    ``[N, 4]``, volumes with boxes ``[N, 6]`` (x1, y1, z1, x2, y2, z2), with masks or without.

    Args:
        network: detector, or an ensemble of them.
        mirrors: the axes mirrored in each view; ``"z"`` in a 2.5D slab turns the order of its slices.
        iou_threshold, min_score, max_detections: see `PooledViews`.

    Raises:
        ValueError: no view, one view twice, or an axis other than x, y and z.
    """

    def __init__(
        self,
        network: nn.Module,
        mirrors: Sequence[str] = FOUR_MIRRORS,
        iou_threshold: float = 1e-5,
        min_score: float = 0.01,
        max_detections: int | None = None,
    ) -> None:
        super().__init__(iou_threshold, min_score, max_detections)
        axes = ["".join(sorted(view)) for view in mirrors]
        if not axes or len(set(axes)) < len(axes) or any(set(a) - set("xyz") or len(set(a)) < len(a) for a in axes):
            raise ValueError(f'mirrors must be different views such as "", "x", "xy", got {list(mirrors)}')
        self.network = network
        self.mirrors = tuple(axes)

    def looks(self) -> list[Look]:
        """Every view of every look of the network; mirroring twice along an axis is not mirroring."""
        return [
            Look(look.network, "".join(sorted(set(axes) ^ set(look.mirrored))))
            for axes in self.mirrors
            for look in looks_of(self.network)
        ]
