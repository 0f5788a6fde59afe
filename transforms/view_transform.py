"""What every in-plane dictionary transform does: move the image, its view and its boxes together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from transforms.boxes_to_tensor import BOX_KEYS, BoxesToTensor
from transforms.view import View


class ViewTransformd(MapTransform):
    """Base of dictionary transforms that change the in-plane view of one image.

    Args:
        keys: the one image key.
        view_key: `View` from the original slice to the current image; updated.
        box_keys: boxes [N, 4] in px of the current image, lists or tensors; they move along and
            leave as float32 tensors. They are not clipped. Keys an item lacks are passed over.
        allow_missing_keys: leave an item without the image as it is.

    Raises:
        ValueError: for more than one image key: one view cannot describe two images.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        view_key: str = "view",
        box_keys: Sequence[str] = BOX_KEYS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is expected, as a view describes one image, got {self.keys}")
        self.view_key = view_key
        self.box_keys = tuple(box_keys)
        self.to_tensor = BoxesToTensor()

    def boxes_of(self, item: dict[Hashable, Any]) -> dict[str, Tensor]:
        """The boxes an item has, as float32 [N, 4] by key."""
        return {key: self.to_tensor(item[key]) for key in self.box_keys if key in item}

    def move(self, item: dict[Hashable, Any], key: Hashable, image: Tensor, step: View) -> None:
        """Put in ``image``, which ``step`` led to from the current one, and what follows from it."""
        item[key] = image
        item[self.view_key] = item[self.view_key].then(step)
        item.update({name: step.apply(boxes) for name, boxes in self.boxes_of(item).items()})
