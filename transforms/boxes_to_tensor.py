"""Boxes and labels of a record, from lists to tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

from lesion_app.errors import InputError

BOX_KEYS = ("boxes", "ignore", "negatives", "truth_boxes")


class BoxesToTensor(Transform):
    """Turn boxes ``[[x1, y1, x2, y2], ...]`` (list, array or tensor, possibly empty) into float32 [N, 4].

    Raises:
        InputError: when a box does not have four finite numbers.
    """

    def __call__(self, boxes: Any) -> Tensor:
        try:
            tensor = torch.as_tensor(boxes, dtype=torch.float32)
        except (TypeError, ValueError):
            tensor = None
        if tensor is not None and tensor.numel() == 0:
            return torch.empty((0, 4), dtype=torch.float32)
        if tensor is None or tensor.ndim != 2 or tensor.shape[1] != 4 or not tensor.isfinite().all():
            raise InputError(
                "boxes of a record were found that are no list of four finite numbers each; expected "
                "[[x1, y1, x2, y2], ...] in px, so mend the datalist"
            )
        return tensor


class BoxesToTensord(MapTransform):
    """Dictionary form of `BoxesToTensor`; also turns labels into int64 [N].

    Keys that an item lacks are passed over (inference has no boxes) unless ``allow_missing_keys``
    is false.
    """

    def __init__(
        self,
        keys: KeysCollection = BOX_KEYS,
        label_keys: Sequence[str] = ("labels",),
        allow_missing_keys: bool = True,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = tuple(label_keys)
        self.convert = BoxesToTensor()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self.convert(item[key])
        for key in self.label_keys:
            if key in item or not self.allow_missing_keys:
                item[key] = torch.as_tensor(item[key], dtype=torch.int64).reshape(-1)
        return item


BoxesToTensorD = BoxesToTensorDict = BoxesToTensord
