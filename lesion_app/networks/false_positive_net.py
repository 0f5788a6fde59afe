"""Is this candidate a lesion? LENS's 3D classifier of what a detector found.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section IV-D and figure 2. What the paper leaves open stands in ``docs/false_positives.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lesion_app.networks.inflated_resnet import STRIDES, InflatedResNet18
from lesion_app.networks.roi_align_3d import roi_align_3d


class FalsePositiveNet(nn.Module):
    """Patches around candidates in, one logit each out; the sigmoid of it is the score s_FPR of equation (2).

    Features of four scales are cropped by RoIAlign, from blocks 1 to 3 in the candidate's box and from block 4 in the
    whole patch (section IV-D), put side by side and classified by two fully connected layers. Trained by the focal
    loss.

    Args:
        hu_min, hu_max: window scaled to 0 .. 1; HU beyond are clamped.
        image_mean, image_std: of the scaled image, subtracted and divided by before the first layer.
        width, z_kernels, pretrained: of the trunk, see `InflatedResNet18`.
        roi_size: cells (d, h, w) of each crop.
        roi_sampling_ratio: points along each side of a cell.
        head_channels: width of the hidden layer.

    Raises:
        InputError: see `InflatedResNet18`.
    """

    def __init__(
        self,
        hu_min: float = -1024.0,
        hu_max: float = 3071.0,
        image_mean: float = 0.449,
        image_std: float = 0.226,
        width: int = 64,
        z_kernels: Sequence[int] = (1, 1, 1, 3),
        roi_size: Sequence[int] = (3, 3, 3),
        roi_sampling_ratio: int = 2,
        head_channels: int = 256,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if not hu_min < hu_max or not image_std > 0:
            raise ValueError(
                f"need hu_min below hu_max and a positive image_std, got {hu_min}, {hu_max} and {image_std}"
            )
        self.hu_min, self.hu_max = float(hu_min), float(hu_max)
        self.image_mean, self.image_std = float(image_mean), float(image_std)
        self.roi_size, self.roi_sampling_ratio = tuple(roi_size), roi_sampling_ratio
        self.trunk = InflatedResNet18(1, z_kernels, width, pretrained)
        self.head_inputs = sum(self.trunk.out_channels) * math.prod(self.roi_size)
        self.head = nn.Sequential(
            nn.Linear(self.head_inputs, head_channels),
            nn.ReLU(inplace=True),
            nn.Linear(head_channels, 1),
        )

    def forward(self, patches: Tensor, boxes: Tensor) -> Tensor:
        """Classify candidates.

        Args:
            patches: [N, 1, D, H, W] HU, centred on the candidates.
            boxes: [N, 6] (x1, y1, z1, x2, y2, z2) voxels of the patch, half-open; clipped to it.

        Returns:
            logits [N, 1].
        """
        if not len(patches):
            return self.head(patches.new_zeros((0, self.head_inputs)))
        scaled = ((patches - self.hu_min) / (self.hu_max - self.hu_min)).clamp(0, 1)
        features = self.trunk((scaled - self.image_mean) / self.image_std)
        depth, height, width = patches.shape[2:]
        far = boxes.new_tensor([width, height, depth] * 2)
        inside = torch.minimum(boxes.clamp(min=0), far)
        whole = torch.cat([torch.zeros_like(far[:3]), far[:3]]).expand_as(boxes)
        crops = [
            roi_align_3d(
                maps,
                rois[:, None].unbind(0),
                self.roi_size,
                (1.0, 1.0 / stride, 1.0 / stride),
                self.roi_sampling_ratio,
            )
            for maps, rois, stride in zip(features, (inside, inside, inside, whole), STRIDES)
        ]
        return self.head(torch.cat(crops, dim=1).flatten(1))
