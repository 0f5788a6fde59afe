"""Batches in which every class has an equal share, however rare it is.

Pianese, "Benchmarking SOTA visual object detection techniques for medical applications", sections 3.1 and 3.1.2: images
are divided into bins by class, a batch of 32 takes the same number from each, and a class that has been seen entirely
begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from lesion_app.data.seeded_sampling import Draw
from lesion_app.errors import InputError


class ClassBalancedSampler(Sampler[Draw]):
    """One image of every class after the other, without end, as `EndlessSampler` counts draws.

    Draws come in rounds of C, one for each class that any item has, in an order drawn anew each round; so a batch whose
    size is a multiple of C holds every class equally often, and smaller batches do so over C draws. Within a class
    every image is drawn once before any is drawn again, in a new order each time (cyclic over exhausted classes).
    An image with lesions of several classes stands in the bin of each of them; one without a box stands in none.

    Draw n follows from (seed, n) alone.

    Args:
        items: with ``labels`` each, as of `typed_key_slice_items`.
        seed: of the draws.
        start: number of the first draw, as in `EndlessSampler`.
        num_replicas, rank: as in `EndlessSampler`.

    Attributes:
        epoch_length: draws until each image of the most abundant class has been seen once (the paper's epoch).

    Raises:
        InputError: no item has a label.
        ValueError: negative ``start``, ``rank`` not within ``num_replicas``.
    """

    def __init__(
        self, items: Sequence[dict[str, Any]], seed: int, start: int = 0, *, num_replicas: int = 1, rank: int = 0
    ) -> None:
        if start < 0 or not 0 <= rank < num_replicas:
            raise ValueError(f"need start >= 0 and 0 <= rank < num_replicas, got {start}, {rank}, {num_replicas}")
        bins: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            for label in sorted({int(label) for label in item["labels"]}):
                bins.setdefault(label, []).append(index)
        if not bins:
            raise InputError(
                "There is no slice with a lesion to draw; check that the datalist's training split has lesions."
            )
        self.classes = sorted(bins)
        self._bins = [np.array(bins[label], dtype=np.int64) for label in self.classes]
        self.epoch_length = len(self.classes) * max(len(members) for members in self._bins)
        self.seed, self.start, self.num_replicas, self.rank = seed, start, num_replicas, rank

    def __iter__(self) -> Iterator[Draw]:
        number = self.start + self.rank
        round_held, order = -1, np.empty(0, dtype=np.int64)
        held: dict[int, tuple[int, np.ndarray]] = {}
        while True:
            turn, place = divmod(number, len(self.classes))
            if turn != round_held:
                round_held, order = turn, np.random.default_rng([self.seed, 0, turn]).permutation(len(self.classes))
            position = int(order[place])
            members = self._bins[position]
            lap, nth = divmod(turn, len(members))
            if held.get(position, (-1,))[0] != lap:
                rng = np.random.default_rng([self.seed, 1, self.classes[position], lap])
                held[position] = (lap, rng.permutation(members))
            yield Draw(int(held[position][1][nth]), number)
            number += self.num_replicas
