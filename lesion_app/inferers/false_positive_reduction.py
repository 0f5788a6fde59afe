"""A second opinion on what a detector found: LENS's 3D false-positive reduction.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section IV-D, equation (2): s = (s_LENS + s_FPR) / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from lesion_app.boxes.tracklet import Tracklet
from transforms.lesion_patch import PatchGrid
from transforms.view import View

FindLesions = Callable[..., list[list[Tracklet]]]


class FalsePositiveReduction(Inferer):
    """MONAI inferer around another one: its lesions, with averaged scores.

    Args:
        inferer: any of the project that turns volume items into tracklets, such as ``WholeVolumeInferer``.
        classifier: `FalsePositiveNet` with its weights.
        grid: of the patches, as in training.
        weight: of the classifier's score in the mean, 0..1; 0.5 is equation (2).
        min_score: finds the detector scores below it are not looked at and count as if the classifier had said 0, so
            that they stay behind.
        batch_size: patches in memory at a time.
    """

    def __init__(
        self,
        inferer: FindLesions,
        classifier: nn.Module,
        grid: PatchGrid,
        weight: float = 0.5,
        min_score: float = 0.0,
        batch_size: int = 8,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1 or batch_size < 1:
            raise ValueError(f"need a weight in 0..1 and a positive batch_size, got {weight} and {batch_size}")
        self.inferer = inferer
        self.classifier = classifier
        self.grid = grid
        self.weight = weight
        self.min_score = min_score
        self.batch_size = batch_size

    def __call__(  # type: ignore[override]  # MONAI's engines hand on whatever prepare_batch made
        self, inputs: Sequence[dict[str, Any]], network: nn.Module, *args: Any, **kwargs: Any
    ) -> list[list[Tracklet]]:
        """Lesions of each volume by falling averaged score; arguments and boxes as ``WholeVolumeInferer``'s."""
        found = self.inferer(inputs, network, *args, **kwargs)
        return [self.rescore(item, lesions) for item, lesions in zip(inputs, found)]

    def rescore(self, item: dict[str, Any], lesions: Sequence[Tracklet]) -> list[Tracklet]:
        """Average the scores of one volume's lesions with the classifier's.

        Args:
            item: ``image`` [Z, h, w] HU, ``spacing_mm`` (x, y, z) of the original grid and ``view`` (original px -> px
                of ``image``).
            lesions: boxes in px of the original slices, slices = index in ``image``.

        Returns:
            the same lesions by falling score; equal scores keep their order.
        """
        view: View = item["view"]
        spacing_x, spacing_y, spacing_z = (float(v) for v in item["spacing_mm"])
        spacing = (spacing_x / view.scale_x, spacing_y / view.scale_y, spacing_z)
        looked_at = [i for i, lesion in enumerate(lesions) if lesion.score >= self.min_score]
        boxes = torch.tensor([lesions[i].score_weighted_box for i in looked_at], dtype=torch.float64).reshape(-1, 6)
        boxes[:, [0, 1, 3, 4]] = view.apply(boxes[:, [0, 1, 3, 4]])
        found = score_candidates(
            self.classifier, item["image"], boxes, spacing, grid=self.grid, batch_size=self.batch_size
        )
        scores = dict(zip(looked_at, found.tolist()))
        averaged = [average_score(lesion, scores.get(i, 0.0), self.weight) for i, lesion in enumerate(lesions)]
        return sorted(averaged, key=lambda lesion: -lesion.score)


@torch.no_grad()
def score_candidates(
    classifier: nn.Module,
    volume: Tensor,
    boxes: Tensor,
    spacing_mm: Sequence[float],
    *,
    grid: PatchGrid,
    batch_size: int = 8,
) -> Tensor:
    """Probability that each candidate of a volume is a lesion, s_FPR.

    Memory beside the volume is that of ``batch_size`` patches and their features.

    Args:
        classifier: (patches [N, 1, D, P, P] HU, boxes [N, 6]) -> logits [N, 1]; put into evaluation mode.
        volume: [Z, H, W] HU.
        boxes: [N, 6] (x1, y1, z1, x2, y2, z2) voxels of the volume, half-open.
        spacing_mm: (x, y, z) of the volume.
        grid: of the patches.
        batch_size: patches at a time.

    Returns:
        float32 [N], 0..1, on the CPU.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    centres = (boxes[:, :3] + boxes[:, 3:]) / 2
    scores = [torch.empty(0)]
    for start in range(0, len(boxes), batch_size):
        some = slice(start, start + batch_size)
        patches = torch.stack([grid.cut(volume, centre, spacing_mm) for centre in centres[some].tolist()])
        rois = grid.boxes_in(boxes[some], centres[some], spacing_mm).float()
        logits = classifier(patches[:, None].to(device), rois.to(device))
        scores.append(logits[:, 0].sigmoid().float().cpu())
    return torch.cat(scores)


def average_score(lesion: Tracklet, score: float, weight: float = 0.5) -> Tracklet:
    """The lesion with the mean of its own and the classifier's score (equation (2), for weight 0.5).

    Every slice's score is averaged with the lesion's one ``score``: the lesion's, which is the highest of its slices,
    becomes ``(1 - weight) * s + weight * score``, and its key slice stays.
    """
    return replace(lesion, scores=tuple((1 - weight) * s + weight * score for s in lesion.scores))
