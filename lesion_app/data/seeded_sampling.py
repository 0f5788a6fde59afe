"""Drawing training items so that a run, also a resumed one, can be repeated bit for bit.

A draw has a running number. Which item it is follows from (seed, number), and so does every random number
its transforms use; nothing depends on workers, order of loading or what was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose
from monai.transforms.traits import RandomizableTrait
from monai.transforms.transform import Transform
from torch.utils.data import Dataset, Sampler, get_worker_info

from lesion_app.errors import InputError


class Draw(NamedTuple):
    """``index`` of the item, and running ``number`` of the draw (over all replicas, from 0)."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a draw
    number: int


class EndlessSampler(Sampler[Draw]):
    """Permutation after permutation of the items, without end.

    The k-th permutation follows from (seed, k); draw n is entry ``n % length`` of permutation ``n // length``.
    Being endless it has no length: give the trainer its epoch length.

    Args:
        length: number of items.
        seed: of the permutations.
        start: number of the first draw. To resume set it, before iteration begins, to the draws already used
            by the optimiser: iterations x batch size x replicas. Draws that workers had fetched ahead do not count.
        num_replicas: processes that share the draws.
        rank: of this process; it takes draws start + rank, start + rank + num_replicas, ...

    Raises:
        InputError: no items.
        ValueError: negative ``start``, ``rank`` not within ``num_replicas``.
    """

    def __init__(self, length: int, seed: int, start: int = 0, *, num_replicas: int = 1, rank: int = 0) -> None:
        if length < 1:
            raise InputError(
                "There is no training item to draw from; check that the datalist's training split has lesions."
            )
        if start < 0 or not 0 <= rank < num_replicas:
            raise ValueError(f"need start >= 0 and 0 <= rank < num_replicas, got {start}, {rank}, {num_replicas}")
        self.length = length
        self.seed = seed
        self.start = start
        self.num_replicas = num_replicas
        self.rank = rank

    def __iter__(self) -> Iterator[Draw]:
        number = self.start + self.rank
        round_held, order = -1, np.empty(0, dtype=np.int64)
        while True:
            turn, place = divmod(number, self.length)
            if turn != round_held:
                round_held, order = turn, np.random.default_rng([self.seed, turn]).permutation(self.length)
            yield Draw(int(order[place]), number)
            number += self.num_replicas


class SeededDataset(Dataset[Any]):
    """Items through a transform whose random part is seeded anew for every draw from (seed, draw.number).

    Only what MONAI's ``Randomizable`` transforms draw from their own ``R`` is seeded; a transform that uses a
    global generator would not repeat.

    Args:
        data: the items, dicts.
        transform: MONAI transforms. Those before the first random one are the deterministic part.
        seed: of the random part.
        cache: ``memory`` keeps the deterministic part's output, dtypes as they are, from an item's first use.
            Random transforms get a deep copy.
        cache_bytes: bound for tensors and arrays kept, 2 GiB unless told; what does not fit is computed anew each
            time. Workers share what was cached before they started (:meth:`fill_cache`) and split the rest evenly.

    Raises:
        InputError: an unknown kind of cache.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Sequence[Callable[..., Any]] | Callable[..., Any] | None,
        seed: int,
        *,
        cache: Literal["none", "memory"] = "none",
        cache_bytes: int = 2 * 1024**3,
    ) -> None:
        if cache not in ("none", "memory"):
            raise InputError(f"The cache is '{cache}'; expected none or memory.")
        self.data = data
        # subclasses such as OneOf do not run their parts in order, so they are one step of a sequence
        self.transform = transform if type(transform) is Compose else Compose(transform)
        self.seed = seed
        self.cache = cache
        self.cache_bytes = cache_bytes
        self._kept: dict[int, Any] = {}
        self._kept_bytes = 0
        self._shared_bytes = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: Draw | int) -> Any:
        """The item of a :class:`Draw`; a plain index is the draw of that number."""
        index, number = draw if isinstance(draw, tuple) else (draw, draw % max(len(self), 1))
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        first_random = self._first_random()
        item = self._deterministic(index, first_random)
        if first_random is None:
            return item
        (word,) = np.random.SeedSequence([self.seed, number]).generate_state(1)
        self.transform.set_random_state(seed=int(word))
        return self.transform(item, start=first_random)

    def fill_cache(self) -> int:
        """Cache items in order until the bound is reached; call it before workers start, for them to share.

        Returns:
            the number of items held.
        """
        first_random = self._first_random()
        for index in range(len(self)):
            if self._kept_bytes >= self._limit():
                break
            self._deterministic(index, first_random)
        return len(self._kept)

    def _first_random(self) -> int | None:
        """Position of the first transform that may be random (MONAI's rule for its own caches)."""
        return self.transform.get_index_of_first(
            lambda t: isinstance(t, RandomizableTrait) or not isinstance(t, Transform)
        )

    def _deterministic(self, index: int, end: int | None) -> Any:
        """Item ``index`` after the deterministic part; the caller may do with it what it likes."""
        if index in self._kept:
            return deepcopy(self._kept[index])
        item = self.transform(deepcopy(self.data[index]), end=end)
        if self.cache == "memory":
            size = _byte_size(item)
            if self._kept_bytes + size <= self._limit():
                self._kept[index] = item
                self._kept_bytes += size
                if get_worker_info() is None:
                    self._shared_bytes = self._kept_bytes
                return deepcopy(item)
        return item

    def _limit(self) -> int:
        worker = get_worker_info()
        if worker is None:
            return self.cache_bytes
        return self._shared_bytes + (self.cache_bytes - self._shared_bytes) // worker.num_workers


def _byte_size(value: Any) -> int:
    """Bytes of the tensors and arrays in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_byte_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_byte_size, value))
    return 0
