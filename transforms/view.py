"""How one in-plane view of a slice maps to another: scale, then shift."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Map from the original slice's pixels to a view's pixels: ``x_view = x * scale_x + shift_x``.

    Pixel edges, not centres, are mapped (half-open convention), so resampling an image of width W to
    width w with edges kept fixed is exactly ``scale_x = w / W``.

    Args:
        scale_x, scale_y: view pixels per original pixel, > 0.
        shift_x, shift_y: px of the view; a crop that drops n columns on the left has ``shift_x = -n``.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale_x > 0 and self.scale_y > 0):
            raise ValueError(f"a view needs positive scales, got {self.scale_x} and {self.scale_y}")

    def apply(self, boxes: Tensor) -> Tensor:
        """Map boxes ``[N, 4]`` (x1, y1, x2, y2) from the original to this view."""
        scale, shift = self._rows(boxes)
        return boxes * scale + shift

    def invert(self, boxes: Tensor) -> Tensor:
        """Map boxes ``[N, 4]`` from this view back to the original."""
        scale, shift = self._rows(boxes)
        return (boxes - shift) / scale

    def then(self, other: View) -> View:
        """The view reached by this map followed by ``other``."""
        return View(
            self.scale_x * other.scale_x,
            self.scale_y * other.scale_y,
            self.shift_x * other.scale_x + other.shift_x,
            self.shift_y * other.scale_y + other.shift_y,
        )

    def _rows(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.tensor([self.scale_x, self.scale_y] * 2, dtype=boxes.dtype, device=boxes.device)
        shift = torch.tensor([self.shift_x, self.shift_y] * 2, dtype=boxes.dtype, device=boxes.device)
        return scale, shift
