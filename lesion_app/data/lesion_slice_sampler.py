"""Which slices an epoch of LENS looks at: one slice of every lesion, and negative slices beside them.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021: "we randomly sampled one positive slice for each 3D GT in every training epoch" (section
VI-D), positive to negative slices 2:1 in each epoch (section VI-B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from lesion_app.data.seeded_sampling import Draw
from lesion_app.errors import InputError


class LesionSliceSampler(Sampler[Draw]):
    """Epoch after epoch of slice items, without end, as `EndlessSampler` counts draws.

    An epoch is ``epoch_length`` draws in random order: for each lesion one of the slices that show it, and
    ``negatives`` for each lesion of the slices without a box (none twice in an epoch while there are enough; none at
    all where every slice has one). Epoch k follows from (seed, k) alone. A slice that shows two lesions may be drawn
    for either.

    Args:
        items: of `key_slice_items`; boxes of one record that share a number in ``lesions`` are one lesion, others are
            one each.
        seed: of the draws.
        start: number of the first draw, as in `EndlessSampler`.
        negatives: negative slices a lesion; 0.5 is the paper's 2:1.
        num_replicas, rank: as in `EndlessSampler`.

    Raises:
        InputError: no item has a box.
        ValueError: negative ``start``, ``rank`` or ``negatives``, ``rank`` not within ``num_replicas``.
    """

    def __init__(
        self,
        items: Sequence[dict[str, Any]],
        seed: int,
        start: int = 0,
        negatives: float = 0.5,
        *,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if start < 0 or negatives < 0 or not 0 <= rank < num_replicas:
            raise ValueError(
                f"need start and negatives >= 0 and 0 <= rank < num_replicas, got {start}, {negatives}, {rank}, "
                f"{num_replicas}"
            )
        lesions: dict[Any, list[int]] = {}
        for index, item in enumerate(items):
            numbers = item.get("lesions") or [None] * len(item["boxes"])
            for place, number in enumerate(numbers):
                key = (item["id"], number) if number is not None else (index, "box", place)
                shown = lesions.setdefault(key, [])
                if not shown or shown[-1] != index:
                    shown.append(index)
        if not lesions:
            raise InputError(
                "There is no slice with a lesion to draw; check that the datalist's training split has lesions."
            )
        self._count = np.array([len(shown) for shown in lesions.values()])
        self._first = np.cumsum(self._count) - self._count
        self._slices = np.concatenate([np.array(shown, dtype=np.int64) for shown in lesions.values()])
        self._empty = np.array([index for index, item in enumerate(items) if not item["boxes"]], dtype=np.int64)
        self._negatives = round(negatives * len(lesions)) if len(self._empty) else 0
        self.lesions = len(lesions)
        self.epoch_length = len(lesions) + self._negatives
        self.seed, self.start, self.num_replicas, self.rank = seed, start, num_replicas, rank

    def __iter__(self) -> Iterator[Draw]:
        number = self.start + self.rank
        epoch_held, order = -1, np.empty(0, dtype=np.int64)
        while True:
            epoch, place = divmod(number, self.epoch_length)
            if epoch != epoch_held:
                epoch_held, order = epoch, self._epoch(epoch)
            yield Draw(int(order[place]), number)
            number += self.num_replicas

    def _epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        positive = self._slices[self._first + rng.integers(0, self._count)]
        rounds = -(-self._negatives // max(1, len(self._empty)))
        negative = np.concatenate([self._empty[:0], *(rng.permutation(self._empty) for _ in range(rounds))])
        return rng.permutation(np.concatenate([positive, negative[: self._negatives]]))
