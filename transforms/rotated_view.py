"""Pad, rotate, crop and rescale a slice and its boxes: the augmentation of the detector benchmark.

Pianese, "Benchmarking SOTA visual object detection techniques for medical applications", section 3.1.3: 50 px of
padding that continues the image on each side, a rotation between -30 and 30 degrees, a centred crop of 0 to 64 px on
each side, and a rescale to 240 x 240 px. The four steps are one affine map.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from torch import Tensor
from torch.nn import functional

from transforms.boxes_to_tensor import BOX_KEYS, BoxesToTensor
from transforms.resize import resize_slices

RotatedBox = Literal["corners", "ellipse"]


class RandRotatedView(RandomizableTransform):
    """Draw a padded, rotated, cropped and rescaled view of a slice.

    Args:
        padding_px: added on each side before the rotation, px; the image is mirrored there, also beyond the padding
            where a rotation uncovers more.
        max_angle_deg: the angle is uniform in [-max, max] degrees, clockwise as displayed when positive.
        max_crop_px: whole px cut off each of the four sides alike after the rotation, uniform in [0, max].
        size_px: (height, width) of the result.
        rotated_box: how a rotated box becomes an upright one. ``corners`` encloses its four corners, as image libraries
            do, and grows (up to 1.37 times a square's side at 30 degrees); ``ellipse`` encloses the ellipse inscribed
            in it, which stays tight around a lesion of that shape.
        prob: probability of drawing at all; otherwise the image is only rescaled.

    Raises:
        ValueError: negative lengths, an angle not within [0, 180], a size below 1 or another word.
    """

    def __init__(
        self,
        padding_px: int = 50,
        max_angle_deg: float = 30.0,
        max_crop_px: int = 64,
        size_px: Sequence[int] = (240, 240),
        rotated_box: RotatedBox = "corners",
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        if padding_px < 0 or max_crop_px < 0 or not 0 <= max_angle_deg <= 180 or len(size_px) != 2 or min(size_px) < 1:
            raise ValueError(
                "padding and crop must not be negative, the angle lie in [0, 180] and the size be (height, width) from "
                f"1, got {padding_px}, {max_crop_px}, {max_angle_deg} and {list(size_px)}"
            )
        if rotated_box not in get_args(RotatedBox):
            raise ValueError(f"rotated_box must be one of {get_args(RotatedBox)}, got {rotated_box!r}")
        self.padding_px = int(padding_px)
        self.max_angle_deg = float(max_angle_deg)
        self.max_crop_px = int(max_crop_px)
        self.size_px = (int(size_px[0]), int(size_px[1]))
        self.rotated_box = rotated_box
        self._angle, self._crop = 0.0, 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        if self._do_transform:
            self._angle = math.radians(float(self.R.uniform(-self.max_angle_deg, self.max_angle_deg)))
            self._crop = int(self.R.randint(0, self.max_crop_px + 1))

    def __call__(
        self, image: Tensor, boxes: Mapping[str, Tensor] | None = None, randomize: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make a view of ``image`` [S, H, W].

        Args:
            image: of any number type.
            boxes: float [N, 4] px of ``image``, by any names.
            randomize: draw anew; else repeat what was drawn last.

        Returns:
            float32 [S, height, width], and the boxes on it, which may reach beyond its border.

        Raises:
            ValueError: when the crop leaves nothing of the image.
        """
        if randomize:
            self.randomize()
        height, width = image.shape[-2:]
        forward = self._map(height, width)
        out_height, out_width = self.size_px
        # What grid_sample asks for: the place in the source, in [-1, 1] from edge to edge, of each place in the result.
        to_source = _from_unit(height, width).inverse() @ forward.inverse() @ _from_unit(out_height, out_width)
        grid = functional.affine_grid(to_source[None, :2].float(), [1, 1, out_height, out_width], align_corners=False)
        # Shrunk first, antialiased, where the view is coarser than the image; places in [-1, 1] stay what they are.
        scale = (forward[:2, :2].square().sum(dim=1)).sqrt().clamp(max=1).tolist()
        source = resize_slices(image.float(), max(1, round(height * scale[1])), max(1, round(width * scale[0])))
        view = functional.grid_sample(
            source[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )[0]
        return view, {name: self._move(values, forward) for name, values in (boxes or {}).items()}

    def _map(self, height: int, width: int) -> Tensor:
        """3 x 3 matrix, float64, from px (x, y) of the image to px of the result."""
        angle, crop, padding = (self._angle, self._crop, self.padding_px) if self._do_transform else (0.0, 0, 0)
        kept_height, kept_width = height + 2 * (padding - crop), width + 2 * (padding - crop)
        if min(kept_height, kept_width) < 1:
            raise ValueError(f"a crop of {crop} px on each side leaves nothing of {height} x {width} px")
        scale_y, scale_x = self.size_px[0] / kept_height, self.size_px[1] / kept_width
        c, s = math.cos(angle), math.sin(angle)
        to_centre = torch.tensor([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]], dtype=torch.float64)
        turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
        to_result = torch.tensor(
            [[scale_x, 0, self.size_px[1] / 2], [0, scale_y, self.size_px[0] / 2], [0, 0, 1]], dtype=torch.float64
        )
        return to_result @ turn @ to_centre

    def _move(self, boxes: Tensor, forward: Tensor) -> Tensor:
        if not len(boxes):
            return boxes
        table = boxes.double()
        centre = (table[:, :2] + table[:, 2:]) / 2 @ forward[:2, :2].T + forward[:2, 2]
        reach = forward[:2, :2].abs() if self.rotated_box == "corners" else forward[:2, :2].square()
        half = (table[:, 2:] - table[:, :2]) / 2
        if self.rotated_box == "corners":
            half = half @ reach.T
        else:
            half = (half.square() @ reach.T).sqrt()
        return torch.cat([centre - half, centre + half], dim=1).to(boxes.dtype)


class RandRotatedViewd(MapTransform, RandomizableTransform):
    """Dictionary form of `RandRotatedView`, for items whose boxes are targets.

    Replaces ``item[key]`` [S, H, W] and the boxes under ``box_keys``. Boxes are clipped to the view; one of which less
    than ``min_visible`` of the area is left is no target any more, and what is left of it becomes an ignored region.
    ``labels`` follow their boxes. ``view`` is taken out: no `View` (scale and shift) describes a rotation.

    Args:
        key, box_keys, label_keys: of the item; keys an item lacks are passed over. ``label_keys`` go with ``boxes``.
        min_visible: share of a box's area, 0 to 1.
        **rest: see `RandRotatedView`.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        padding_px: int = 50,
        max_angle_deg: float = 30.0,
        max_crop_px: int = 64,
        size_px: Sequence[int] = (240, 240),
        rotated_box: RotatedBox = "corners",
        prob: float = 1.0,
        min_visible: float = 0.5,
        view_key: str = "view",
        box_keys: Sequence[str] = BOX_KEYS,
        label_keys: Sequence[str] = ("labels",),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        # The array transform draws, `prob` included, so that this one only forwards its random state.
        RandomizableTransform.__init__(self, 1.0)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is expected, as the boxes lie on one image, got {self.keys}")
        self.draw = RandRotatedView(padding_px, max_angle_deg, max_crop_px, size_px, rotated_box, prob)
        self.min_visible = min_visible
        self.view_key = view_key
        self.box_keys = tuple(box_keys)
        self.label_keys = tuple(label_keys)
        self.to_tensor = BoxesToTensor()

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Randomizable:
        super().set_random_state(seed, state)
        self.draw.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            boxes = {name: self.to_tensor(item[name]) for name in self.box_keys if name in item}
            item[key], moved = self.draw(item[key], boxes)
            item.pop(self.view_key, None)
            self._see(item, moved)
        return item

    def _see(self, item: dict[Hashable, Any], moved: dict[str, Tensor]) -> None:
        """Put into ``item`` what is to be seen of the ``moved`` boxes."""
        height, width = self.draw.size_px
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        hidden = torch.empty((0, 4))
        for name, boxes in moved.items():
            clipped = torch.minimum(boxes.clamp(min=0), limit)
            left = _area(clipped)
            if name != "boxes":
                item[name] = clipped[left > 0]
                continue
            kept = left >= self.min_visible * _area(boxes)
            kept &= left > 0
            item[name] = clipped[kept]
            hidden = clipped[~kept & (left > 0)]
            for label in self.label_keys:
                if label in item:
                    item[label] = torch.as_tensor(item[label])[kept]
        if len(hidden):
            item["ignore"] = torch.cat([item["ignore"], hidden]) if "ignore" in item else hidden


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _from_unit(height: int, width: int) -> Tensor:
    """3 x 3 matrix, float64, from [-1, 1] x [-1, 1] (x, y; edges of the image) to px."""
    return torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]], dtype=torch.float64)


RandRotatedViewD = RandRotatedViewDict = RandRotatedViewd
