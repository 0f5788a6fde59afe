"""Second stage of a two-stage detector in 2D and 3D: classes, boxes and, with a mask head, shapes of proposals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from lesion_app.networks.anchor_stage import chosen_boxes
from lesion_app.networks.box_coding_nd import decode_boxes, encode_boxes
from lesion_app.networks.detection_targets import has_mask
from lesion_app.networks.mask_head_nd import MaskHeadND, masks_in_boxes, masks_in_image
from lesion_app.networks.matching_nd import match_candidates
from lesion_app.networks.pyramid_roi_align import pool_pyramid
from lesion_app.networks.stochastic_hard_mining import random_choice, stochastic_hard_mining


class RoIStageND(nn.Module):
    """Box head (and mask head) on RoIAligned features.

    Sampling as in Jaeger et al.'s published program: every proposal is scored first; of an image's positive ones at
    most ``rois_per_image * positive_fraction`` are taken, and of its background ones as many as the fraction asks for
    (one at least) by stochastic hard example mining on these scores.

    Args:
        dim: 2 or 3.
        in_channels: of the pyramid.
        num_classes: foreground classes.
        level_sizes: see ``pool_pyramid``.
        roi_size: cells ((d,) h, w) for the box head; (7, 7) and (3, 7, 7) in the paper.
        sampling_ratio: points along each side of a cell.
        head_channels: of the two fully connected layers.
        fg_iou, bg_iou: a proposal is positive from / background below this IoU with a box; between it is not used.
        rois_per_image, positive_fraction, pool_factor: see above.
        add_ground_truth: let the labelled boxes be proposals too, in training.
        box_std, nms_iou, max_boxes, min_score, ignore_iobb: see ``AnchorStage``.
        mask_head: None = boxes only.
        mask_roi_size: cells for the mask head; (14, 14) and (5, 14, 14) in the paper.

    Raises:
        ValueError: a size of another dimension or a number out of its range.
    """

    def __init__(
        self,
        dim: int,
        in_channels: int,
        num_classes: int,
        level_sizes: Sequence[float],
        roi_size: Sequence[int],
        sampling_ratio: int,
        head_channels: int,
        fg_iou: float,
        bg_iou: float,
        rois_per_image: int,
        positive_fraction: float,
        pool_factor: int,
        add_ground_truth: bool,
        box_std: Sequence[float],
        nms_iou: float,
        max_boxes: int,
        min_score: float,
        ignore_iobb: float,
        mask_head: MaskHeadND | None = None,
        mask_roi_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if len(roi_size) != dim or (mask_head is not None and (mask_roi_size is None or len(mask_roi_size) != dim)):
            raise ValueError(f"roi sizes need {dim} numbers, got {list(roi_size)} and {mask_roi_size}")
        if not 0 < bg_iou <= fg_iou <= 1 or not 0 < positive_fraction < 1 or rois_per_image < 2:
            raise ValueError(
                "expected 0 < bg_iou <= fg_iou <= 1, a positive_fraction within (0, 1) and rois_per_image from 2, got "
                f"{bg_iou}, {fg_iou}, {positive_fraction} and {rois_per_image}"
            )
        self.num_classes = num_classes
        self.level_sizes = tuple(level_sizes)
        self.roi_size = tuple(roi_size)
        self.sampling_ratio = sampling_ratio
        self.fg_iou = fg_iou
        self.bg_iou = bg_iou
        self.rois_per_image = rois_per_image
        self.positive_fraction = positive_fraction
        self.pool_factor = pool_factor
        self.add_ground_truth = add_ground_truth
        self.box_std = tuple(box_std)
        self.nms_iou = nms_iou
        self.max_boxes = max_boxes
        self.min_score = min_score
        self.ignore_iobb = ignore_iobb
        self.head = TwoMLPHead(in_channels * math.prod(roi_size), head_channels)
        self.classes = nn.Linear(head_channels, num_classes + 1)
        self.offsets = nn.Linear(head_channels, num_classes * 2 * dim)
        self.mask_head = mask_head
        self.mask_roi_size = tuple(mask_roi_size or ())

    def losses(
        self, maps: dict[int, Tensor], proposals: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """``loss_classifier``, ``loss_box_reg`` and, with a mask head, ``loss_mask``; means over all that was sampled.

        Args:
            maps: of the pyramid, by level.
            proposals: ``[P, 2 * dim]`` an image.
            targets: see ``check_targets_nd``.
        """
        rois, labels, rows = self._sample(maps, proposals, targets)
        logits, offsets = self._predict(maps, rois)
        joined = torch.cat(labels)
        class_loss = F.cross_entropy(logits, joined, reduction="sum") / max(len(joined), 1)
        positive = (joined > 0).nonzero()[:, 0]
        wanted = torch.cat([t["boxes"].to(r)[row[c > 0]] for t, r, row, c in zip(targets, rois, rows, labels)])
        encoded = encode_boxes(wanted, torch.cat(rois)[positive], self.box_std)
        moved = offsets[positive, joined[positive] - 1]
        box_loss = F.smooth_l1_loss(moved, encoded, reduction="none").mean(dim=1)
        losses = {"loss_classifier": class_loss, "loss_box_reg": box_loss.sum() / max(len(positive), 1)}
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(maps, rois, labels, rows, targets)
        return losses

    def boxes(
        self, maps: dict[int, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]
    ) -> list[dict[str, Tensor]]:
        """``{boxes, scores, labels}`` of every image, by falling score; boxes lie within it."""
        logits, offsets = self._predict(maps, proposals)
        counts = [len(p) for p in proposals]
        found = []
        for logit, offset, proposal, size in zip(logits.split(counts), offsets.split(counts), proposals, sizes):
            scores = logit.softmax(dim=1)[:, 1:]
            rows, classes = (scores >= self.min_score).nonzero(as_tuple=True)
            boxes = decode_boxes(offset[rows, classes], proposal[rows], self.box_std)
            found.append(chosen_boxes(boxes, scores[rows, classes], classes + 1, size, self.nms_iou, self.max_boxes))
        return found

    def masks(
        self, maps: dict[int, Tensor], detections: Sequence[dict[str, Tensor]], sizes: Sequence[tuple[int, ...]]
    ) -> list[Tensor]:
        """Masks ``[N, (D,) H, W]`` of every image's detections: the probability of their class within their box.

        Raises:
            ValueError: there is no mask head.
        """
        if self.mask_head is None:
            raise ValueError("this second stage has no mask head")
        boxes = [d["boxes"] for d in detections]
        logits = self.mask_head(pool_pyramid(maps, boxes, self.mask_roi_size, self.level_sizes, self.sampling_ratio))
        labels = torch.cat([d["labels"] for d in detections])
        shapes = logits[torch.arange(len(labels), device=logits.device), labels - 1].sigmoid()
        counts = [len(b) for b in boxes]
        return [masks_in_image(shape, box, size) for shape, box, size in zip(shapes.split(counts), boxes, sizes)]

    def _predict(self, maps: dict[int, Tensor], rois: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits ``[R, classes + 1]`` and offsets ``[R, classes, 2 * dim]``, float32."""
        hidden = self.head(pool_pyramid(maps, rois, self.roi_size, self.level_sizes, self.sampling_ratio))
        return self.classes(hidden).float(), self.offsets(hidden).float().unflatten(1, (self.num_classes, -1))

    def _sample(
        self, maps: dict[int, Tensor], proposals: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """RoIs to learn from, their classes, and the rows of their boxes, of every image."""
        if self.add_ground_truth:
            proposals = [torch.cat([p, t["boxes"].to(p)]) for p, t in zip(proposals, targets)]
        with torch.no_grad():
            scores = self._predict(maps, proposals)[0].softmax(dim=1)[:, 1:].amax(dim=1)
        most = max(1, int(self.rois_per_image * self.positive_fraction))
        rois, classes, boxes = [], [], []
        for proposal, score, target in zip(proposals, scores.split([len(p) for p in proposals]), targets):
            labels, rows = match_candidates(
                proposal, target, self.fg_iou, self.bg_iou, self.ignore_iobb, best_is_positive=False
            )
            positive = random_choice((labels > 0).nonzero()[:, 0], most)
            background = (labels == 0).nonzero()[:, 0]
            count = max(1, int(len(positive) / self.positive_fraction - len(positive)))
            negative = background[stochastic_hard_mining(score[background], count, self.pool_factor)]
            chosen = torch.cat([positive, negative])
            rois.append(proposal[chosen])
            classes.append(labels[chosen])
            boxes.append(rows[chosen])
        return rois, classes, boxes

    def _mask_loss(
        self,
        maps: dict[int, Tensor],
        rois: Sequence[Tensor],
        labels: Sequence[Tensor],
        rows: Sequence[Tensor],
        targets: Sequence[dict[str, Tensor]],
    ) -> Tensor:
        assert self.mask_head is not None  # the caller asked
        used, classes, shapes = [], [], []
        size = [2 * n for n in self.mask_roi_size]
        for roi, label, row, target in zip(rois, labels, rows, targets):
            known = has_mask(target).to(label.device)
            outlined = label > 0
            if len(known):
                outlined = outlined & known[row]
            used.append(roi[outlined])
            classes.append(label[outlined])
            if bool(outlined.any()):
                masks = target["masks"].to(roi.device)[row[outlined]]
                shapes.append(masks_in_boxes(masks, roi[outlined], size, self.sampling_ratio))
        logits = self.mask_head(pool_pyramid(maps, used, self.mask_roi_size, self.level_sizes, self.sampling_ratio))
        joined = torch.cat(classes)
        chosen = logits[torch.arange(len(joined), device=logits.device), joined - 1]
        if not shapes:
            return chosen.sum()  # nothing, but part of the graph
        return F.binary_cross_entropy_with_logits(chosen, torch.cat(shapes))
