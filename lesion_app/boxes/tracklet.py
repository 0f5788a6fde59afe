"""A 3D lesion: the chain of its 2D boxes through consecutive slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box2D = tuple[float, float, float, float]
Box3D = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Tracklet:
    """2D boxes of one lesion on the slices it was seen on.

    Args:
        slices: slice indices, strictly increasing (the caller states on which grid).
        boxes: one ``(x1, y1, x2, y2)`` a slice, in px of that grid, half-open edges.
        scores: one detection score a slice, 0..1.
        label: class, 1 = lesion.

    Raises:
        ValueError: when the three are empty, differ in length or the slices do not increase.
    """

    slices: tuple[int, ...]
    boxes: tuple[Box2D, ...]
    scores: tuple[float, ...]
    label: int = 1

    def __post_init__(self) -> None:
        if not self.slices or not len(self.slices) == len(self.boxes) == len(self.scores):
            raise ValueError(
                f"a tracklet needs as many boxes and scores as slices, at least one; got {len(self.slices)} "
                f"slices, {len(self.boxes)} boxes, {len(self.scores)} scores"
            )
        if any(b <= a for a, b in zip(self.slices, self.slices[1:])):
            raise ValueError(f"slices of a tracklet must strictly increase, got {self.slices}")

    @classmethod
    def from_arrays(cls, slices: Sequence[int], boxes: np.ndarray, scores: Sequence[float], label: int = 1) -> Tracklet:
        """Build from array-likes: ``slices`` [N], ``boxes`` [N, 4], ``scores`` [N]; sorts by slice."""
        order = np.argsort(np.asarray(slices), kind="stable")
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        return cls(
            tuple(int(slices[i]) for i in order),
            tuple(tuple(float(v) for v in boxes[i]) for i in order),  # type: ignore[misc]
            tuple(float(scores[i]) for i in order),
            int(label),
        )

    @property
    def score(self) -> float:
        """Score of the lesion: the highest of its slices (Lesion Harvester's evaluation)."""
        return max(self.scores)

    @property
    def key_slice(self) -> int:
        """Slice with the highest score (the first one of equals)."""
        return self.slices[self.scores.index(self.score)]

    @property
    def extent(self) -> Box3D:
        """Smallest ``(x1, y1, z1, x2, y2, z2)`` holding every 2D box; half-open, z2 = last slice + 1."""
        b = np.asarray(self.boxes)
        x1, y1 = b[:, :2].min(axis=0)
        x2, y2 = b[:, 2:].max(axis=0)
        return (float(x1), float(y1), float(self.slices[0]), float(x2), float(y2), float(self.slices[-1] + 1))

    @property
    def score_weighted_box(self) -> Box3D:
        """3D box whose x and y are the 2D boxes' mean weighted by score (LENS, section IV-C)."""
        x1, y1, x2, y2 = np.average(np.asarray(self.boxes), axis=0, weights=np.maximum(self.scores, 1e-12))
        return (float(x1), float(y1), float(self.slices[0]), float(x2), float(y2), float(self.slices[-1] + 1))
