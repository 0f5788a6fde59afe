"""``truth.json`` of a phantom: every lesion, on every slice it touches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lesion_app.data.deeplesion_csv import clip_to_image
from lesion_app.data.record import Annotation, Record, TruthBox
from lesion_app.errors import InputError

Truth = dict[str, dict[str, Any]]


def read_truth(path: Path) -> Truth:
    """Read ``{"sub_volumes": {name: {"lesions": [{type, key_slice, key_box, slice_boxes}]}}}``.

    Boxes are (x1, y1, x2, y2) px, 0-based half-open, slices are file numbers.

    Raises:
        InputError: the file cannot be read or is of another layout.
    """
    path = Path(path)
    try:
        volumes = json.loads(path.read_text(encoding="utf-8"))["sub_volumes"]
        for volume in volumes.values():
            for lesion in volume["lesions"]:
                _check_lesion(lesion)
    except OSError as error:
        raise InputError(f"The truth file {path} cannot be read ({error.strerror}); check its name.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} is not the truth file of a phantom; expected the truth.json that `lesion-app phantom` wrote."
        ) from error
    return volumes


def attach_truth(records: list[Record], truth: Truth) -> None:
    """Give every record named in ``truth`` its ``truth`` list: each lesion's box on each of its slices.

    Boxes are clipped to the image: padded ones may leave it, as DeepLesion's do.

    Raises:
        InputError: a box lies wholly outside its image.
    """
    for record in records:
        if record["id"] not in truth:
            continue
        places = [place for lesion in truth[record["id"]]["lesions"] for place in lesion["slice_boxes"].items()]
        boxes = _clipped([box for _, box in places], record)
        record["truth"] = [TruthBox(slice=int(number), box=box) for (number, _), box in zip(places, boxes)]


def attach_extents(records: list[Record], truth: Truth) -> None:
    """Give every lesion that ``truth`` knows its 3D ``extent``, the box around its boxes on all of its slices.

    These boxes are padded as the 2D ones are, so that a detector taught with the latter is judged by like boxes (LENS's
    IoBB divides by the box found). A lesion is known by slice and box, to one px.
    """
    for record in records:
        lesions = truth.get(record["id"], {"lesions": []})["lesions"]
        marked = [a for a in record["annotations"] if a["kind"] == "lesion" and "extent" not in a]
        if not lesions or not marked:
            continue
        keys = _clipped([lesion["key_box"] for lesion in lesions], record)
        at = np.array([(1e6 * lesion["key_slice"], *box) for lesion, box in zip(lesions, keys)], dtype=np.float64)
        own = np.array([(1e6 * a["slice"], *a["box"]) for a in marked], dtype=np.float64)
        apart = np.abs(own[:, None] - at[None]).max(axis=-1)
        for annotation, row in zip(marked, apart):
            if row.min() <= 1:
                annotation["extent"] = _around(lesions[int(row.argmin())]["slice_boxes"], record)


def _around(slice_boxes: dict[str, Any], record: Record) -> list[float]:
    boxes = np.array(_clipped(list(slice_boxes.values()), record))
    numbers = [int(number) for number in slice_boxes]
    (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    return [x1, y1, float(min(numbers)), x2, y2, float(max(numbers) + 1)]


def label_completely(
    records: list[Record], truth: Truth, where: Literal["key", "key-slices", "labelled-slices"] = "key"
) -> None:
    """Replace the lesions of every record by all lesions of ``truth``.

    Ignored regions stay. This is the upper bound that learning from incomplete labels is measured against.

    Args:
        where: ``key`` gives each lesion once, on its key slice, as DeepLesion marks them; ``key-slices`` on the key
            slice of every lesion that it touches; ``labelled-slices`` on slices that carry a label already, so that
            the images trained on are the same and only their labels differ.

    Raises:
        InputError: ``truth`` lacks one of the records, or has a box wholly outside the image.
    """
    unknown = [record["id"] for record in records if record["id"] not in truth]
    if unknown:
        raise InputError(
            f"Complete labels were asked for, but the truth file lacks {len(unknown)} of {len(records)} training "
            f"sub-volumes, the first of them {unknown[0]}; use the truth.json of the same phantom."
        )
    for record in records:
        lesions = truth[record["id"]]["lesions"]
        wanted = {int(lesion["key_slice"]) for lesion in lesions}
        if where == "labelled-slices":
            wanted = {a["slice"] for a in record["annotations"] if a["kind"] == "lesion"}
        found = []
        for lesion in lesions:
            key, kind = int(lesion["key_slice"]), int(lesion["type"])
            boxes = {int(number): box for number, box in lesion["slice_boxes"].items()} if where != "key" else {}
            boxes[key] = lesion["key_box"]
            found += [(number, box, kind) for number, box in sorted(boxes.items()) if number in wanted]
        record["annotations"] = [a for a in record["annotations"] if a["kind"] == "ignore"] + [
            Annotation(slice=number, box=box, label=1, kind="lesion", lesion_type=kind, noisy=False)
            for (number, _, kind), box in zip(found, _clipped([box for _, box, _ in found], record))
        ]


def _clipped(boxes: list[Any], record: Record) -> list[list[float]]:
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    clipped, _, unusable = clip_to_image(array, np.array(record["size"]))
    if unusable.any():
        raise InputError(
            f"The truth file has a box wholly outside the image of {record['id']}; "
            "use the truth.json of the same phantom."
        )
    return clipped.tolist()


def _check_lesion(lesion: dict[str, Any]) -> None:
    int(lesion["key_slice"]), int(lesion["type"])
    if any(len(box) != 4 for box in (lesion["key_box"], *lesion["slice_boxes"].values())):
        raise ValueError("a box needs four numbers")
