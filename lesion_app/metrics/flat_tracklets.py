"""The lesions of many volumes as flat arrays, so that metrics need no loop over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

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
        boxes: ``[S, 4]`` float64 px.
        slice_scores: ``[S]`` float64.
    """

    volume: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    owner: np.ndarray
    slices: np.ndarray
    boxes: np.ndarray
    slice_scores: np.ndarray

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
    lengths = np.fromiter((len(t.slices) for t in tracklets), np.int64, len(tracklets))
    n_rows = int(lengths.sum())
    slice_scores = np.fromiter(chain.from_iterable(t.scores for t in tracklets), np.float64, n_rows)
    starts = np.cumsum(lengths) - lengths
    coordinates = chain.from_iterable(chain.from_iterable(t.boxes for t in tracklets))
    return FlatTracklets(
        volume=np.repeat(np.arange(len(per_volume)), [len(found) for found in per_volume]),
        scores=np.maximum.reduceat(slice_scores, starts) if len(starts) else np.empty(0),
        starts=starts,
        owner=np.repeat(np.arange(len(tracklets)), lengths),
        slices=np.fromiter(chain.from_iterable(t.slices for t in tracklets), np.int64, n_rows),
        boxes=np.fromiter(coordinates, np.float64, 4 * n_rows).reshape(-1, 4),
        slice_scores=slice_scores,
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
