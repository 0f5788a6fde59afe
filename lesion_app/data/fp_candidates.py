"""A detector's finds on the training sub-volumes -> what false-positive reduction is trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.record import Record
from lesion_app.errors import InputError

TRUE_POSITIVE, FALSE_POSITIVE, NEITHER = 1, 0, -1

Read = Callable[[Path], dict[str, Any]]
Select = Callable[[Sequence[Tracklet], list[int], list[list[float]], list[int], list[list[float]]], NDArray[np.int8]]

logger = logging.getLogger("lesion_app.training")

_CARRIED = ("image", "id", "patient_id", "spacing_mm", "slices")


def candidate_items(
    detections: str | Path,
    records: Sequence[Record],
    read: Read,
    select: Select,
    min_score: float = 0.0,
) -> list[dict[str, Any]]:
    """One item for each find that is a true or a false positive; finds that are neither are left out.

    Args:
        detections: folder that holds, at any depth, the ``lesions.json`` files of ``lesion-app detect`` or of
            ``inference.json`` (`LesionWriter`) on the records' sub-volumes. Files of other CTs are passed over.
        records: of the training split, with mined boxes if there are any.
        read: one such file -> its content (`read_lesions_json`).
        select: proposals of one sub-volume, slices and boxes of its annotations (mined ones too), slices and boxes to
            be ignored -> ``TRUE_POSITIVE``, ``FALSE_POSITIVE`` or ``NEITHER`` of each proposal (`select_tp_fp`); slices
            are counted from the first.
        min_score: finds below are left out.

    Returns:
        ``image, id, patient_id, spacing_mm, slices`` of the record, ``candidate``: (x1, y1, z1, x2, y2, z2) px and
        slices of the sub-volume counted from 0 (`Tracklet.score_weighted_box`), ``score`` and ``kind``
        (``TRUE_POSITIVE`` or ``FALSE_POSITIVE``); in the order of the records, then of the file.

    Raises:
        InputError: no folder, no file for any of the records, two for one of them, a file that is none or tells of
            another size, no true or no false positive at all.
    """
    found = _finds(Path(detections), records, read)
    items: list[dict[str, Any]] = []
    undecided = 0
    for record in records:
        tracklets = [t for t in found.get(record["id"], []) if t.score >= min_score]
        low = record["slices"][0]
        known = [a for a in record["annotations"] if a["kind"] in ("lesion", "mined")]
        unsure = [a for a in record["annotations"] if a["kind"] == "ignore"]
        kinds = select(
            tracklets,
            [a["slice"] - low for a in known],
            [a["box"] for a in known],
            [a["slice"] - low for a in unsure],
            [a["box"] for a in unsure],
        )
        undecided += int((kinds == NEITHER).sum())
        for tracklet, kind in zip(tracklets, kinds.tolist()):
            if kind != NEITHER:
                item: dict[str, Any] = {key: deepcopy(record[key]) for key in _CARRIED}  # type: ignore[literal-required]
                items.append(
                    item | {"candidate": list(tracklet.score_weighted_box), "score": tracklet.score, "kind": kind}
                )
    true = sum(item["kind"] == TRUE_POSITIVE for item in items)
    if not 0 < true < len(items):
        raise InputError(
            f"the detections in {detections} hold {true} true and {len(items) - true} false positives of the "
            "training split; both are needed, so detect on that split with a low min_score (docs/false_positives.md)"
        )
    logger.info(
        "%d true and %d false positives, %d neither, on %d of %d sub-volumes",
        true,
        len(items) - true,
        undecided,
        len(found),
        len(records),
    )
    return items


def prepare_candidate_batch(
    batch: Sequence[dict[str, Any]], device: str | torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor, tuple[Tensor], dict[str, Any]]:
    """``prepare_batch`` of a MONAI trainer on items of `RandCandidatePatchd`.

    Returns:
        patches [N, 1, D, P, P]; targets [N, 1], 1 for a true positive; the boxes [N, 6] as the network's further
        argument; nothing by name.
    """
    patches = torch.stack([item["patch"] for item in batch])
    rois = torch.stack([item["roi"] for item in batch])
    targets = torch.tensor([[float(item["kind"] == TRUE_POSITIVE)] for item in batch])
    return (
        patches.to(device, non_blocking=non_blocking),
        targets.to(device, non_blocking=non_blocking),
        (rois.to(device, non_blocking=non_blocking),),
        {},
    )


def _finds(folder: Path, records: Sequence[Record], read: Read) -> dict[str, list[Tracklet]]:
    """Tracklets of each record that has a file, slices counted from the record's first."""
    files = sorted(folder.rglob("lesions.json")) if folder.is_dir() else []
    if not files:
        raise InputError(
            f"no lesions.json was found in {folder}; expected a folder of detections, so run inference on the "
            "training split first (docs/false_positives.md)"
        )
    wanted = {(Path(r["image"]).name, r["slices"][0], r["slices"][1]): r for r in records}
    found: dict[str, list[Tracklet]] = {}
    for file in files:
        document = read(file)
        grid, source = document["grid"], document["source"]
        width, height, depth = grid["size_xyz"]
        first = grid["first_slice_number"]
        record = wanted.get((source.get("name", ""), first, first + depth - 1))
        if record is None:
            continue
        if record["id"] in found:
            raise InputError(
                f"{file.parent.name} is the second file of detections of {record['id']} in {folder}; keep those of one "
                "detector in a folder"
            )
        if [width, height] != list(record["size"]):
            raise InputError(
                f"the detections of {record['id']} are on slices of {width} x {height} px, the datalist says "
                f"{record['size'][0]} x {record['size'][1]}; detect on the images of this datalist"
            )
        found[record["id"]] = [_tracklet(lesion) for lesion in document["lesions"]]
    if not found:
        raise InputError(
            f"none of the {len(files)} files of detections in {folder} is of one of the {len(records)} training "
            "sub-volumes; run inference on the training split of this datalist (docs/false_positives.md)"
        )
    return found


def _tracklet(lesion: dict[str, Any]) -> Tracklet:
    places = lesion["slices"]
    return Tracklet.from_arrays(
        [place["axial_slice"] for place in places],
        np.array([place["box"] for place in places]),
        [place["score"] for place in places],
        lesion["label"],
    )
