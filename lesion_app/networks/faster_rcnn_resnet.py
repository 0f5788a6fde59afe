"""torchvision's Faster R-CNN on a ResNet with a feature pyramid, as a detector of the benchmark.

I/O (torchvision's protocol): ``model(slabs, targets)`` with ``slabs`` a list of float ``[S, H, W]``, S = 1 or 3, scaled
to [0, 255]; ``targets`` a list of ``{boxes [N, 4] float px, labels [N] int64, ignore [M, 4] (optional)}``. Training
returns a dict of losses, evaluation a list of ``{boxes [K, 4], scores [K], labels [K]}`` in px of the slab. An image
without boxes is valid.

The model is torchvision's: Ren et al., "Faster R-CNN", 2015; Lin et al., "Feature pyramid networks", 2017. All defaults
are those of ``torchvision.models.detection.fasterrcnn_resnet50_fpn``, which Pianese ("Benchmarking SOTA visual object
detection techniques for medical applications", section 3.1) used "out of the box"; ours are the ignored regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import MultiScaleRoIAlign

from lesion_app.networks.faster_rcnn_25d import check_targets
from lesion_app.networks.faster_rcnn_weights import load_pretrained
from lesion_app.networks.norms import NormKind, convert_norms
from lesion_app.networks.roi_heads import IgnoringRoIHeads
from lesion_app.networks.rpn import IgnoringRPN

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FasterRCNNResNet(nn.Module):
    """Faster R-CNN with a ResNet-FPN backbone and ignored regions.

    Args:
        num_classes: foreground classes.
        backbone: one of ``RESNETS``.
        weights: None, ``coco`` (resnet50), ``imagenet`` (the backbone alone) or the path of a state dict; see
            `load_pretrained`.
        num_slices: slices of a slab, 1 (repeated in the three colour channels) or 3 (one a channel).
        norm: of the backbone; torchvision takes ``frozen`` with weights and ``batch`` without.
        norm_eps: of the normalisation; COCO's weights were trained with 0.
        trainable_stages: of the backbone's five, counted from the last; torchvision takes 3 with weights and 5 without.
        fpn_channels: width of the pyramid.
        image_mean, image_std: of the intensities in [0, 1]; one number, or one for each channel.
        min_size, max_size: the network resizes an image such that its short side has ``min_size`` px unless its long
            one would exceed ``max_size``.
        anchor_sizes: px of the resized image, one for each of the five levels (stride 4 to 64).
        anchor_ratios: height / width.
        rpn_*, box_*: first and second stage; ``*_train`` / ``*_test`` as torchvision's training / testing values, the
            proposals before suppression being counted for each level.
        ignore_iobb: share of a candidate inside an ignore region from which it gives no gradient.

    Raises:
        InputError: when the weights cannot be had or do not fit.
        ValueError: for another backbone, number of slices, of stages or of anchor sizes.
    """

    def __init__(
        self,
        num_classes: int = 8,
        backbone: str = "resnet50",
        weights: str | None = None,
        num_slices: int = 1,
        norm: NormKind = "batch",
        norm_eps: float = 1e-5,
        trainable_stages: int = 5,
        fpn_channels: int = 256,
        image_mean: float | Sequence[float] = IMAGENET_MEAN,
        image_std: float | Sequence[float] = IMAGENET_STD,
        min_size: int = 800,
        max_size: int = 1333,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rpn_fg_iou: float = 0.7,
        rpn_bg_iou: float = 0.3,
        rpn_samples_per_image: int = 256,
        rpn_positive_fraction: float = 0.5,
        rpn_pre_nms_train: int = 2000,
        rpn_pre_nms_test: int = 1000,
        rpn_post_nms_train: int = 2000,
        rpn_post_nms_test: int = 1000,
        rpn_nms_iou: float = 0.7,
        rpn_min_size: float = 1e-3,
        box_roi_size: int = 7,
        box_roi_sampling_ratio: int = 2,
        box_head_channels: int = 1024,
        box_fg_iou: float = 0.5,
        box_bg_iou: float = 0.5,
        box_samples_per_image: int = 512,
        box_positive_fraction: float = 0.25,
        box_coder_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        box_smooth_l1_beta: float = 1 / 9,
        box_score_threshold: float = 0.05,
        box_nms_iou: float = 0.5,
        box_detections_per_image: int = 100,
        ignore_iobb: float = 0.5,
    ) -> None:
        super().__init__()
        if backbone not in RESNETS:
            raise ValueError(f"backbone must be one of {', '.join(RESNETS)}, got {backbone!r}")
        if num_slices not in (1, 3):
            raise ValueError(f"num_slices must be 1 or 3, the colour channels being three, got {num_slices}")
        if not 0 <= trainable_stages <= 5:
            raise ValueError(f"trainable_stages must lie in 0..5, got {trainable_stages}")
        if len(anchor_sizes) != 5:
            raise ValueError(f"one anchor size is needed for each of 5 levels, got {len(anchor_sizes)}")
        self.num_slices = num_slices
        mean, std = ([v] * 3 if isinstance(v, (int, float)) else list(v) for v in (image_mean, image_std))
        self.transform = GeneralizedRCNNTransform(min_size, max_size, mean, std)
        self.backbone = _pyramid(backbone, fpn_channels, norm, norm_eps)
        anchors = AnchorGenerator(tuple((s,) for s in anchor_sizes), (tuple(anchor_ratios),) * 5)
        self.rpn = PyramidRPN(
            anchors,
            RPNHead(fpn_channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=rpn_fg_iou,
            bg_iou_thresh=rpn_bg_iou,
            batch_size_per_image=rpn_samples_per_image,
            positive_fraction=rpn_positive_fraction,
            pre_nms_top_n={"training": rpn_pre_nms_train, "testing": rpn_pre_nms_test},
            post_nms_top_n={"training": rpn_post_nms_train, "testing": rpn_post_nms_test},
            nms_thresh=rpn_nms_iou,
            ignore_iobb=ignore_iobb,
            straddle_px=None,
            min_size=rpn_min_size,
        )
        self.roi_heads = IgnoringRoIHeads(
            MultiScaleRoIAlign(["0", "1", "2", "3"], box_roi_size, box_roi_sampling_ratio),
            TwoMLPHead(fpn_channels * box_roi_size**2, box_head_channels),
            FastRCNNPredictor(box_head_channels, num_classes + 1),
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
        if weights:
            load_pretrained(self, weights, backbone)
        _freeze(self.backbone.body, trainable_stages)

    def forward(
        self, slabs: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training mode, detections in evaluation mode (see the module's docstring)."""
        if self.training:
            check_targets(slabs, targets)
        sizes = [(int(s.shape[-2]), int(s.shape[-1])) for s in slabs]
        images, _ = self.transform([self._colours(s) for s in slabs])
        wanted = None
        if self.training and targets is not None:
            wanted = [_resized(t, a, b) for t, a, b in zip(targets, sizes, images.image_sizes)]
        features = self.backbone(images.tensors)
        proposals, rpn_losses = self.rpn(images, features, wanted)
        found, box_losses = self.roi_heads(features, proposals, images.image_sizes, wanted)
        if self.training:
            return {**rpn_losses, **box_losses}
        return self.transform.postprocess(found, images.image_sizes, sizes)

    def _colours(self, slab: Tensor) -> Tensor:
        if slab.shape[0] != self.num_slices:
            raise ValueError(f"a slab of {slab.shape[0]} slices came to a network of {self.num_slices}")
        return (slab / 255.0).expand(3, -1, -1)


class PyramidRPN(IgnoringRPN):
    """torchvision's RPN over several levels, with the ignored regions and the losses of `IgnoringRPN`."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals ``[N, 4]`` an image, and in training the losses (torchvision's names)."""
        # Past IgnoringRPN's own, which is for one level.
        return RegionProposalNetwork.forward(self, images, features, targets)


def _pyramid(name: str, channels: int, norm: NormKind, norm_eps: float) -> BackboneWithFPN:
    """ResNet ``name`` without its classifier, under a pyramid of five levels."""
    net = get_model(name, weights=None, norm_layer=partial(nn.BatchNorm2d, eps=norm_eps))
    stages = {f"layer{i}": str(i - 1) for i in range(1, 5)}
    first = net.inplanes // 8
    made = BackboneWithFPN(net, stages, [first * 2**i for i in range(4)], channels)
    convert_norms(made.body, norm)
    return made


def _freeze(body: nn.Module, stages: int) -> None:
    """Leave the last ``stages`` of the five to the optimiser; with all five the first normalisation, too."""
    trained = _STAGES[:stages] + (("bn1",) if stages == 5 else ())
    for name, parameter in body.named_parameters():
        if not name.startswith(trained):
            parameter.requires_grad_(False)


def _resized(target: dict[str, Tensor], before: tuple[int, int], after: tuple[int, int]) -> dict[str, Tensor]:
    """``target`` on the resized image; every entry that holds boxes moves along."""
    boxes = ("boxes", "ignore", "negatives")
    return {k: resize_boxes(v, list(before), list(after)) if k in boxes else v for k, v in target.items()}
