"""Which of a detector's finds teach false-positive reduction what is a lesion, and which what is none.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, sections IV-D and VI-B: theta = 0.5, theta_FP = 0.3, two false positives for each true one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from lesion_app.boxes.overlap import box_iobb
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.fp_candidates import FALSE_POSITIVE, NEITHER, TRUE_POSITIVE
from lesion_app.data.seeded_sampling import Draw
from lesion_app.mining.cross_slice import key_slice_iou


def select_tp_fp(
    tracklets: Sequence[Tracklet],
    slices: ArrayLike,
    boxes: ArrayLike,
    uncertain_slices: ArrayLike = (),
    uncertain_boxes: ArrayLike = (),
    *,
    theta: float = 0.5,
    theta_fp: float = 0.3,
    ignore_iobb: float = 0.5,
) -> NDArray[np.int8]:
    """Call every proposal of one sub-volume a true positive, a false positive, or neither.

    True: its key-slice IoU (`key_slice_iou`) with an annotation, existing or mined, is larger than theta. False: that
    IoU is smaller than theta_FP with every annotation and every uncertain lesion. In a partially labelled volume a
    lesion nobody annotated is taken for false unless it was mined before; the paper does the same, which is why mining
    comes first.

    An uncertain box may be a large region to be ignored, of which a lesion covers little: a proposal is no false
    positive either when such a box covers the share ``ignore_iobb`` of one of its own boxes (ours, as in the
    detectors).

    Args:
        tracklets: T proposals.
        slices: [A] slices of the annotations, existing and mined, counted as the tracklets count them.
        boxes: [A, 4] (x1, y1, x2, y2) px, half-open.
        uncertain_slices, uncertain_boxes: likewise of uncertain lesions and ignored regions.
        theta, theta_fp: IoUs, 0 <= theta_fp <= theta < 1; what lies between them is neither.
        ignore_iobb: share of a box, in (0, 1].

    Returns:
        int8 [T]: ``TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``NEITHER``.

    Raises:
        ValueError: a threshold out of its range, or as many slices as boxes are missing.
    """
    if not 0 <= theta_fp <= theta < 1 or not 0 < ignore_iobb <= 1:
        raise ValueError(
            f"need 0 <= theta_fp <= theta < 1 and ignore_iobb in (0, 1], got {theta_fp}, {theta} and {ignore_iobb}"
        )
    known = key_slice_iou(tracklets, slices, boxes).max(axis=1, initial=0.0)
    unsure = key_slice_iou(tracklets, uncertain_slices, uncertain_boxes).max(axis=1, initial=0.0)
    kinds = np.full(len(tracklets), NEITHER, dtype=np.int8)
    clear = (known < theta_fp) & (unsure < theta_fp)
    kinds[clear & ~_covered(tracklets, uncertain_slices, uncertain_boxes, ignore_iobb)] = FALSE_POSITIVE
    kinds[known > theta] = TRUE_POSITIVE
    return kinds


def draw_epoch(kinds: ArrayLike, seed: int, epoch: int, *, negatives_per_positive: int = 2) -> NDArray[np.int64]:
    """Order in which one epoch looks at the candidates: each true positive once, and its share of false ones.

    Each true positive is followed by ``negatives_per_positive`` false ones, so every batch has about the same ratio.
    False positives are taken from one permutation after another, continued from epoch to epoch: all of them have their
    turn before one comes twice.

    Args:
        kinds: [N] ``TRUE_POSITIVE`` and ``FALSE_POSITIVE`` (``NEITHER`` is never drawn).
        seed: of the permutations.
        epoch: from 0; the result follows from (kinds, seed, epoch) alone.
        negatives_per_positive: the paper's ratio of 1:2.

    Returns:
        indices int64 [P * (1 + negatives_per_positive)], P true positives.

    Raises:
        ValueError: no true positive, or no false one where some are wanted; negative numbers.
    """
    kinds = np.asarray(kinds)
    positive, negative = np.flatnonzero(kinds == TRUE_POSITIVE), np.flatnonzero(kinds == FALSE_POSITIVE)
    wanted = len(positive) * negatives_per_positive
    if epoch < 0 or negatives_per_positive < 0:
        raise ValueError(f"epoch and negatives_per_positive are 0 or more, got {epoch} and {negatives_per_positive}")
    if not len(positive) or (wanted and not len(negative)):
        raise ValueError(f"need true and false positives, got {len(positive)} and {len(negative)}")
    order = np.random.default_rng([seed, epoch, 0]).permutation(positive)
    if not wanted:
        return order
    first, last = epoch * wanted, (epoch + 1) * wanted
    turns = range(first // len(negative), -(-last // len(negative)))
    stream = np.concatenate([np.random.default_rng([seed, turn, 1]).permutation(negative) for turn in turns])
    start = first - turns.start * len(negative)
    others = stream[start : start + wanted].reshape(len(order), negatives_per_positive)
    return np.concatenate([order[:, None], others], axis=1).ravel()


class CandidateSampler(Sampler[Draw]):
    """One epoch of candidates at a time, in the order of `draw_epoch`; the next iteration is the next epoch.

    Args:
        items: of `candidate_items`.
        seed: of the order.
        negatives_per_positive: false positives for each true one.
    """

    def __init__(self, items: Sequence[dict[str, Any]], seed: int, negatives_per_positive: int = 2) -> None:
        self.kinds = np.array([item["kind"] for item in items], dtype=np.int8)
        self.seed = seed
        self.negatives_per_positive = negatives_per_positive
        self.epoch = 0

    def __len__(self) -> int:
        return int((self.kinds == TRUE_POSITIVE).sum()) * (1 + self.negatives_per_positive)

    def __iter__(self) -> Iterator[Draw]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = draw_epoch(self.kinds, self.seed, epoch, negatives_per_positive=self.negatives_per_positive)
        first = epoch * len(order)
        for place, index in enumerate(order.tolist()):
            yield Draw(index, first + place)


def _covered(tracklets: Sequence[Tracklet], slices: ArrayLike, boxes: ArrayLike, share: float) -> NDArray[np.bool_]:
    """[T], whether a region covers at least ``share`` of one of the tracklet's boxes on the region's slice."""
    on = np.asarray(slices, dtype=np.int64).reshape(-1)
    regions = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    covered = np.zeros(len(tracklets), dtype=bool)
    if not len(on) or not len(tracklets):
        return covered
    owner = np.repeat(np.arange(len(tracklets)), [len(t.slices) for t in tracklets])
    at = np.concatenate([t.slices for t in tracklets])
    own = np.concatenate([np.asarray(t.boxes, dtype=np.float64) for t in tracklets])
    rows = np.flatnonzero(np.isin(at, on))
    part = box_iobb(torch.from_numpy(own[rows]), torch.from_numpy(regions)).numpy()
    part[at[rows][:, None] != on[None]] = 0.0
    covered[owner[rows[(part >= share).any(axis=1)]]] = True
    return covered
