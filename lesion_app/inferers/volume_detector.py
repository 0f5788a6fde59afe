"""The whole-volume inferer under the calling contract of MONAI's 3D detectors, which MONAI Label runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lesion_app.inferers.whole_volume import WholeVolumeInferer
from lesion_app.networks.inference_detector import Precision, inference_detector


class VolumeDetector:
    """Volumes in, 3D boxes out; ``detector.network`` is set by the caller before it calls.

    Args:
        inferer: finds and links the lesions of a volume.
        min_score: lowest score told.
        precision: of :func:`lesion_app.networks.inference_detector.inference_detector`.
    """

    def __init__(self, inferer: WholeVolumeInferer, min_score: float = 0.1, precision: Precision = "auto") -> None:
        self.inferer = inferer
        self.min_score = min_score
        self.precision = precision
        self.network: nn.Module | None = None

    def __call__(self, images: Tensor, use_inferer: bool = True) -> list[dict[str, Tensor]]:
        """Lesions of each volume, best first.

        Args:
            images: ``MetaTensor`` [B, Z, h, w] in HU with ``meta`` of ``transforms.volume_in_meta.VolumeInMetad``; one
                meta serves all, so B is 1.
            use_inferer: MONAI's switch; a volume is always looked at as a whole.

        Returns:
            a volume's ``box`` [N, 6] (x1, y1, z1, x2, y2, z2) half-open voxels of the ORIGINAL axial grid, ``label``
            [N] from 0, ``label_scores`` [N].

        Raises:
            ValueError: more than one volume, no meta, or no network.
        """
        meta: dict[str, Any] = getattr(images, "meta", {})
        if len(images) != 1 or self.network is None or not {"spacing_mm", "view"} <= set(meta):
            raise ValueError(
                f"needs a network, and one volume with spacing_mm and view in its meta; got {len(images)} volume(s), "
                f"{'a' if self.network is not None else 'no'} network and a meta of {sorted(meta)}"
            )
        # plain: MetaTensor would watch over every operation on every slab
        volume = images.as_subclass(torch.Tensor)[0]
        item = {"image": volume, "spacing_mm": meta["spacing_mm"], "view": meta["view"]}
        network = inference_detector(self.network, self.precision)
        lesions = [one for one in self.inferer([item], network)[0] if one.score >= self.min_score]
        device = images.device
        return [
            {
                "box": torch.tensor([one.extent for one in lesions], dtype=torch.float64, device=device).reshape(-1, 6),
                "label": torch.tensor([one.label - 1 for one in lesions], dtype=torch.int64, device=device),
                "label_scores": torch.tensor([one.score for one in lesions], dtype=torch.float32, device=device),
            }
        ]
