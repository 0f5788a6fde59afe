"""A 3D lesion whose shape was found, too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lesion_app.boxes.tracklet import Tracklet


@dataclass(frozen=True)
class OutlinedTracklet(Tracklet):
    """A lesion with a mask on some or all of its slices.

    Args:
        outlines: slice -> ``(x, y, mask)``: bool ``[h, w]`` whose first pixel is (x, y) of the slice. Empty where the
            detector gives no masks.
        middle: the slice to show, of a lesion whose score is not told slice by slice; None = that of the highest score.

    Raises:
        ValueError: an outline on, or a ``middle`` that is, none of the lesion's slices.
    """

    outlines: dict[int, tuple[int, int, np.ndarray]] = field(default_factory=dict, compare=False)
    middle: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        named = set(self.outlines) if self.middle is None else {*self.outlines, self.middle}
        if named - set(self.slices):
            raise ValueError(f"slice {min(named - set(self.slices))} is named but is none of the lesion's slices")

    @property
    def key_slice(self) -> int:
        """Slice to show."""
        return super().key_slice if self.middle is None else self.middle
