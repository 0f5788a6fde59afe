"""Records -> one item a lesion, with every place it is known at; and batches of looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from lesion_app.data.record import Record


def lesion_items(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One item for each lesion, labelled or mined (kinds ``lesion`` and ``mined``).

    Boxes of a record that share a ``lesion`` number are one lesion, others one each. Each item carries ``image, id,
    patient_id, spacing_mm, slices`` of its record and ``places``: ``{slice, box}`` by slice, file numbers and px.
    """
    items: list[dict[str, Any]] = []
    for record in records:
        lesions: dict[Any, list[dict[str, Any]]] = {}
        for place, a in enumerate(record["annotations"]):
            if a["kind"] in ("lesion", "mined"):
                key = a.get("lesion", (place,))
                lesions.setdefault(key, []).append({"slice": a["slice"], "box": list(a["box"])})
        for places in lesions.values():
            item: dict[str, Any] = {key: deepcopy(record[key]) for key in _CARRIED}  # type: ignore[literal-required]
            item["places"] = sorted(places, key=lambda p: p["slice"])
            items.append(item)
    return items


_CARRIED = ("image", "id", "patient_id", "spacing_mm", "slices")


def prepare_pair_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    """``prepare_batch`` of a MONAI trainer on items with a ``pair`` [2, S, P, P].

    Returns:
        crops [2 N, S, P, P], both looks at lesion i being rows i and N + i; and bool [N, N], which pairs of lesions may
        be one lesion without anybody saying so: those of one patient in different sub-volumes.
    """
    pairs = torch.stack([item["pair"] for item in batch])
    crops = torch.cat([pairs[:, 0], pairs[:, 1]])
    unknown = torch.tensor(
        [[a["patient_id"] == b["patient_id"] and a["id"] != b["id"] for b in batch] for a in batch], dtype=torch.bool
    )
    return crops.to(device, non_blocking=non_blocking), unknown.to(device, non_blocking=non_blocking)
