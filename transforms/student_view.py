"""Draw the student's randomly resized and shifted view of the teacher's image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from torch import Tensor

from transforms.resize import resize_slices
from transforms.view import View


class RandStudentView(RandomizableTransform):
    """Resize by one random factor and shift by whole pixels (Bai & Xia: resize; MULAN: shift).

    Args:
        scale_range: the factor is uniform in it, the same for x and y; the view holds the exact
            scales after rounding to whole pixels.
        max_shift_px: shifts in x and y are uniform whole numbers in [-max, max], px of the result.
        fill_value: intensity of what the shift uncovers; 0 is air after `ScaleHU`.
        prob: probability of drawing at all; otherwise the student sees the teacher's image.

    Raises:
        ValueError: for a scale that is not positive or a negative shift.
    """

    def __init__(
        self,
        scale_range: Sequence[float] = (0.8, 1.2),
        max_shift_px: int = 8,
        fill_value: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.scale_range = (float(scale_range[0]), float(scale_range[1]))
        if not 0 < self.scale_range[0] <= self.scale_range[1] or max_shift_px < 0:
            raise ValueError(f"scales must be positive and ascend, shifts not negative: {scale_range}, {max_shift_px}")
        self.max_shift_px = int(max_shift_px)
        self.fill_value = fill_value
        self._scale, self._shift_x, self._shift_y = 1.0, 0, 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        if not self._do_transform:
            return
        self._scale = float(self.R.uniform(*self.scale_range))
        self._shift_x, self._shift_y = (
            int(shift) for shift in self.R.randint(-self.max_shift_px, self.max_shift_px + 1, size=2)
        )

    def __call__(self, image: Tensor, randomize: bool = True) -> tuple[Tensor, View]:
        """Make the student's view of ``image`` [S, H, W].

        Args:
            image: the teacher's image.
            randomize: draw anew; else repeat what was drawn last.

        Returns:
            the student's image [S, h, w] with h = round(H * scale) and w = round(W * scale) (the
            teacher's own where nothing was drawn), and the view from the teacher's px to it.
        """
        if randomize:
            self.randomize()
        if not self._do_transform:
            return image, View()
        height, width = image.shape[-2:]
        new_height, new_width = max(1, round(height * self._scale)), max(1, round(width * self._scale))
        resized = resize_slices(image, new_height, new_width)
        view = View(new_width / width, new_height / height, self._shift_x, self._shift_y)
        return _shifted(resized, self._shift_x, self._shift_y, self.fill_value), view


class RandStudentViewd(MapTransform, RandomizableTransform):
    """Dictionary form of `RandStudentView`.

    Reads ``item[key]`` [S, H, W] and ``item[view_key]``; both stay as they are, as do the boxes, which
    live in that view. Writes ``item[out_key]`` the student's image and ``item[view_out_key]`` the
    `View` from the original slice to it, so that a box of the teacher's view becomes
    ``student_view.apply(view.invert(box))`` and back. Boxes may then reach beyond the image by the
    shift.

    Raises:
        ValueError: for more than one key.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        out_key: str = "student_image",
        view_key: str = "view",
        view_out_key: str = "student_view",
        scale_range: Sequence[float] = (0.8, 1.2),
        max_shift_px: int = 8,
        fill_value: float = 0.0,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        # The array transform draws, `prob` included, so that this one only forwards its random state.
        RandomizableTransform.__init__(self, 1.0)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is expected, as a view describes one image, got {self.keys}")
        self.draw = RandStudentView(scale_range, max_shift_px, fill_value, prob)
        self.out_key = out_key
        self.view_key = view_key
        self.view_out_key = view_out_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Randomizable:
        super().set_random_state(seed, state)
        self.draw.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.out_key], step = self.draw(item[key])
            item[self.view_out_key] = item[self.view_key].then(step)
        return item


def _shifted(image: Tensor, shift_x: int, shift_y: int, fill: float) -> Tensor:
    """Move [S, H, W] right by ``shift_x`` and down by ``shift_y`` px on a canvas of the same size."""
    height, width = image.shape[-2:]
    out = torch.full_like(image, fill)
    rows, columns = max(0, height - abs(shift_y)), max(0, width - abs(shift_x))
    to_y, to_x, from_y, from_x = max(0, shift_y), max(0, shift_x), max(0, -shift_y), max(0, -shift_x)
    out[:, to_y : to_y + rows, to_x : to_x + columns] = image[:, from_y : from_y + rows, from_x : from_x + columns]
    return out


RandStudentViewD = RandStudentViewDict = RandStudentViewd
