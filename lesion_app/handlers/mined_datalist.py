"""Offline mining: what a finished teacher finds on training slices, written into a new datalist."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from torchvision.ops import clip_boxes_to_image

from lesion_app.boxes.overlap import lie_in
from lesion_app.data.datalist import SPLITS, load_records, write_datalist
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Kind, Record
from lesion_app.errors import InputError
from lesion_app.handlers.mean_teacher import mining_figures
from lesion_app.inferers.lesions_json import sha256_of
from lesion_app.mining.selection import Detections, select_mined
from lesion_app.mining.sightings import Find, enter_sightings, sighting

logger = logging.getLogger("lesion_app.mining")
_IGNORE_IOBB = 0.5  # as select_mined's
_NEAR_IOBB = 0.1  # what touches a lesion at all is no clean negative
_TOLD = ("mined_right", "mined_boxes", "hidden_lesions")


class MinedDatalist:
    """Collects an evaluator's detections on key slices and adds them to the training records of a datalist.

    The evaluator runs over training items without augmentation (``bundle/configs/mine.json``). Its detections that
    no label explains become annotations in px of the original slice:

    * ``mined``: suspected lesions. Training takes them up when ``key_slice_items`` is told so: the one-shot,
      multi-stage way that online mining is compared with (Cai et al., Lesion Harvester, IEEE TMI 2021).
    * ``negative``: where the items looked through are labelled completely, a detection without a label is a false one:
      a hard negative (P- of Bai & Xia's Table I, after Lesion Harvester). One that has a tenth of its area in a region
      to ignore is none: a lesion labelled on another slice may be there. A slice without a label gets these regions
      and the lesions known on it as regions to ignore beside its negatives, so that it can be trained on.

    Every box keeps its ``sightings``: which model found it with which score. What an earlier round found on the same
    place, answered by a reader or not, gains a sighting instead of a second box; nothing is added where a reader
    rejected a find.

    Args:
        datalist: the datalist to add to.
        out: where the new one goes; written when the evaluator has finished.
        score_threshold: lowest score of what is added.
        gt_nms_iou: detections that overlap a label by more are that label.
        kind: ``mined`` or ``negative``.
        weights: file of the model that looks; its SHA-256 stands in the sightings (an empty text without one).
        same_iou: least IoU of two sightings of one find.

    Raises:
        ValueError: for another kind.
        InputError: (when finished) a slice looked through belongs to no record of the datalist.
    """

    def __init__(
        self,
        datalist: str | Path,
        out: str | Path,
        score_threshold: float,
        gt_nms_iou: float,
        kind: Literal["mined", "negative"] = "mined",
        weights: str | Path | None = None,
        same_iou: float = 0.5,
    ) -> None:
        if kind not in ("mined", "negative"):
            raise ValueError(f"kind must be 'mined' or 'negative', got {kind!r}")
        self.datalist = Path(datalist)
        self.out = Path(out)
        self.score_threshold = score_threshold
        self.gt_nms_iou = gt_nms_iou
        self.kind = kind
        self.weights = None if weights is None else Path(weights)
        self.same_iou = same_iou
        self._seen: dict[str, dict[Find, bool]] = defaultdict(dict)  # record -> find -> whether it may be added
        self._lesions: dict[str, dict[int, list[list[float]]]] = defaultdict(dict)  # record -> slice -> where they are
        self._figures: list[dict[str, float]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose output keeps ``image`` out and ``pred`` in (``mine.json``)."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._seen.clear()
        self._lesions.clear()
        self._figures.clear()

    def _collect(self, engine: Engine) -> None:
        items: Sequence[dict[str, Any]] = engine.state.batch  # type: ignore[assignment]
        predictions: Sequence[Detections] = engine.state.output["pred"]  # type: ignore[index,call-overload]
        chosen = []
        for item, prediction in zip(items, predictions):
            on_cpu: Detections = {k: prediction[k].cpu() for k in ("boxes", "scores", "labels")}  # type: ignore[assignment,literal-required]
            seen = select_mined(on_cpu, item["boxes"], self.score_threshold, self.gt_nms_iou)
            known = torch.cat([item[key] for key in ("ignore", "negatives") if key in item])
            least = _NEAR_IOBB if self.kind == "negative" else _IGNORE_IOBB
            free = ~lie_in(seen["boxes"], known, least)
            chosen.append(
                Detections(boxes=seen["boxes"][free], scores=seen["scores"][free], labels=seen["labels"][free])
            )
            boxes = item["view"].invert(seen["boxes"]).tolist()
            for box, score, is_free in zip(boxes, seen["scores"].tolist(), free.tolist()):
                self._seen[item["id"]][Find(int(item["slice"]), tuple(box), score)] = is_free
            if self.kind == "negative":
                there = torch.cat([item[key] for key in ("boxes", "ignore") if key in item])
                self._lesions[item["id"]][int(item["slice"])] = item["view"].invert(there).tolist()
        self._figures.append(mining_figures(items, chosen))

    def _write(self, engine: Engine) -> None:
        content = json.loads(self.datalist.read_text(encoding="utf-8"))
        splits: dict[str, list[Record]] = {split: content.pop(split) for split in SPLITS}
        by_id = {record["id"]: record for record in splits["training"]}
        strangers = sorted(set(self._seen) - set(by_id))
        if strangers:
            raise InputError(
                f"{self.datalist.name} has no training record {strangers[0]}, on which boxes were mined; expected the "
                "datalist the model was trained with, so name that one"
            )
        model = "" if self.weights is None else sha256_of(self.weights)
        added = 0
        for name, seen in self._seen.items():
            record = by_id[name]
            inside = {
                find._replace(box=box): free
                for find, free in seen.items()
                if (box := _clipped(find.box, record)) is not None
            }
            fresh = [find for find in enter_sightings(record, list(inside), model, self.same_iou) if inside[find]]
            record["annotations"] += self._regions(record, {find.slice for find in fresh})
            for find in fresh:
                annotation = _annotation(find.slice, find.box, self.kind)
                annotation["sightings"] = [sighting(model, find.score)]
                record["annotations"].append(annotation)
            added += len(fresh)
        write_datalist(self.out, content, splits)
        load_records(self.out, "training", self.out.parent)
        logger.info("wrote %s: %d boxes added (%s)", self.out, added, self.kind)
        total = {name: sum(f.get(name, 0.0) for f in self._figures) for name in _TOLD}
        if self.kind == "mined" and total["hidden_lesions"] and total["mined_boxes"]:
            logger.info("right %.0f of %.0f, hidden %.0f", *(total[name] for name in _TOLD))
        engine.state.metrics["boxes_added"] = float(added)
        engine.state.metrics["boxes_right"] = total["mined_right"]

    def _regions(self, record: Record, slices: set[int]) -> list[Annotation]:
        """Lesions known on ``slices`` that have no label there: regions to ignore, beside the record's own."""
        labelled = {a["slice"] for a in record["annotations"] if a["kind"] == "lesion"}
        present = {(a["slice"], tuple(a["box"])) for a in record["annotations"] if a["kind"] == "ignore"}
        regions = {
            (number, clipped): None
            for number in sorted(slices - labelled)
            for box in self._lesions.get(record["id"], {}).get(number, [])
            if (clipped := _clipped(box, record)) is not None
        }
        return [_annotation(*place, "ignore") for place in regions if place not in present]


def _annotation(number: int, box: tuple[float, ...], kind: Kind) -> Annotation:
    return Annotation(slice=number, box=list(box), label=1, kind=kind, lesion_type=UNKNOWN_TYPE, noisy=False)


def _clipped(box: Sequence[float], record: Record) -> tuple[float, float, float, float] | None:
    """What of a box lies within the record's image; None when nothing does."""
    width, height = record["size"]
    inside = clip_boxes_to_image(torch.tensor([box], dtype=torch.float64), (height, width))[0]
    x1, y1, x2, y2 = (round(edge, 3) for edge in inside.tolist())
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None
