"""Which normalisation a convolutional backbone uses: trained, frozen or group-wise."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

NormKind = Literal["batch", "frozen", "group"]


def convert_norms(module: nn.Module, kind: NormKind, channels_per_group: int = 8) -> nn.Module:
    """Replace every ``BatchNorm2d`` below ``module`` in place and return ``module``.

    Args:
        module: any network built with batch normalisation.
        kind: ``batch`` leaves it as it is; ``frozen`` keeps statistics and affine parameters as loaded
            (no gradient, no update; meant for pretrained weights); ``group`` normalises each image by
            itself, so that teacher and student cannot differ in running statistics.
        channels_per_group: width of a group; channel counts it does not divide get one group.

    Raises:
        ValueError: on another ``kind``.
    """
    if kind not in ("batch", "frozen", "group"):
        raise ValueError(f"norm must be 'batch', 'frozen' or 'group', got {kind!r}")
    if kind == "batch":
        return module
    for name, child in module.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            convert_norms(child, kind, channels_per_group)
            continue
        new: nn.Module
        if kind == "frozen":
            new = FrozenBatchNorm2d(child.num_features, eps=child.eps)
            state = {k: v for k, v in child.state_dict().items() if k != "num_batches_tracked"}
            new.load_state_dict(state)
        else:
            groups = child.num_features // channels_per_group if child.num_features % channels_per_group == 0 else 1
            new = nn.GroupNorm(groups, child.num_features, eps=child.eps)
        setattr(module, name, new)
    return module
