"""The anchor-based region proposal network as one of several proposal networks of LENS (Table II, "RPN")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RPNHead

from lesion_app.networks.anchors import SingleLevelAnchors
from lesion_app.networks.proposal_choice import ProposalChoice, Proposed, Sizes, Targets
from lesion_app.networks.rpn import IgnoringRPN


class AnchorRPN(IgnoringRPN):
    """:class:`~lesion_app.networks.rpn.IgnoringRPN` called as a
    :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`; its losses are torchvision's two.

    Args:
        in_channels: of the map.
        stride: px of the input a cell covers.
        anchor_sizes, anchor_ratios: px of the input; height / width.
        fg_iou, bg_iou, samples_per_image, positive_fraction, straddle_px, ignore_iobb: as
            :class:`~lesion_app.networks.faster_rcnn_25d.FasterRCNN25D` names them, without ``rpn_``.
        pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size: see
            :class:`~lesion_app.networks.proposal_choice.ProposalChoice`.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int = 4,
        anchor_sizes: Sequence[float] = (16, 24, 32, 48, 96),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        fg_iou: float = 0.7,
        bg_iou: float = 0.3,
        samples_per_image: int = 32,
        positive_fraction: float = 0.5,
        straddle_px: float | None = 0.0,
        ignore_iobb: float = 0.5,
        pre_nms_train: int = 12000,
        pre_nms_test: int = 6000,
        post_nms_train: int = 2000,
        post_nms_test: int = 300,
        nms_iou: float = 0.7,
        min_size: float = 8.0,
    ) -> None:
        anchors = SingleLevelAnchors(anchor_sizes, anchor_ratios, stride)
        super().__init__(
            anchors,
            RPNHead(in_channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=fg_iou,
            bg_iou_thresh=bg_iou,
            batch_size_per_image=samples_per_image,
            positive_fraction=positive_fraction,
            pre_nms_top_n={"training": pre_nms_train, "testing": pre_nms_test},
            post_nms_top_n={"training": post_nms_train, "testing": post_nms_test},
            nms_thresh=nms_iou,
            ignore_iobb=ignore_iobb,
            straddle_px=straddle_px,
            min_size=min_size,
        )
        self.choice = ProposalChoice(pre_nms_train, pre_nms_test, post_nms_train, post_nms_test, nms_iou, min_size)

    def forward(  # type: ignore[override]
        self, features: Tensor, sizes: Sizes, targets: Targets | None = None
    ) -> Proposed:
        """Proposals, scores and losses, see :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`."""
        anchors: Tensor = self.anchor_generator.on_map(*features.shape[-2:], features.device)  # type: ignore[operator]
        logits, deltas = self._score(features)
        # Only boxes that can be chosen are decoded: there are anchors by the hundred thousand.
        best, top = logits.detach().topk(self.choice.looked_at(self.training, logits.shape[1]), dim=1)
        chosen = deltas.detach().gather(1, top[..., None].expand(-1, -1, 4))
        boxes = self.box_coder.decode_single(chosen.flatten(0, 1), anchors[top].flatten(0, 1)).unflatten(0, top.shape)
        proposals, scores = self.choice(boxes, best.sigmoid(), sizes, self.training)
        if targets is None:
            return proposals, scores, {}
        sized = [{**t, "_size": torch.tensor(size)} for t, size in zip(targets, sizes)]
        labels, matched = self.assign_targets_to_anchors([anchors] * len(sized), sized)
        wanted = self.box_coder.encode(matched, [anchors] * len(sized))
        objectness, box_loss = self.compute_loss(logits, deltas.flatten(0, 1), labels, list(wanted))
        return proposals, scores, {"loss_objectness": objectness, "loss_rpn_box_reg": box_loss}
