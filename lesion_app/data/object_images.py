"""2D images with objects and their masks: from records to items, and from items to batches."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lesion_app.data.record import Record
from lesion_app.errors import InputError


def object_image_items(
    records: Sequence[Record], root: str | Path | None = None, count: int | None = None
) -> list[dict[str, Any]]:
    """One item an image.

    Each carries ``image``, ``id`` and ``patient_id`` of its record, ``mask`` (path) where the record names one,
    ``boxes`` N x 4, ``labels`` N and ``instances`` N (the numbers of the objects in the mask, from 1, in the order of
    the annotations), ``ignore`` M x 4. Boxes are lists of (x1, y1, x2, y2) px, 0-based half-open.

    Args:
        records: of one split, as `load_records` gives them.
        root: folder that ``mask`` of a record is relative to.
        count: only the first so many; None = all.

    Raises:
        InputError: fewer records than ``count``, or a record of more than one slice.
    """
    if count is not None and not 1 <= count <= len(records):
        raise InputError(
            f"{count} images were asked for where the datalist has {len(records)}; write a larger data set or ask for "
            "fewer"
        )
    items = []
    for record in records[:count]:
        if record["slices"][0] != record["slices"][1]:
            raise InputError(f"record {record['id']} has several slices; expected a 2D image")
        item: dict[str, Any] = {key: deepcopy(record[key]) for key in ("image", "id", "patient_id")}  # type: ignore[literal-required]
        if "mask" in record:
            item["mask"] = str(Path(root or ".").absolute() / record["mask"])  # type: ignore[typeddict-item]
        objects = [(number, a) for number, a in enumerate(record["annotations"], start=1)]
        lesions = [(number, a) for number, a in objects if a["kind"] == "lesion"]
        item["boxes"] = [list(a["box"]) for _, a in lesions]
        item["labels"] = [a["label"] for _, a in lesions]
        item["instances"] = [number for number, _ in lesions]
        item["ignore"] = [list(a["box"]) for _, a in objects if a["kind"] == "ignore"]
        items.append(item)
    return items


def prepare_object_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Tensor]], tuple[list[dict[str, Tensor]]], dict[str, Any]]:
    """``prepare_batch`` of a MONAI trainer: images, targets, and the targets again for the network's call.

    Targets hold ``boxes`` [N, 4], ``labels`` [N], ``masks`` [N, H, W] (where there are any) and ``ignore`` [M, 4].
    """
    images, targets = _on(device, batch, non_blocking)
    return images, targets, (targets,), {}


def prepare_object_evaluation(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """``prepare_batch`` of a MONAI evaluator: images, and targets with ``id`` and ``patient_id`` beside the boxes."""
    images, targets = _on(device, batch, non_blocking)
    named = [{**target, "id": item["id"], "patient_id": item["patient_id"]} for target, item in zip(targets, batch)]
    return images, named


def _on(
    device: str | torch.device, batch: Sequence[dict[str, Any]], non_blocking: bool
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [item["image"].to(device, non_blocking=non_blocking) for item in batch]
    keys = ("boxes", "labels", "masks", "ignore")
    targets = [{k: item[k].to(device, non_blocking=non_blocking) for k in keys if k in item} for item in batch]
    return images, targets
