"""Lesions of a whole CT volume from LENS: what its experts say together, and what each says alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lesion_app.boxes.expert_fusion import fuse_experts
from lesion_app.boxes.expert_tracklet import ExpertTracklet
from lesion_app.boxes.overlap import box_iou
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.whole_volume import SliceDetections, WholeVolumeInferer


class ExpertVolumeInferer(WholeVolumeInferer):
    """:class:`~lesion_app.inferers.whole_volume.WholeVolumeInferer` for a network that tells its experts apart.

    The network reports every expert's detections under the expert's number, from 1 (``LENS(fuse=False)``). Returned
    are the fused lesions: slice by slice the experts' boxes are pooled and suppressed, then linked (LENS, section
    IV-C). Each expert's own lesions are left in the item as ``item["expert_lesions"]``, a dict by name.

    Args:
        experts: names of the data sets, in the network's order.
        fusion_nms_iou: see :func:`~lesion_app.boxes.expert_fusion.fuse_experts`.
        detections_per_slice: most fused boxes a slice; None = all.
        **rest: of ``WholeVolumeInferer``.
    """

    def __init__(
        self,
        *,
        experts: Sequence[str],
        fusion_nms_iou: float = 0.5,
        detections_per_slice: int | None = 50,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.experts = tuple(experts)
        self.fusion_nms_iou = fusion_nms_iou
        self.detections_per_slice = detections_per_slice

    def __call__(  # type: ignore[override]
        self, inputs: Sequence[dict[str, Any]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[list[Tracklet]]:
        """Fused lesions of each volume, by falling score; arguments as in ``WholeVolumeInferer``."""
        results = []
        for item in inputs:
            slices = self.detect_slices(item, network)
            item["expert_lesions"] = {
                name: [_of_expert(lesion, name) for lesion in self.linker(of_expert(slices, number))]
                for number, name in enumerate(self.experts, start=1)
            }
            results.append(self.fused_lesions(slices))
        return results

    def fused_lesions(self, slices: Sequence[SliceDetections]) -> list[Tracklet]:
        """Lesions of all experts together from their detections on the slices of one volume."""
        fused = [fuse_experts(found, self.fusion_nms_iou, self.detections_per_slice) for found in slices]
        lesions = self.linker([{k: v for k, v in found.items() if k != "experts"} for found in fused])
        return [_of_expert(lesion, self.experts[_finder(lesion, fused[lesion.key_slice]) - 1]) for lesion in lesions]


def of_expert(slices: Sequence[SliceDetections], number: int) -> list[SliceDetections]:
    """One expert's share (``number`` from 1) of detections on the slices of a volume, labelled 1 = lesion."""
    share = []
    for found in slices:
        own = found["labels"] == number
        boxes, scores, labels = (found[key][own] for key in ("boxes", "scores", "labels"))
        share.append({"boxes": boxes, "scores": scores, "labels": torch.ones_like(labels)})
    return share


def _finder(lesion: Tracklet, fused: SliceDetections) -> int:
    """Number of the expert whose box the lesion has on its key slice (or nearly has: a linker may move boxes)."""
    key_box = torch.tensor([lesion.boxes[lesion.slices.index(lesion.key_slice)]], dtype=torch.float64)
    return int(fused["experts"][box_iou(key_box, fused["boxes"].double())[0].argmax()])


def _of_expert(lesion: Tracklet, name: str) -> ExpertTracklet:
    return ExpertTracklet(lesion.slices, lesion.boxes, lesion.scores, lesion.label, name)
