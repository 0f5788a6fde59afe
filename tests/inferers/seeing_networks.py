"""Detectors whose finds follow from the image, so that mirrored views and ensembles can be told apart."""

from __future__ import annotations

import torch
from torch import nn


class BrightestPixel(nn.Module):
    """Finds the brightest pixel, with a one-pixel box, a mask if wanted, and a score of its own."""

    def __init__(self, score: float = 0.8, masks: bool = False, dims: int = 2) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))
        self.masks = masks
        self.dims = dims
        self.looked = 0

    def forward(self, images, targets=None):
        self.looked += 1
        found = []
        for image in images:
            plane = image[image.shape[0] // 2] if self.dims == 2 else image[0]
            place = torch.nonzero(plane == plane.max())[0].flip(0).float()
            d = {
                "boxes": torch.cat([place, place + 1])[None],
                "scores": self.score.detach().reshape(1),
                "labels": torch.tensor([1]),
            }
            if self.masks:
                d["masks"] = (plane == plane.max()).float()[None, None]
            found.append(d)
        return found


class LeftOnly(BrightestPixel):
    """Blind for the right half of an image, so that its mirrored views disagree."""

    def forward(self, images, targets=None):
        found = super().forward(images)
        for image, d in zip(images, found):
            if d["boxes"][0, 0] >= image.shape[-1] // 2:
                d.update({k: v[:0] for k, v in d.items()})
        return found


def spot(x: int, y: int, width: int = 9, height: int = 7) -> torch.Tensor:
    image = torch.zeros(3, height, width)
    image[1, y, x] = 1
    return image
