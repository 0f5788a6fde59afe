"""The lesions of many volumes as flat arrays, so that metrics need no loop over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter

import numpy as np

from lesion_app.boxes.tracklet import Tracklet


@dataclass(frozen=True, eq=False)
class FlatTracklets:
    """``D`` tracklets with ``S`` slices altogether; volumes are numbered in the order of the truth.

    Args:
        volume: ``[D]`` int64, the volume of a tracklet.
        scores: ``[D]`` float64, the highest score of its slices.
        starts: ``[D]`` int64, its first row in the arrays below.
        owner: ``[S]`` int64, the tracklet of a row.
        slices: ``[S]`` int64, slice index.
        slice_scores: ``[S]`` float64.
        tracklets: the D tracklets themselves; their boxes are read when they are asked for.
    """

    volume: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    owner: np.ndarray
    slices: np.ndarray
    slice_scores: np.ndarray
    tracklets: Sequence[Tracklet]

    def boxes_at(self, rows: np.ndarray) -> np.ndarray:
        """``[R, 4]`` float64 px, the boxes of some rows.

        Few rows lie on a slice that matters, and turning a million Python numbers into an array takes longer than all
        of the counting.
        """
        owner = self.owner[rows]
        nth = rows - self.starts[owner]
        tracklets = self.tracklets
        found = [tracklets[t].boxes[n] for t, n in zip(owner.tolist(), nth.tolist())]
        return np.array(found, dtype=np.float64).reshape(-1, 4)

    @cached_property
    def boxes(self) -> np.ndarray:
        """``[S, 4]`` float64 px, all of them."""
        coordinates = chain.from_iterable(chain.from_iterable(map(attrgetter("boxes"), self.tracklets)))
        return np.fromiter(coordinates, np.float64, 4 * len(self.slices)).reshape(-1, 4)

    @property
    def first_slice(self) -> np.ndarray:
        """``[D]``"""
        return self.slices[self.starts]

    @property
    def last_slice(self) -> np.ndarray:
        """``[D]``"""
        return self.slices[np.append(self.starts[1:], len(self.slices))[: len(self.starts)] - 1]

    @property
    def score_weighted_boxes(self) -> np.ndarray:
        """``[D, 4]`` each tracklet's mean box weighted by score, as ``Tracklet.score_weighted_box``."""
        if not len(self.starts):
            return np.empty((0, 4))
        weight = np.maximum(self.slice_scores, 1e-12)[:, None]
        return np.add.reduceat(self.boxes * weight, self.starts) / np.add.reduceat(weight, self.starts)


def flatten_tracklets(volumes: Iterable[str], lesions: Mapping[str, Sequence[Tracklet]]) -> FlatTracklets:
    """Flatten ``lesions``; a volume it does not list has none.

    Args:
        volumes: ids of all volumes; their order numbers them.
        lesions: tracklets by volume id.

    Raises:
        ValueError: when ``lesions`` lists a volume that is not among ``volumes``.
    """
    known = dict.fromkeys(volumes)
    check_known_volumes(known, lesions)
    per_volume = [lesions.get(volume, ()) for volume in known]
    tracklets = list(chain.from_iterable(per_volume))
    slices = list(map(attrgetter("slices"), tracklets))
    lengths = np.fromiter(map(len, slices), np.int64, len(tracklets))
    n_rows = int(lengths.sum())
    scores = chain.from_iterable(map(attrgetter("scores"), tracklets))
    slice_scores = np.fromiter(scores, np.float64, n_rows)
    starts = np.cumsum(lengths) - lengths
    return FlatTracklets(
        volume=np.repeat(np.arange(len(per_volume)), [len(found) for found in per_volume]),
        scores=np.maximum.reduceat(slice_scores, starts) if len(starts) else np.empty(0),
        starts=starts,
        owner=np.repeat(np.arange(len(tracklets)), lengths),
        slices=np.fromiter(chain.from_iterable(slices), np.int64, n_rows),
        slice_scores=slice_scores,
        tracklets=tracklets,
    )


def check_known_volumes(known: Iterable[str], found: Iterable[str]) -> None:
    """Raise ``ValueError`` when ``found`` names a volume (or image) that is not ``known``.

    A detection on an unknown volume would silently count as false positives, or not at all.
    """
    strangers = sorted(set(found) - set(known))
    if strangers:
        raise ValueError(
            f"detections on {len(strangers)} volume(s) that the truth does not list, first {strangers[0]!r}; "
            "list every evaluated volume in the truth, also those without lesions"
        )
