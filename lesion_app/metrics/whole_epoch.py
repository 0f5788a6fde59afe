"""What every process of a distributed run saw in an epoch, brought together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import ignite.distributed as idist
from ignite.exceptions import NotComputableError

V = TypeVar("V")


def whole_epoch(own: Mapping[str, V], metric: str, kind: str) -> dict[str, V]:
    """The volumes or images of all processes, in the order of their names.

    Sorted, so that equal scores rank the same however the epoch was spread over processes.

    Args:
        own: what this process saw, by name; picklable.
        metric: whose result this is for, in messages.
        kind: what is counted, ``"volume"`` or ``"image"``, in messages.

    Raises:
        ValueError: two processes saw the same one.
        ignite.exceptions.NotComputableError: there is none.
    """
    found: dict[str, V] = {}
    for of_process in cast("list[dict[str, V]]", idist.all_gather(dict(own))):
        repeated = sorted(found.keys() & of_process.keys())
        if repeated:
            raise ValueError(
                f"{len(repeated)} {kind}(s), first {repeated[0]!r}, were evaluated by two processes; "
                "the validation sampler must not pad (DistributedSampler with even_divisible=False)"
            )
        found.update(of_process)
    if not found:
        raise NotComputableError(f"{metric} needs at least one {kind} before a result")
    return dict(sorted(found.items()))
