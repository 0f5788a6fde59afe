"""Resample slices to one pixel spacing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import Transform
from torch import Tensor

from transforms.boxes_to_tensor import BOX_KEYS
from transforms.resize import resize_slices
from transforms.view import View
from transforms.view_transform import ViewTransformd


class InPlaneSpacing(Transform):
    """Resample to a pixel spacing, with a cap on the longer side (MULAN, Yan et al. 2019: 0.8 mm, 512 px).

    Args:
        spacing_mm: pixel spacing to reach, mm.
        max_size: longest side of the result, px; a larger one is shrunk further, x and y alike.

    Raises:
        ValueError: for a spacing or size that is not positive.
    """

    def __init__(self, spacing_mm: float = 0.8, max_size: int = 512) -> None:
        if not spacing_mm > 0 or max_size < 1:
            raise ValueError(f"spacing_mm and max_size must be positive, got {spacing_mm} and {max_size}")
        self.spacing_mm = spacing_mm
        self.max_size = max_size

    def __call__(self, image: Tensor, spacing_mm: Sequence[float]) -> tuple[Tensor, View]:  # type: ignore[override]
        """Resample ``image`` [S, H, W], whose pixels are ``spacing_mm`` (x, y, ...) mm apart.

        Returns:
            [S, h, w] of the same number type, and the view of the exact scales w / W and h / H.
        """
        height, width = image.shape[-2:]
        target_height = height * spacing_mm[1] / self.spacing_mm
        target_width = width * spacing_mm[0] / self.spacing_mm
        shrink = min(1.0, self.max_size / max(target_height, target_width))
        new_height, new_width = max(1, round(target_height * shrink)), max(1, round(target_width * shrink))
        return resize_slices(image, new_height, new_width), View(new_width / width, new_height / height)


class InPlaneSpacingd(ViewTransformd):
    """Dictionary form of `InPlaneSpacing`; view and boxes move along (see `ViewTransformd`).

    ``item[spacing_key]`` is the spacing (x, y, z) mm of the ORIGINAL slice, as the loaders write it;
    what the view has scaled since is taken into account.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        spacing_mm: float = 0.8,
        max_size: int = 512,
        spacing_key: str = "spacing_mm",
        view_key: str = "view",
        box_keys: Sequence[str] = BOX_KEYS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, view_key, box_keys, allow_missing_keys)
        self.resample = InPlaneSpacing(spacing_mm, max_size)
        self.spacing_key = spacing_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            view, spacing = item[self.view_key], item[self.spacing_key]
            image, step = self.resample(item[key], (spacing[0] / view.scale_x, spacing[1] / view.scale_y))
            self.move(item, key, image, step)
        return item


InPlaneSpacingD = InPlaneSpacingDict = InPlaneSpacingd
