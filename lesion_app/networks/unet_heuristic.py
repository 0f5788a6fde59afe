"""U-Net + heuristic: segment, and call every connected component an object.

Jaeger et al., "Retina U-Net", ML4H 2019, section 3.3 and figure 2e. I/O: ``model(images, targets)``, images a list of
``[S, H, W]`` slabs (``backbone.dim`` 2) or ``[C, D, H, W]`` volumes (3), sizes may differ; targets as in
``check_targets_nd``. Training returns a dict of losses, evaluation a list of ``{boxes [N, 4 | 6], scores [N], labels
[N], masks [N, (D,) H, W]}`` in px or voxels of the image. An image without boxes is valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from lesion_app.networks.detection_targets import check_targets_nd
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.segmentation_stage import SegmentationStage


class UNetHeuristic(nn.Module):
    """Segmentation on P0, connected components of the likeliest class, their highest probability as score.

    Args:
        backbone: pyramid with level 0; [0] alone is enough.
        num_classes: foreground classes.
        dice_weight, cross_entropy_weight, class_weights: see ``SegmentationStage``.
        candidates_per_class: most components of a class in an image, those of the highest score.
        detection_score: lowest score reported.
        return_masks: report each component as a mask of its class's probability.

    Raises:
        ValueError: the backbone has no level 0.
    """

    def __init__(
        self,
        backbone: PyramidBackbone,
        num_classes: int = 1,
        dice_weight: float = 0.5,
        cross_entropy_weight: float = 0.5,
        class_weights: Sequence[float] | None = None,
        candidates_per_class: int = 10,
        detection_score: float = 0.1,
        return_masks: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.candidates_per_class = candidates_per_class
        self.detection_score = detection_score
        self.return_masks = return_masks
        self.segmentation = SegmentationStage(
            backbone, num_classes, True, dice_weight, cross_entropy_weight, class_weights
        )

    @property
    def num_slices(self) -> int:
        """Channels of an image: in 2D the slices of a slab."""
        return self.backbone.in_channels

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """``loss_segmentation`` in training mode, detections in evaluation mode (see the module's docstring)."""
        if self.training:
            targets = check_targets_nd(images, targets, self.num_classes)
        maps, sizes = self.backbone(images, 0)
        logits = self.segmentation(maps[0])
        if self.training:
            assert targets is not None  # checked above
            return {"loss_segmentation": self.segmentation.loss(logits, targets, sizes)}
        found = []
        for logit, size in zip(logits.detach(), sizes):
            probability = logit[(slice(None), *(slice(n) for n in size))].softmax(dim=0)
            found.append(self._objects(probability))
        return found

    def _objects(self, probability: Tensor) -> dict[str, Tensor]:
        """Detections of one image from its class probabilities ``[classes, (D,) H, W]``."""
        likeliest = probability.argmax(dim=0).cpu().numpy()
        values = probability.cpu().numpy()
        dim = likeliest.ndim
        boxes, scores, labels = [np.empty((0, 2 * dim))], [np.empty(0)], [np.empty(0, dtype=np.int64)]
        masks = [np.empty((0, *likeliest.shape), dtype=values.dtype)]
        for label in range(1, self.num_classes + 1):
            numbered, count = ndimage.label(likeliest == label)
            if not count:
                continue
            best = np.asarray(ndimage.maximum(values[label], numbered, np.arange(1, count + 1)))
            order = np.argsort(-best, kind="stable")[: self.candidates_per_class]
            order = order[best[order] >= self.detection_score]
            spans = ndimage.find_objects(numbered)
            edges = np.array([[[s.start, s.stop] for s in spans[i][::-1]] for i in order]).reshape(-1, dim, 2)
            boxes.append(edges.transpose(0, 2, 1).reshape(-1, 2 * dim))
            scores.append(best[order])
            labels.append(np.full(len(order), label))
            if self.return_masks:
                masks.append(np.stack([values[label] * (numbered == i + 1) for i in order]) if len(order) else masks[0])
        score = np.concatenate(scores)
        ranked = np.argsort(-score, kind="stable")
        result = {
            "boxes": torch.from_numpy(np.concatenate(boxes)[ranked]).to(probability),
            "scores": torch.from_numpy(score[ranked]).to(probability),
            "labels": torch.from_numpy(np.concatenate(labels)[ranked]).to(probability.device),
        }
        if self.return_masks:
            result["masks"] = torch.from_numpy(np.concatenate(masks)[ranked]).to(probability)
        return result
