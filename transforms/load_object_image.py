"""Load a 2D image that is no CT, and the masks of its objects."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from PIL import Image
from torch import Tensor

from lesion_app.errors import InputError


class LoadObjectImage(Transform):
    """Load a ``.npy`` array [H, W] or [C, H, W], values as they are.

    Raises:
        InputError: no such file, no array of numbers, or one of another shape.
    """

    def __call__(self, path: str | os.PathLike[str]) -> Tensor:
        """float32 [C, H, W]; C = 1 for a plain image."""
        values = _read(Path(path))
        if values.ndim not in (2, 3) or values.dtype.kind not in "iufb" or not values.size:
            raise InputError(
                f"{Path(path).name} holds a {values.dtype} array of shape {list(values.shape)}; expected an image of "
                "numbers [H, W] or [C, H, W], so write the data set anew"
            )
        image = torch.from_numpy(values.astype(np.float32))
        return image[None] if image.ndim == 2 else image


class LoadInstanceMasks(Transform):
    """Load an image of object numbers (``.png`` or ``.npy``, [H, W], 0 = background) as one mask an object.

    Raises:
        InputError: no such file, no two-dimensional array of whole numbers.
    """

    def __call__(  # type: ignore[override]
        self, path: str | os.PathLike[str], instances: Sequence[int]
    ) -> Tensor:
        """uint8 [N, H, W], one for each number of ``instances`` in their order; empty where an object has no pixel."""
        values = _read(Path(path))
        if values.ndim != 2 or values.dtype.kind not in "iub":
            raise InputError(
                f"{Path(path).name} holds a {values.dtype} array of shape {list(values.shape)}; expected object "
                "numbers [H, W], so write the data set anew"
            )
        numbers = torch.as_tensor(instances, dtype=torch.int64).reshape(-1, 1, 1)
        return (torch.from_numpy(values.astype(np.int64))[None] == numbers).to(torch.uint8)


class LoadObjectImaged(MapTransform):
    """Dictionary form of both.

    Reads ``item[key]`` (path) and, where present, ``item[mask_key]`` (path) with ``item[instances_key]``. Writes
    ``item[key]`` float32 [C, H, W] and ``item[masks_key]`` uint8 [N, H, W].

    Raises:
        InputError: also when image and mask differ in size.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: str = "mask",
        instances_key: str = "instances",
        masks_key: str = "masks",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.instances_key = instances_key
        self.masks_key = masks_key
        self.load_image = LoadObjectImage()
        self.load_masks = LoadInstanceMasks()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.load_image(item[key])
            if self.mask_key not in item:
                continue
            masks = self.load_masks(item[self.mask_key], item[self.instances_key])
            if masks.shape[-2:] != item[key].shape[-2:]:
                raise InputError(
                    f"mask {Path(item[self.mask_key]).name} is {list(masks.shape[-2:])} where its image is "
                    f"{list(item[key].shape[-2:])}; expected one size, so write the data set anew"
                )
            item[self.masks_key] = masks
        return item


def _read(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with Image.open(path) as picture:
            return np.array(picture)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path.name} cannot be read as an image ({type(error).__name__}); expected a complete .npy or .png file, "
            "so write the data set anew"
        ) from error


LoadObjectImageD = LoadObjectImageDict = LoadObjectImaged
