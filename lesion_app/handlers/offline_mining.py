"""LENS's offline mining: a trained detector looks through the training sub-volumes, and an enriched datalist comes out.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section V.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import Progress
from torch import nn

from lesion_app.atomic_file import replacing
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.datalist import SPLITS, load_records, write_datalist
from lesion_app.data.record import Record
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import sha256_of
from lesion_app.metrics.mined_summary import mined_summary
from lesion_app.mining.cross_slice import key_slice_iou
from lesion_app.mining.delta_calibration import delta_for_false_share, distances_within_scans
from lesion_app.mining.enrich import Proposals, SliceDetections, enrich_records
from lesion_app.networks.lesion_embedding import embed_lesions
from lesion_app.progress import progress_bar

logger = logging.getLogger("lesion_app.mining")

_CROP = ("interval_mm", "num_slices", "size_mm", "size_px")


class OfflineMining:
    """Collects what an evaluator finds in whole sub-volumes, mines it, and writes datalist and summary.

    The evaluator runs over the records of one split, one sub-volume at a time (``bundle/configs/lens_mine.json``); of
    each only boxes and embeddings stay in memory. On all slices, those without any label included, are found:

    * ``cross_slice``: the annotated lesions on the slices around (theta);
    * ``intra_patient``: lesions annotated in another sub-volume of the patient, by embedding distance (delta);
    * ``cross_dataset``: what single-type experts are sure of (sigma), as regions to be ignored.

    Boxes that an earlier offline mining added (those with an ``origin``) are replaced, but for those that a reader
    answered. Written are ``out``, the datalist with the split's records enriched and all else unchanged, and beside it
    ``mining.json``: counts, and precision and recall of each strategy where the records' truth is known.

    Args:
        datalist: to be enriched.
        out: where the new one goes, another file; written when the evaluator has finished.
        split: whose records the evaluator runs over.
        theta, delta, sigma: the paper's thresholds.
        false_share: choose delta such that this share of finds known to be another lesion would be matched
            (`delta_for_false_share`) instead; None = take ``delta``.
        cross_slice, intra_patient, cross_dataset: which strategies take part.
        embedding: network of `embed_lesions`, for ``intra_patient``.
        crop: its ``num_slices, interval_mm, size_mm, size_px``, as it was trained with.
        partly_labelled: names of the experts that learnt from the data set mined; all others are single-type ones.
        weights: file of the detector; its SHA-256 stands in the ``sightings`` of mined boxes, which have none without.
        progress: show a bar.

    Raises:
        ValueError: a threshold out of its range, or ``intra_patient`` without an embedding or its crop.
        InputError: ``out`` is the datalist itself; (while running) ``cross_dataset`` with a detector that has no other
            experts or none of the ``partly_labelled`` ones, or a sub-volume that is no record of the datalist.
    """

    def __init__(
        self,
        datalist: str | Path,
        out: str | Path,
        split: str = "training",
        *,
        theta: float = 0.5,
        delta: float = 0.15,
        sigma: float = 0.5,
        false_share: float | None = None,
        cross_slice: bool = True,
        intra_patient: bool = True,
        cross_dataset: bool = True,
        embedding: nn.Module | None = None,
        crop: Mapping[str, Any] | None = None,
        partly_labelled: Sequence[str] = ("deeplesion",),
        weights: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        if not 0 <= theta < 1 or not delta > 0 or not 0 <= sigma <= 1:
            raise ValueError(f"need theta in [0, 1), delta > 0 and sigma in [0, 1], got {theta}, {delta} and {sigma}")
        if false_share is not None and not 0 < false_share < 1:
            raise ValueError(f"false_share must lie in (0, 1), got {false_share}")
        if intra_patient and (embedding is None or crop is None or set(crop) != set(_CROP)):
            raise ValueError(f"intra_patient needs an embedding and its crop ({', '.join(_CROP)})")
        self.datalist, self.out, self.split = Path(datalist), Path(out), split
        if self.datalist.resolve() == self.out.resolve():
            raise InputError(
                f"the enriched datalist would replace {self.datalist.name}, which it is made of; choose another folder"
            )
        self.theta, self.delta, self.sigma, self.false_share = theta, delta, sigma, false_share
        self.cross_slice, self.intra_patient, self.cross_dataset = cross_slice, intra_patient, cross_dataset
        self.embedding, self.crop = embedding, dict(crop or {})
        self.partly_labelled = tuple(partly_labelled)
        self.weights = None if weights is None else Path(weights)
        self.progress = progress
        self.summary: dict[str, Any] = {}
        self._records: dict[str, Record] = {}
        self._content: dict[str, Any] = {}
        self._proposals: dict[str, Proposals] = {}
        self._bar: Progress | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator on whole volumes."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._give_up)

    def _start(self, engine: Engine) -> None:
        load_records(self.datalist, self.split, self.datalist.parent)  # checks them
        self._content = json.loads(self.datalist.read_text(encoding="utf-8"))
        for record in self._content[self.split]:
            record["annotations"] = [a for a in record["annotations"] if "origin" not in a or a.get("reviews")]
        self._records = {record["id"]: record for record in self._content[self.split]}
        self._proposals = {}
        if self.progress:
            self._bar = progress_bar(Console(), "sub-volumes")
            self._bar.start()
            self._bar.add_task("", total=engine.state.epoch_length)

    def _collect(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        for item, lesions in zip(output["image"], output["pred"]):
            record = self._records.get(item["id"])
            if record is None:
                raise InputError(
                    f"{item['id']} was looked through, but {self.datalist.name} has no such record in '{self.split}'; "
                    "expected the records of that datalist, so name the same one for both"
                )
            self._proposals[record["id"]] = self._proposals_of(item, record, lesions)
            if self._bar is not None:
                self._bar.advance(self._bar.task_ids[0])

    def _proposals_of(self, item: dict[str, Any], record: Record, lesions: Sequence[Tracklet]) -> Proposals:
        marks = [a for a in record["annotations"] if a["kind"] == "lesion"]
        slices = [a["slice"] - record["slices"][0] for a in marks]
        boxes = [a["box"] for a in marks]
        if not self.cross_slice:
            # Without the finds that are an annotated lesion nothing is carried over; they match nothing else either.
            known = key_slice_iou(lesions, slices, boxes).max(axis=1, initial=0.0) > self.theta
            lesions = [lesion for lesion, is_known in zip(lesions, known) if not is_known]
        embeddings = of_marks = None
        if self.intra_patient:
            keys = [lesion.key_slice for lesion in lesions]
            places = [lesion.boxes[lesion.slices.index(key)] for lesion, key in zip(lesions, keys)]
            embeddings, of_marks = self._embed(item, keys, places), self._embed(item, slices, boxes)
        experts = self._experts(item, record) if self.cross_dataset else {}
        return Proposals(list(lesions), embeddings, of_marks, experts)

    def _embed(self, item: dict[str, Any], slices: Sequence[int], boxes: Sequence[Sequence[float]]) -> np.ndarray:
        assert self.embedding is not None  # __init__ saw to it
        view, spacing = item["view"], item["spacing_mm"]
        seen = (float(spacing[0]) / view.scale_x, float(spacing[1]) / view.scale_y, float(spacing[2]))
        places = view.apply(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4))
        return embed_lesions(self.embedding, item["image"], slices, places, seen, **self.crop).numpy().astype(float)

    def _experts(self, item: dict[str, Any], record: Record) -> dict[str, list[SliceDetections]]:
        """Boxes of score > sigma of every single-type expert, slice by slice."""
        depth = record["slices"][1] - record["slices"][0] + 1
        of_experts: Mapping[str, Sequence[Tracklet]] = item.get("expert_lesions", {})
        strangers = sorted(set(self.partly_labelled) - set(of_experts))
        if of_experts and strangers:
            raise InputError(
                f"'{strangers[0]}' is said to be the expert of the data set mined, but the detector's are "
                f"{', '.join(of_experts)}; name one of them (--partly-labelled)"
            )
        found = {
            name: _by_slice(lesions, depth, self.sigma)
            for name, lesions in of_experts.items()
            if name not in self.partly_labelled
        }
        if not found:
            raise InputError(
                "the detector has no expert of a single-type data set, which cross-dataset mining asks; give a LENS of "
                "several data sets (--config lens_inference) or leave that strategy out (--no-cross-dataset)"
            )
        return found

    def _write(self, engine: Engine) -> None:
        self._close_bar()
        records: list[Record] = self._content[self.split]
        delta = self.delta
        if self.intra_patient and self.false_share is not None:
            distances = distances_within_scans(records, self._proposals, self.theta)
            chosen = delta_for_false_share(distances, self.false_share)
            if chosen is None:
                logger.warning("delta could not be chosen from the data: no two lesions of one scan to compare")
            else:
                delta = chosen
                logger.info("delta %.4f: %.3g of %d pairs are nearer", delta, self.false_share, len(distances))
        model = None if self.weights is None else sha256_of(self.weights)
        enriched = enrich_records(
            records, self._proposals, theta=self.theta, delta=delta, sigma=self.sigma, model=model
        )
        head = {key: value for key, value in self._content.items() if key not in SPLITS}
        splits = {split: enriched if split == self.split else self._content[split] for split in SPLITS}
        write_datalist(self.out, head, splits)
        self.summary = {
            "datalist": self.out.name,
            "sub_volumes": len(self._proposals),
            "thresholds": {"theta": self.theta, "delta": delta, "sigma": self.sigma, "false_share": self.false_share},
            "strategies": mined_summary(enriched),
        }
        path = self.out.with_name("mining.json")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.summary, indent=1) + "\n", encoding="utf-8")
        logger.info("wrote %s and %s", self.out, path)
        for name, row in self.summary["strategies"].items():
            engine.state.metrics[f"{name}_boxes"] = float(row["boxes"])
        self._proposals = {}

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _give_up(self, engine: Engine, error: BaseException) -> None:
        self._close_bar()
        raise error  # Ignite takes a handled exception for dealt with


def _by_slice(lesions: Sequence[Tracklet], depth: int, above: float) -> list[SliceDetections]:
    """The 2D boxes that were linked to ``lesions``, slice by slice, those with a score > ``above``."""
    slices: list[tuple[list[Any], list[float]]] = [([], []) for _ in range(depth)]
    for lesion in lesions:
        for z, box, score in zip(lesion.slices, lesion.boxes, lesion.scores):
            if score > above:
                slices[z][0].append(box)
                slices[z][1].append(score)
    return [
        {"boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), "scores": torch.tensor(scores)}
        for boxes, scores in slices
    ]
