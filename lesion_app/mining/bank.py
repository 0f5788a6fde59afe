"""A memory of what the teacher found on each slice: a box counts once it was found often enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou
from lesion_app.mining.checks import Predict
from lesion_app.mining.selection import Detections


class MinedBoxBank:
    """Confirms a box when the teacher found it in ``needed`` of its last ``visits`` looks at the slice.

    A box found often enough stays a positive in a visit that misses it, and goes when it is found no longer. Ours;
    the thought is that of temporal ensembling (Laine & Aila, ICLR 2017), where predictions of earlier epochs steady the
    target, applied to boxes.

    The teacher looks at every slice in the same view each time, so boxes of different visits can be compared. The
    memory grows with the boxes found (about 100 bytes each), and is kept in the training state. With several processes
    each remembers its own visits.

    Args:
        needed: k, visits that must have found the box, in 1..n.
        visits: n, last visits that count.
        same_box_iou: IoU from which a find and a remembered box are the same; pairs are made by falling score.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(self, needed: int = 2, visits: int = 3, same_box_iou: float = 0.5) -> None:
        if not 1 <= needed <= visits:
            raise ValueError(f"needed must lie in 1..visits, got {needed} of {visits}")
        if not 0 < same_box_iou <= 1:
            raise ValueError(f"same_box_iou must lie in (0, 1], got {same_box_iou}")
        self.needed = needed
        self.visits = visits
        self.same_box_iou = same_box_iou
        self._memory: dict[str, dict[str, Tensor]] = {}

    def confirm(
        self, items: Sequence[dict[str, Any]], mined: Sequence[Detections], predict: Predict
    ) -> list[Detections]:
        """Enter what was found on each item's slice (``id``, ``slice``) and return what is confirmed there now."""
        return [self.visit(f"{item['id']}/{item['slice']}", found) for item, found in zip(items, mined)]

    def visit(self, key: str, found: Detections) -> Detections:
        """Enter one visit of slice ``key``; returns its confirmed boxes by falling number of finds."""
        known = self._memory.get(key)
        boxes, scores, labels = (found[name].detach().cpu() for name in ("boxes", "scores", "labels"))  # type: ignore[literal-required]
        if known is None:
            known = {
                "boxes": boxes.new_zeros((0, 4)),
                "scores": scores.new_zeros(0),
                "labels": labels.new_zeros(0),
                "hits": torch.zeros((0, self.visits), dtype=torch.bool),
            }
        partner = match_boxes(boxes, scores, known["boxes"], self.same_box_iou)
        hits = torch.cat((known["hits"][:, 1:], known["hits"].new_zeros((len(known["hits"]), 1))), dim=1)
        seen = partner >= 0
        place = partner[seen]
        hits[place, -1] = True
        old_boxes, old_scores = known["boxes"].clone(), known["scores"].clone()
        old_boxes[place], old_scores[place] = boxes[seen], scores[seen]
        fresh_hits = torch.zeros((int((~seen).sum()), self.visits), dtype=torch.bool)
        fresh_hits[:, -1] = True
        memory = {
            "boxes": torch.cat((old_boxes, boxes[~seen])),
            "scores": torch.cat((old_scores, scores[~seen])),
            "labels": torch.cat((known["labels"], labels[~seen])),
            "hits": torch.cat((hits, fresh_hits)),
        }
        alive = memory["hits"].any(dim=1)
        memory = {name: value[alive] for name, value in memory.items()}
        if len(memory["boxes"]):
            self._memory[key] = memory
        else:
            self._memory.pop(key, None)
        count = memory["hits"].sum(dim=1)
        chosen = torch.argsort(count, descending=True, stable=True)
        chosen = chosen[count[chosen] >= self.needed]
        return {name: memory[name][chosen] for name in ("boxes", "scores", "labels")}  # type: ignore[return-value]

    def __len__(self) -> int:
        """Boxes remembered."""
        return sum(len(memory["boxes"]) for memory in self._memory.values())

    def state_dict(self) -> dict[str, Any]:
        """Tensors only, so that it can be loaded with ``weights_only``."""
        return {"visits": self.visits, "memory": {key: dict(value) for key, value in self._memory.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved memory.

        Raises:
            ValueError: when it was kept over another number of visits.
        """
        if state["visits"] != self.visits:
            raise ValueError(f"the saved bank looks at {state['visits']} visits, this one at {self.visits}")
        self._memory = {key: dict(value) for key, value in state["memory"].items()}


def match_boxes(boxes: Tensor, scores: Tensor, known: Tensor, iou_threshold: float) -> Tensor:
    """Index of the known box each box is, or -1; greedily by falling score, each known box once.

    Args:
        boxes ``[N, 4]``, scores ``[N]``, known ``[M, 4]``: px of one view.
        iou_threshold: smallest IoU of a pair.
    """
    partner = torch.full((len(boxes),), -1, dtype=torch.int64)
    if not len(boxes) or not len(known):
        return partner
    iou = box_iou(boxes, known)
    # A handful of boxes a slice: the greedy rule is sequential by nature.
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        best, j = iou[i].max(dim=0)
        if best >= iou_threshold:
            partner[i] = j
            iou[:, j] = -1.0
    return partner
