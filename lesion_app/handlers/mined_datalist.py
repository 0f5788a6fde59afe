"""Offline mining: what a finished teacher finds on training slices, written into a new datalist."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ignite.engine import Engine, Events
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from lesion_app.data.datalist import SPLITS, load_records, write_datalist
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record
from lesion_app.errors import InputError
from lesion_app.handlers.mean_teacher import mining_figures
from lesion_app.mining.selection import Detections, select_mined

logger = logging.getLogger("lesion_app.mining")


class MinedDatalist:
    """Collects an evaluator's detections on key slices and adds them to the training records of a datalist.

    The evaluator runs over training items without augmentation (``bundle/configs/mine.json``). Its detections that
    no label explains become annotations in px of the original slice:

    * ``mined``: suspected lesions. Training takes them up when ``key_slice_items`` is told so: the one-shot,
      multi-stage way that online mining is compared with (Cai et al., Lesion Harvester, IEEE TMI 2021).
    * ``negative``: where the items looked through are labelled completely, a detection without a label is a false one:
      a hard negative (P- of Bai & Xia's Table I, after Lesion Harvester).

    Args:
        datalist: the datalist to add to.
        out: where the new one goes; written when the evaluator has finished.
        score_threshold: lowest score of what is added.
        gt_nms_iou: detections that overlap a label by more are that label.
        kind: ``mined`` or ``negative``.

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
    ) -> None:
        if kind not in ("mined", "negative"):
            raise ValueError(f"kind must be 'mined' or 'negative', got {kind!r}")
        self.datalist = Path(datalist)
        self.out = Path(out)
        self.score_threshold = score_threshold
        self.gt_nms_iou = gt_nms_iou
        self.kind = kind
        self._found: list[tuple[str, int, Tensor]] = []
        self._figures: list[dict[str, float]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose output keeps ``image`` out and ``pred`` in (``mine.json``)."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._found.clear()
        self._figures.clear()

    def _collect(self, engine: Engine) -> None:
        items: Sequence[dict[str, Any]] = engine.state.batch  # type: ignore[assignment]
        predictions: Sequence[Detections] = engine.state.output["pred"]  # type: ignore[index,call-overload]
        chosen = []
        for item, prediction in zip(items, predictions):
            on_cpu: Detections = {k: prediction[k].cpu() for k in ("boxes", "scores", "labels")}  # type: ignore[assignment,literal-required]
            found = select_mined(on_cpu, item["boxes"], self.score_threshold, self.gt_nms_iou, item["ignore"])
            chosen.append(found)
            for box in item["view"].invert(found["boxes"]):
                self._found.append((item["id"], int(item["slice"]), box))
        self._figures.append(mining_figures(items, chosen))

    def _write(self, engine: Engine) -> None:
        content = json.loads(self.datalist.read_text(encoding="utf-8"))
        splits: dict[str, list[Record]] = {split: content.pop(split) for split in SPLITS}
        by_id = {record["id"]: record for record in splits["training"]}
        strangers = sorted({name for name, _, _ in self._found} - set(by_id))
        if strangers:
            raise InputError(
                f"{self.datalist.name} has no training record {strangers[0]}, on which boxes were mined; expected the "
                "datalist the model was trained with, so name that one"
            )
        for name, number, box in self._found:
            record = by_id[name]
            height_width = (record["size"][1], record["size"][0])
            x1, y1, x2, y2 = (round(v, 3) for v in clip_boxes_to_image(box[None], height_width)[0].tolist())
            if x2 > x1 and y2 > y1:
                entry = Annotation(
                    slice=number, box=[x1, y1, x2, y2], label=1, kind=self.kind, lesion_type=UNKNOWN_TYPE, noisy=False
                )
                record["annotations"].append(entry)
        write_datalist(self.out, content, splits)
        load_records(self.out, "training", self.out.parent)
        logger.info("wrote %s: %d boxes added (%s)", self.out, len(self._found), self.kind)
        total = {name: sum(f.get(name, 0.0) for f in self._figures) for name in ("mined_right", "hidden_lesions")}
        if self.kind == "mined" and total["hidden_lesions"] and self._found:
            logger.info(
                "right %.0f of %d, hidden %.0f", total["mined_right"], len(self._found), total["hidden_lesions"]
            )
        engine.state.metrics["boxes_added"] = float(len(self._found))
        engine.state.metrics["boxes_right"] = total["mined_right"]
