"""LENS: one detector for many data sets, each labelled in its own way.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section IV. All data sets share the backbone and the box head's fully connected layers;
each has an expert of its own, a proposal network and the last layers of the box head. Only the expert of an image's
data set learns from it.

I/O (torchvision's protocol): ``model(slabs, targets)`` with ``slabs`` a list of float ``[S, H, W]`` slabs scaled to
[0, 255] (HU -1024..3071), sizes may differ; ``targets`` a list of ``{boxes [N, 4] float px, labels [N] int64, dataset
int64 scalar (place of the image's data set, from 0; may be left out with one data set), ignore [M, 4] (optional)}``.
Training returns a dict of losses, evaluation a list of ``{boxes [K, 4], scores [K], labels [K]}`` in px of the slab.

Sources of the numbers: ``docs/lens.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign

from lesion_app.boxes.expert_fusion import fuse_experts
from lesion_app.networks.centerness_rpn import CenternessRPN
from lesion_app.networks.densenet_25d import DenseNet25D, SliceFeatures
from lesion_app.networks.expert_heads import ExpertRoIHeads
from lesion_app.networks.faster_rcnn_25d import BoxHead, check_targets
from lesion_app.networks.proposal_choice import pool_proposals
from lesion_app.networks.slab_batch import slab_batch


class LENS(nn.Module):
    """Lesion ensemble: a shared 2.5D backbone and one expert a data set.

    With one data set it is a two-stage detector of that set with any of the proposal networks (Table II; Table I, a).

    Args:
        backbone: the feature extractor.
        datasets: names of the data sets; their places are the experts' numbers, from 1 in ``labels``.
        proposal_network: called with (channels, stride) of the backbone's map once for each data set:
            :class:`~lesion_app.networks.centerness_rpn.CenternessRPN` or another
            :class:`~lesion_app.networks.proposal_choice.ProposalNetwork`, e.g. as a ``functools.partial``.
        pool_proposals: every expert looks at the proposals of all (the paper); False: at its own only.
        proposals_train, proposals_test: most pooled proposals an image.
        proposal_nms_iou: of the NMS over pooled proposals.
        pixel_mean: subtracted from the scaled intensities (MULAN: 50).
        box_*: second stage, as in :class:`~lesion_app.networks.faster_rcnn_25d.FasterRCNN25D`; ``box_nms_iou`` and
            ``box_detections_per_image`` are each expert's. ``box_regression_weight`` is lambda_2 of equation 1.
        ignore_iobb: share of a proposal inside an ignore region from which it gives no gradient in the second stage.
        fuse: report the experts' detections as one list of lesions (labels 1, and which expert each is of under
            ``experts`` ``[K]``); False: all of them, labelled with their expert's number. May be set at any time.
        fusion_nms_iou: of the NMS over the experts' detections.
        expert: report this data set's expert alone (labels 1; Table I, b); None = all. May be set at any time.
        initialised: False leaves the box head's shared layers at zero, for a network whose weights are loaded next.

    Raises:
        ValueError: without a data set, with one named twice, or when ``expert`` is none of them.
    """

    def __init__(
        self,
        backbone: DenseNet25D,
        datasets: Sequence[str],
        proposal_network: Callable[[int, int], nn.Module] = CenternessRPN,
        pool_proposals: bool = True,
        proposals_train: int = 2000,
        proposals_test: int = 300,
        proposal_nms_iou: float = 0.7,
        pixel_mean: float = 50.0,
        box_roi_size: int = 7,
        box_roi_sampling_ratio: int = 2,
        box_head_channels: int = 2048,
        box_dropout: float = 0.0,
        box_fg_iou: float = 0.5,
        box_bg_iou: float = 0.5,
        box_samples_per_image: int = 64,
        box_positive_fraction: float = 0.25,
        box_coder_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        box_smooth_l1_beta: float = 1.0,
        box_regression_weight: float = 10.0,
        box_prior: float = 0.01,
        box_score_threshold: float = 0.01,
        box_nms_iou: float = 0.5,
        box_detections_per_image: int = 50,
        ignore_iobb: float = 0.5,
        fuse: bool = True,
        fusion_nms_iou: float = 0.5,
        expert: str | None = None,
        initialised: bool = True,
    ) -> None:
        super().__init__()
        if not datasets or len(set(datasets)) < len(datasets):
            raise ValueError(f"datasets must be names, each once, at least one; got {list(datasets)}")
        if expert is not None and expert not in datasets:
            raise ValueError(f"expert must be one of {', '.join(datasets)}, got {expert!r}")
        self.datasets = tuple(datasets)
        self.backbone = backbone
        self.pool_proposals = pool_proposals
        self.proposals_train, self.proposals_test = proposals_train, proposals_test
        self.proposal_nms_iou = proposal_nms_iou
        self.pixel_mean = pixel_mean
        self.box_regression_weight = box_regression_weight
        self.fuse, self.fusion_nms_iou, self.expert = fuse, fusion_nms_iou, expert
        width = backbone.out_channels
        self.proposal_networks = nn.ModuleList(proposal_network(width, backbone.stride) for _ in datasets)
        self.roi_heads = ExpertRoIHeads(
            MultiScaleRoIAlign(["0"], output_size=box_roi_size, sampling_ratio=box_roi_sampling_ratio),
            BoxHead(width * box_roi_size**2, box_head_channels, box_dropout, initialised),
            experts=len(datasets),
            representation_size=box_head_channels,
            prior=box_prior,
            fg_iou_thresh=box_fg_iou,
            bg_iou_thresh=box_bg_iou,
            batch_size_per_image=box_samples_per_image,
            positive_fraction=box_positive_fraction,
            bbox_reg_weights=tuple(box_coder_weights),
            score_thresh=box_score_threshold,
            nms_thresh=box_nms_iou,
            detections_per_img=box_detections_per_image,
            ignore_iobb=ignore_iobb,
            smooth_l1_beta=box_smooth_l1_beta,
        )

    @property
    def num_slices(self) -> int:
        """Slices of a slab the network takes."""
        return 3 * self.backbone.num_images

    def forward(
        self, slabs: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode (see the module's docstring).

        Raises:
            ValueError: in training, for targets that name no data set of this network, or as the main detector.
        """
        if self.training:
            check_targets(slabs, targets)
        sizes = [(int(s.shape[-2]), int(s.shape[-1])) for s in slabs]
        batch = self._batch(slabs)
        features = self.backbone(batch.unflatten(1, (self.backbone.num_images, 3)))
        if self.training:
            assert targets is not None  # check_targets saw to it
            return self._learn(features, sizes, targets)
        return self._find(features, sizes)

    def slice_features(self, images: Tensor) -> list[SliceFeatures]:
        """Encode three-slice images ``[N, 3, H, W]`` (scaled to [0, 255]), one ``SliceFeatures`` each."""
        return self.backbone.slice_features(self._batch(list(images))).split()

    def detect(self, slabs: Sequence[Sequence[SliceFeatures]], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Detect on slabs given by their images' shared features; equals ``forward`` in evaluation mode.

        Args:
            slabs: for each slab its images' features, in order.
            size: (H, W) of the slabs before padding, px.
        """
        return self._find(self.backbone.fuse(slabs), [size] * len(slabs))

    def _batch(self, slabs: list[Tensor]) -> Tensor:
        return slab_batch(slabs, self.backbone.size_divisible) - self.pixel_mean

    def _learn(
        self, features: Tensor, sizes: list[tuple[int, int]], targets: list[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        owners = self._owners(targets)
        losses: dict[str, Tensor] = {}
        boxes: list[list[Tensor]] = [[] for _ in sizes]
        scores: list[list[Tensor]] = [[] for _ in sizes]

        def take(images: list[int], found: list[Tensor], certainty: list[Tensor]) -> None:
            for image, box, score in zip(images, found, certainty):
                boxes[image].append(box)
                scores[image].append(score)

        for number, network in enumerate(self.proposal_networks):
            own = [i for i, owner in enumerate(owners) if owner == number]
            other = [i for i, owner in enumerate(owners) if owner != number]
            # Learning comes first: autocast keeps the weights it casts, and those cast without gradient have none.
            if own:
                found, certainty, of_network = network(
                    features[own], [sizes[i] for i in own], [targets[i] for i in own]
                )
                take(own, found, certainty)
                for name, loss in of_network.items():
                    losses[name] = losses.get(name, features.new_zeros(())) + loss * (len(own) / len(owners))
            if other and self.pool_proposals:
                with torch.no_grad():
                    found, certainty, _ = network(features[other], [sizes[i] for i in other])
                take(other, found, certainty)
        proposals = [
            pool_proposals(b, s, self.proposal_nms_iou, self.proposals_train)[0] for b, s in zip(boxes, scores)
        ]
        box_losses = self.roi_heads.train_experts({"0": features}, proposals, sizes, targets, owners)
        box_losses["loss_box_reg"] = self.box_regression_weight * box_losses["loss_box_reg"]
        return {**losses, **box_losses}

    def _find(self, features: Tensor, sizes: list[tuple[int, int]]) -> list[dict[str, Tensor]]:
        asked = range(len(self.datasets)) if self.expert is None else [self.datasets.index(self.expert)]
        found = self.roi_heads.ask_experts({"0": features}, self._proposals(features, sizes, asked), sizes, asked)
        together = [
            {key: torch.cat([of_image[key] for of_image in image]) for key in ("boxes", "scores", "labels")}
            for image in zip(*found)
        ]
        if len(asked) == 1:
            return [
                {**image, "labels": torch.ones_like(image["labels"]), "experts": image["labels"]} for image in together
            ]
        if not self.fuse:
            return together
        return [fuse_experts(image, self.fusion_nms_iou, self.roi_heads.detections_per_img) for image in together]

    def _proposals(
        self, features: Tensor, sizes: list[tuple[int, int]], asked: Sequence[int]
    ) -> Sequence[list[Tensor]]:
        """For each of the experts asked the images' proposals; one and the same list where they are pooled."""
        if not self.pool_proposals:
            return [self.proposal_networks[number](features, sizes)[0] for number in asked]
        each = [network(features, sizes)[:2] for network in self.proposal_networks]
        pooled = [
            pool_proposals(boxes, scores, self.proposal_nms_iou, self.proposals_test)[0]
            for boxes, scores in zip(zip(*(b for b, _ in each)), zip(*(s for _, s in each)))
        ]
        return [pooled] * len(asked)

    def _owners(self, targets: list[dict[str, Tensor]]) -> list[int]:
        """Each image's data set (from 0)."""
        owners = []
        for i, target in enumerate(targets):
            if "dataset" not in target and len(self.datasets) > 1:
                raise ValueError(f"target {i} does not say which of {', '.join(self.datasets)} its image is of")
            owners.append(int(target.get("dataset", 0)))
            if not 0 <= owners[-1] < len(self.datasets):
                raise ValueError(f"dataset of target {i} is {owners[-1]}, expected 0 to {len(self.datasets) - 1}")
        return owners
