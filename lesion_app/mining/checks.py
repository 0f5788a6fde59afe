"""What a further check of mined boxes looks like to the mean teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from lesion_app.mining.selection import Detections

Predict = Callable[[Sequence[Tensor]], list[Detections]]
"""Slabs ``[S, H, W]`` -> the teacher's detections on them, in px of the slabs."""


class MiningCheck(Protocol):
    """Keeps, drops or recalls boxes after :func:`lesion_app.mining.selection.select_mined`; checks run in a row."""

    def confirm(
        self, items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict
    ) -> list[Detections]:
        """One ``Detections`` an item, in the teacher's view as ``mined`` is."""
        ...
