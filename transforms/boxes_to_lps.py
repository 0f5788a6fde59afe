"""Boxes of a volume in patient millimetres, the way label servers and archives want them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.box_utils import CenterSizeMode, convert_box_mode
from monai.transforms import MapTransform, Transform
from torch import Tensor

from transforms.geometry import VolumeGeometry


class BoxesToLPS(Transform):
    """Boxes [N, 6] (x1, y1, z1, x2, y2, z2) of the network grid -> [N, 6] (x, y, z, width, height, depth) LPS mm.

    Half-open boxes reach to the outer faces of their voxels, and so do the result's sides (MONAI's own
    ``AffineBoxToWorldCoordinated`` takes edges for voxel centres, half a voxel off).
    """

    def __call__(self, boxes: Tensor, geometry: VolumeGeometry) -> Tensor:  # type: ignore[override]
        """Float64 [N, 6], MONAI's box mode ``cccwhd``."""
        corners = torch.from_numpy(geometry.boxes_to_lps(boxes.detach().cpu().numpy()))
        if not len(corners):
            return corners
        return convert_box_mode(corners, src_mode="xyzxyz", dst_mode=CenterSizeMode)  # type: ignore[return-value]


class BoxesToLPSd(MapTransform):
    """Dictionary form of `BoxesToLPS`; ``item[geometry_key]`` is the `VolumeGeometry`, as `LoadCTd` writes it."""

    def __init__(
        self, keys: KeysCollection = "box", geometry_key: str = "geometry", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.geometry_key = geometry_key
        self.convert = BoxesToLPS()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.convert(item[key], item[self.geometry_key])
        return item


BoxesToLPSD = BoxesToLPSDict = BoxesToLPSd
