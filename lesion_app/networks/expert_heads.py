"""Second stage of LENS: fully connected layers that all data sets share, and for each its own last layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from lesion_app.networks.roi_heads import IgnoringRoIHeads


class ExpertRoIHeads(IgnoringRoIHeads):
    """:class:`~lesion_app.networks.roi_heads.IgnoringRoIHeads` with one classification and regression layer a data set.

    Yan et al., IEEE TMI 40(10), 2021, section IV-C. The layers of data sets that an image is not of take no part in
    its losses, so that their gradients stay None.

    Args:
        experts: number of data sets.
        representation_size: width of ``box_head``'s result.
        prior: probability of a lesion before training.
        *args, **rest: of ``IgnoringRoIHeads``, without ``box_predictor``.
    """

    def __init__(
        self,
        box_roi_pool: nn.Module,
        box_head: nn.Module,
        *,
        experts: int,
        representation_size: int,
        prior: float,
        **rest: Any,
    ) -> None:
        predictors = nn.ModuleList(lesion_predictor(representation_size, prior) for _ in range(experts))
        super().__init__(box_roi_pool, box_head, predictors, **rest)

    def train_experts(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
        owners: Sequence[int],
    ) -> dict[str, Tensor]:
        """Losses ``loss_classifier`` and ``loss_box_reg``; ``owners`` names each image's data set (from 0)."""
        proposals, labels, wanted = self._sample(proposals, targets)
        hidden = self.box_head(self._pool(features, proposals, sizes))
        counts = torch.tensor([len(p) for p in proposals], device=hidden.device)
        owner = torch.tensor(owners, device=hidden.device).repeat_interleave(counts)
        present = sorted(set(owners))
        if len(present) == 1:
            logits, deltas = self.box_predictor[present[0]](hidden)
        else:
            rows = torch.cat([torch.where(owner == expert)[0] for expert in present])
            parts = [self.box_predictor[expert](hidden[owner == expert]) for expert in present]
            back = rows.argsort()
            logits, deltas = (torch.cat(of_all)[back] for of_all in zip(*parts))
        return self._losses(logits, deltas, labels, wanted)

    def ask_experts(
        self,
        features: dict[str, Tensor],
        proposals: Sequence[list[Tensor]],
        sizes: list[tuple[int, int]],
        experts: Sequence[int],
    ) -> list[list[dict[str, Tensor]]]:
        """What each of ``experts`` (from 0) finds: for each of them, for each image ``{boxes, scores, labels}``.

        Args:
            features, sizes: as in ``IgnoringRoIHeads``.
            proposals: for each of ``experts`` the images' proposals; the very same list is pooled once.
            experts: whom to ask; ``labels`` are their numbers from 1.
        """
        found = []
        held: list[Tensor] | None = None
        for expert, of_expert in zip(experts, proposals):
            if of_expert is not held:
                hidden, held = self.box_head(self._pool(features, of_expert, sizes)), of_expert
            logits, deltas = self.box_predictor[expert](hidden)
            results = zip(*self.postprocess_detections(logits, deltas, of_expert, sizes))
            found.append([{"boxes": b, "scores": s, "labels": c * (expert + 1)} for b, s, c in results])
        return found


def lesion_predictor(representation_size: int, prior: float) -> FastRCNNPredictor:
    """Background and lesion from ``[R, representation_size]``, with the initial values of the main detector."""
    predictor = FastRCNNPredictor(representation_size, 2)
    nn.init.normal_(predictor.cls_score.weight, std=0.01)
    nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
    nn.init.zeros_(predictor.bbox_pred.bias)
    nn.init.zeros_(predictor.cls_score.bias)
    predictor.cls_score.bias.data[1] = -math.log((1 - prior) / prior)
    return predictor
