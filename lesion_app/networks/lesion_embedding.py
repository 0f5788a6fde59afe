"""What a lesion looks like, as a point on a sphere: the stand-in for LesaNet's embedding in intra-patient matching.

LENS (Yan et al., IEEE TMI 40(10), 2021, section V-B) takes the embedding of LesaNet (Yan et al., CVPR 2019), whose
weights cannot be had. This one is ours: a small network trained within the project by `NTXentLoss` on pairs of looks at
one lesion. LesaNet also saw reports and body parts; distances are not comparable, so delta has to be chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from transforms.lesion_crop import crop_lesions
from transforms.slab import cut_slab


class LesionEmbedding(nn.Module):
    """Crops in, vectors of length 1 out.

    Convolutions with group normalisation (no statistics that differ between training and use), halving the image at
    each stage; the vector sees the mean over the whole crop beside its centre, where the lesion is.

    Args:
        num_slices: S of a crop.
        channels: width of the stages; the crop must be divisible by 2 at each of them.
        dimension: D of the vectors.
        hu_min, hu_max: window scaled to -1 .. 1 before the first layer; HU beyond are clamped.
    """

    def __init__(
        self,
        num_slices: int = 3,
        channels: Sequence[int] = (24, 48, 96, 128),
        dimension: int = 64,
        hu_min: float = -1024.0,
        hu_max: float = 600.0,
    ) -> None:
        super().__init__()
        self.num_slices, self.dimension = num_slices, dimension
        self.hu_min, self.hu_max = float(hu_min), float(hu_max)
        stages: list[nn.Module] = []
        before = num_slices
        for width in channels:
            stages += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.GroupNorm(max(1, width // 8), width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(max(1, width // 8), width),
                nn.ReLU(inplace=True),
            ]
            before = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Linear(2 * before, 2 * before), nn.ReLU(inplace=True), nn.Linear(2 * before, dimension)
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Embed crops [N, S, P, P] in HU: [N, D], each of length 1."""
        scaled = ((crops - self.hu_min) / (self.hu_max - self.hu_min)).clamp(0, 1) * 2 - 1
        features = self.stages(scaled)
        height, width = features.shape[-2:]
        centre = features[..., height // 4 : height - height // 4, width // 4 : width - width // 4]
        pooled = torch.cat([features.mean(dim=(2, 3)), centre.mean(dim=(2, 3))], dim=1)
        return normalize(self.head(pooled), dim=1)


@torch.no_grad()
def embed_lesions(
    network: nn.Module,
    volume: Tensor,
    slices: Sequence[int],
    boxes: Any,
    spacing_mm: Sequence[float],
    *,
    interval_mm: float = 2.0,
    num_slices: int = 3,
    size_mm: float = 50.0,
    size_px: int = 48,
    batch: int = 64,
) -> Tensor:
    """Embed lesions of one sub-volume, each by the crop around its box (of a tracklet, the one on its key slice).

    Args:
        network: [N, S, P, P] HU -> [N, D], `LesionEmbedding` or another.
        volume: [Z, H, W] HU, px of the boxes.
        slices: N indices into the volume.
        boxes: [N, 4] (x1, y1, x2, y2) px, half-open.
        spacing_mm: (x, y, z) of the volume.
        interval_mm, num_slices, size_mm, size_px: of the crops, as in training (`RandLesionPaird`).
        batch: crops at a time.

    Returns:
        float32 [N, D] on the CPU, [0, 0] for N = 0.

    Raises:
        ValueError: as many slices as boxes are expected.
    """
    places = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if len(slices) != len(places):
        raise ValueError(f"expected one slice a box, got {len(slices)} slices and {len(places)} boxes")
    if not len(places):
        return torch.zeros(0, 0)
    network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    found = []
    for start in range(0, len(places), batch):
        centres = torch.as_tensor(slices[start : start + batch], dtype=torch.float64)
        slabs = cut_slab(volume, centres, float(spacing_mm[2]), num_slices=num_slices, interval_mm=interval_mm)
        crops = crop_lesions(slabs, places[start : start + batch], spacing_mm, size_mm=size_mm, size_px=size_px)
        found.append(network(crops.to(device)).cpu())
    return torch.cat(found)
