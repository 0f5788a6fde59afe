"""Load the masks of the lesions on a slice of a prepared volume."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from transforms.load_object_image import LoadInstanceMasks
from transforms.view import View


class LoadLesionMasks(Transform):
    """Read ``<NNN>.png`` of a folder of masks (`lesion_app.data.mask_series`); a slice without a file has no lesion.

    Raises:
        InputError: the file holds no numbers of lesions.
    """

    def __init__(self) -> None:
        self.read = LoadInstanceMasks()

    def __call__(  # type: ignore[override]
        self, folder: str | os.PathLike[str], slice_number: int, lesions: Sequence[int | None]
    ) -> Tensor | None:
        """Masks on the original slice, which are empty for lesions that the file does not show.

        Args:
            folder: of the masks.
            slice_number: file number of the slice.
            lesions: numbers of the 3D lesions, from 0 (None = no number and so no mask).

        Returns:
            uint8 [N, H, W], one a lesion in their order; None without a file.
        """
        path = Path(folder) / f"{slice_number:03d}.png"
        if not path.exists():
            return None
        return self.read(path, [-1 if number is None else number + 1 for number in lesions])


class LoadLesionMasksd(MapTransform):
    """Dictionary form of `LoadLesionMasks`.

    Reads ``item[key]`` (folder), ``item[slice_key]`` and ``item[lesions_key]``; writes ``item[masks_key]`` in px of the
    ORIGINAL slice, whatever view the image is brought to, where the slice has masks. Items without the folder or
    without numbered lesions are passed over: data sets with and without masks may be mixed.
    """

    def __init__(
        self,
        keys: KeysCollection = "mask_folder",
        slice_key: str = "slice",
        lesions_key: str = "lesions",
        masks_key: str = "masks",
        allow_missing_keys: bool = True,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice_key = slice_key
        self.lesions_key = lesions_key
        self.masks_key = masks_key
        self.load = LoadLesionMasks()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            if item.get(self.lesions_key):
                masks = self.load(item[key], item[self.slice_key], item[self.lesions_key])
                if masks is not None:
                    item[self.masks_key] = masks
        return item


def masks_in_view(masks: Tensor, view: View, size: Sequence[int]) -> Tensor:
    """Masks as a view shows them: every pixel takes the one that its middle lies in, 0 outside.

    Args:
        masks: [N, H, W] on the original slice.
        view: `View` from the original slice.
        size: (h, w) of the view's image.

    Returns:
        [N, h, w] of the same number type.
    """
    rows = ((torch.arange(size[0]) + 0.5 - view.shift_y) / view.scale_y).floor().long()
    columns = ((torch.arange(size[1]) + 0.5 - view.shift_x) / view.scale_x).floor().long()
    height, width = masks.shape[1:]
    inside_y, inside_x = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    seen = masks[:, rows.clamp(0, height - 1)][:, :, columns.clamp(0, width - 1)]
    return seen * (inside_y[:, None] & inside_x[None, :]).to(seen)


LoadLesionMasksD = LoadLesionMasksDict = LoadLesionMasksd
