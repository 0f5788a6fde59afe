"""3D boxes of records -> items to train on in patches, and from patches to batches."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from lesion_app.data.record import Annotation, Record
from lesion_app.errors import InputError

_CARRIED = ("image", "id", "series_id", "patient_id", "spacing_mm", "slices")


def volume_patch_items(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One item a record, those without a lesion included.

    Each carries ``image, id, series_id, patient_id, spacing_mm, slices`` of its record, ``boxes`` N x 6 and ``labels``
    N of its lesions (numbered ones once), ``ignore`` M x 6. Boxes are lists of (x1, y1, z1, x2, y2, z2) px and slices,
    0-based half-open, z counted from the record's first slice.

    Args:
        records: of one split; their lesions marked in 3D (``extent``). Teachers' finds (``mined``, ``negative``) are
            2D boxes and left out.

    Raises:
        InputError: a lesion or an ignored region without extent.
    """
    items = []
    for record in records:
        item: dict[str, Any] = {key: deepcopy(record[key]) for key in _CARRIED}  # type: ignore[literal-required]
        lesions = _each_once(record, "lesion")
        item["boxes"] = [_box(a, record) for a in lesions]
        item["labels"] = [a["label"] for a in lesions]
        item["ignore"] = [_box(a, record) for a in _each_once(record, "ignore")]
        items.append(item)
    return items


def prepare_patch_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Tensor]], tuple[list[dict[str, Tensor]]], dict[str, Any]]:
    """``prepare_batch`` of a MONAI trainer: patches [1, D, H, W], targets, and these again for the network's call.

    Targets hold ``boxes`` [N, 6], ``labels`` [N], ``ignore`` [M, 6] and ``masks`` [N, D, H, W] where there are any.
    """
    patches = [item["image"].to(device, non_blocking=non_blocking) for item in batch]
    keys = ("boxes", "labels", "ignore", "masks")
    targets = [{k: item[k].to(device, non_blocking=non_blocking) for k in keys if k in item} for item in batch]
    return patches, targets, (targets,), {}


def _each_once(record: Record, kind: str) -> list[Annotation]:
    """Annotations of a kind, of those that share a lesion number the first one."""
    found: dict[Any, Annotation] = {}
    for place, a in enumerate(record["annotations"]):
        if a["kind"] == kind:
            found.setdefault(a.get("lesion", (place,)), a)
    return list(found.values())


def _box(annotation: Annotation, record: Record) -> list[float]:
    if "extent" not in annotation:
        raise InputError(
            f"record {record['id']} has a lesion without a 3D extent; expected a data set marked in 3D (LUNA16, "
            "LiTS, NIH lymph nodes, LIDC-IDRI), so train a 2D detector on this one"
        )
    x1, y1, z1, x2, y2, z2 = annotation["extent"]
    low = record["slices"][0]
    return [x1, y1, z1 - low, x2, y2, z2 - low]
