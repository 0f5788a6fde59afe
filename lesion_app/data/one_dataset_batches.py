"""Batches that hold slices of one data set each, drawn from several.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section VI-B: "each batch had 4 images sampled from the same dataset", positive to negative
slices 2:1 in each epoch, data sets by their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from lesion_app.data.datalist import DATALIST, load_records
from lesion_app.data.key_slices import key_slice_items
from lesion_app.data.lesion_slice_sampler import LesionSliceSampler
from lesion_app.data.seeded_sampling import Draw
from lesion_app.errors import InputError

_KEYS = ("root", "datalist", "expert", "mined", "join")


def joined_slice_items(
    datasets: Sequence[str], collections: Mapping[str, Mapping[str, Any]], split: str = "training"
) -> list[dict[str, Any]]:
    """The slice items of several data sets in one list, each with its ``dataset``: the place in ``datasets``, from 0.

    Ids get the collection's name in front, since records of two data sets may be named alike.

    Args:
        datasets: names of the network's experts, in its order.
        collections: name -> where it is and how it is used: ``root`` (folder), ``datalist`` (None or left out:
            ``root/datalist.json``), ``expert`` (which of ``datasets`` learns from it, its own name unless told), and
            ``mined`` and ``join`` of :func:`~lesion_app.data.key_slices.key_slice_items` (``add`` and ``all`` unless
            told: mined boxes are lesions, and slices without a box are there to be drawn as negative ones). Those
            whose expert is none of ``datasets`` are left out.
        split: of the datalists.

    Raises:
        InputError: an expert without a collection, a collection without a root or with an unknown key, or as
            ``load_records`` and ``key_slice_items``.
    """
    experts = {name: collection.get("expert") or name for name, collection in collections.items()}
    lacking = [name for name in datasets if name not in experts.values()]
    if lacking:
        raise InputError(
            f"no collection was given for the data set(s) {', '.join(lacking)}; expected one of the same name, or with "
            "that name as its expert, among the collections."
        )
    items: list[dict[str, Any]] = []
    for name, collection in collections.items():
        unknown = sorted(set(collection) - set(_KEYS))
        if unknown or not collection.get("root"):
            found = f"has the unknown key(s) {', '.join(unknown)}" if unknown else "has no root"
            raise InputError(f"the collection '{name}' {found}; expected root and, if wanted, {', '.join(_KEYS[1:])}.")
        if experts[name] not in datasets:
            continue
        root = Path(collection["root"])
        records = load_records(Path(collection.get("datalist") or root / DATALIST), split, root)
        number = list(datasets).index(experts[name])
        for item in key_slice_items(records, collection.get("mined") or "add", collection.get("join") or "all"):
            items.append({**item, "id": f"{name}-{item['id']}", "dataset": number})
    return items


class OneDatasetSampler(Sampler[Draw]):
    """Draws without end such that every ``batch_size`` of them in a row are of one data set.

    Each data set has its own :class:`~lesion_app.data.lesion_slice_sampler.LesionSliceSampler` (one slice a lesion and
    epoch, negative slices beside) and its batches follow each other in it. An epoch holds for each data set as many
    batches as its draws fill, the last one filled up from its next round; their order is drawn anew each epoch and
    follows from (seed, epoch). A draw depends on its running number alone, as in ``EndlessSampler``.

    Give it to a ``DataLoader`` as ``sampler`` with ``batch_size / num_replicas`` slices a batch: the processes share
    each batch, so that all look at one data set at a time.

    Args:
        items: of :func:`joined_slice_items`.
        batch_size: slices a batch, over all processes.
        seed: of the draws.
        start: number of the first draw; to resume, the draws used up.
        negatives: negative slices a lesion; 0.5 is the paper's 2:1.
        num_replicas, rank: as in ``EndlessSampler``.

    Raises:
        InputError: no item, or a data set without a lesion.
        ValueError: numbers out of range, or a batch that the processes cannot share evenly.
    """

    def __init__(
        self,
        items: Sequence[dict[str, Any]],
        batch_size: int,
        seed: int,
        start: int = 0,
        negatives: float = 0.5,
        *,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if batch_size < 1 or batch_size % max(num_replicas, 1):
            raise ValueError(f"batch_size must be a multiple of {num_replicas} processes, got {batch_size}")
        if start < 0 or not 0 <= rank < num_replicas:
            raise ValueError(f"need start >= 0 and 0 <= rank < num_replicas, got {start}, {rank}, {num_replicas}")
        if not items:
            raise InputError(
                "There is no training item to draw from; check that the datalists' training splits have lesions."
            )
        of_item = np.array([item["dataset"] for item in items], dtype=np.int64)
        self._members = [np.flatnonzero(of_item == number) for number in np.unique(of_item)]
        self._draws = [
            LesionSliceSampler([items[i] for i in members.tolist()], _seed(seed, place), negatives=negatives)
            for place, members in enumerate(self._members)
        ]
        self.batch_size, self.seed, self.start = batch_size, seed, start
        self.num_replicas, self.rank = num_replicas, rank
        self._batches = np.array([-(-draws.epoch_length // batch_size) for draws in self._draws])

    @property
    def batches_per_epoch(self) -> int:
        """Iterations of an epoch: what the trainer needs as ``epoch_length``."""
        return int(self._batches.sum())

    def __iter__(self) -> Iterator[Draw]:
        epoch, within = divmod(self.start // self.batch_size, self.batches_per_epoch)
        order = self._order(epoch)
        used = self._batches * epoch + np.bincount(order[:within], minlength=len(self._draws))
        streams = [self._stream(place, int(batches)) for place, batches in enumerate(used)]
        number = self.start - self.start % self.batch_size
        while True:
            for place in order[within:].tolist():
                for index in islice(streams[place], self.batch_size):
                    if number >= self.start and (number - self.start) % self.num_replicas == self.rank:
                        yield Draw(index, number)
                    number += 1
            epoch, within = epoch + 1, 0
            order = self._order(epoch)

    def _order(self, epoch: int) -> np.ndarray:
        """The data set of each batch of an epoch, as places in ``_members``."""
        return np.random.default_rng([self.seed, epoch]).permutation(
            np.repeat(np.arange(len(self._batches)), self._batches)
        )

    def _stream(self, place: int, batches: int) -> Iterator[int]:
        """Items (of all) that one data set's draws name, from its batch number ``batches`` on."""
        draws = self._draws[place]
        draws.start = batches * self.batch_size
        members = self._members[place]
        for draw in draws:
            yield int(members[draw.index])


def _seed(seed: int, place: int) -> int:
    """A seed for each data set: equal ones would draw alike where two are of one size."""
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
