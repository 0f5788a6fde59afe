"""Crop the air around the body."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from transforms.boxes_to_tensor import BOX_KEYS
from transforms.view import View
from transforms.view_transform import ViewTransformd

BodySlices = Literal["middle", "all"]


class CropBlackBorder(Transform):
    """Crop slices in plane to the body's bounding box (MULAN's border clip, Yan et al. 2019).

    The body is what remains of HU > ``body_hu`` after an opening with a square of ``opening_px``:
    noise, clothes and a thin table top vanish, a thick one stays (a crop may be too wide, never too
    tight). Without a body nothing is cropped.

    Args:
        body_slices: "middle" looks at the middle slice (slabs), "all" at every slice (volumes; one
            at a time, so memory stays that of a slice).
        body_hu: threshold, HU; the image must be in HU.
        opening_px: side of the square, px.
        margin_px: added on every side, px.

    Raises:
        ValueError: for an unknown ``body_slices``, an opening below 1 or a negative margin.
    """

    def __init__(
        self, body_slices: BodySlices = "middle", body_hu: float = -768.0, opening_px: int = 7, margin_px: int = 0
    ) -> None:
        if body_slices not in get_args(BodySlices):
            raise ValueError(f'body_slices must be "middle" or "all", got {body_slices!r}')
        if opening_px < 1 or margin_px < 0:
            raise ValueError(f"opening_px must be >= 1 and margin_px >= 0, got {opening_px} and {margin_px}")
        self.body_slices = body_slices
        self.body_hu = body_hu
        self.opening_px = opening_px
        self.margin_px = margin_px

    def __call__(self, image: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, View]:
        """Crop ``image`` [S, H, W] in HU; the window is widened to hold ``boxes`` [N, 4] (px).

        Returns:
            the crop [S, h, w], its own memory, and the view that leads to it (a shift).
        """
        height, width = image.shape[-2:]
        looked_at = image if self.body_slices == "all" else image[image.shape[0] // 2][None]
        found = [bounds for one in looked_at if (bounds := self._body(one)) is not None]
        if not found:
            return image, View()
        windows = np.array(found, dtype=np.float64) + np.array([-1, -1, 1, 1]) * self.margin_px
        if boxes is not None and len(boxes):
            windows = np.concatenate([windows, boxes.detach().cpu().double().numpy()])
        x1, y1 = (int(v) for v in np.floor(windows[:, :2].min(axis=0)).clip(0))
        x2, y2 = (int(v) for v in np.minimum(np.ceil(windows[:, 2:].max(axis=0)), [width, height]))
        if (x1, y1, x2, y2) == (0, 0, width, height):
            return image, View()
        return image[:, y1:y2, x1:x2].clone(), View(shift_x=-x1, shift_y=-y1)

    def _body(self, image: Tensor) -> tuple[int, int, int, int] | None:
        """Bounds (x1, y1, x2, y2) of the opened body mask of one slice [H, W], or None."""
        size = self.opening_px
        if min(image.shape) < size:
            return None
        mask = (image > self.body_hu).cpu().numpy().view(np.uint8)
        # The opening is the union of the squares that fit into the mask; its bounds follow from
        # their upper left corners, which the filter's origin makes the eroded mask's pixels.
        corners = ndimage.minimum_filter(mask, size, mode="constant", cval=0, origin=-(size // 2))
        rows, columns = np.flatnonzero(corners.any(axis=1)), np.flatnonzero(corners.any(axis=0))
        if not len(rows):
            return None
        return int(columns[0]), int(rows[0]), int(columns[-1]) + size, int(rows[-1]) + size


class CropBlackBorderd(ViewTransformd):
    """Dictionary form of `CropBlackBorder`; view and boxes move along (see `ViewTransformd`).

    The window holds every box under ``hold_keys``, as far as it lies in the image. Boxes that only
    measure (``truth_boxes``) move along but do not widen it: what is cut must not depend on the truth.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        body_slices: BodySlices = "middle",
        body_hu: float = -768.0,
        opening_px: int = 7,
        margin_px: int = 0,
        view_key: str = "view",
        box_keys: Sequence[str] = BOX_KEYS,
        hold_keys: Sequence[str] = ("boxes", "ignore"),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, view_key, box_keys, allow_missing_keys)
        self.hold_keys = tuple(hold_keys)
        self.crop = CropBlackBorder(body_slices, body_hu, opening_px, margin_px)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            boxes = [held for name, held in self.boxes_of(item).items() if name in self.hold_keys]
            image, step = self.crop(item[key], torch.cat(boxes) if boxes else None)
            self.move(item, key, image, step)
        return item


CropBlackBorderD = CropBlackBorderDict = CropBlackBorderd
