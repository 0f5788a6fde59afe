"""Read the part of a CT that looks at a lesion can show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from lesion_app.errors import InputError
from transforms.ct_reader import open_ct
from transforms.slab import neighbour_weights, slices_to_read


class ReadLesiond(Transform):
    """Read the slices around every place of a lesion, each slice once, cut to what looks at these places can reach.

    Deterministic and small (about 0.1 MB for a lesion on one slice), so that a cache of items holds it.

    Reads ``item["places"]`` (list of ``{slice, box}``, file numbers and px), ``item["image"]``, ``item["spacing_mm"]``
    and ``item["slices"]`` as `open_ct` does. Writes ``item["pixels"]`` int16 [K, h, w] in HU, ``item["spacing_mm"]``
    (x, y, z) of the CT, and ``item["places"]`` anew: ``box`` float32 [P, 4] in px of these pixels, ``lower``, ``upper``
    int64 [P, S] and ``weight`` float32 [P, S], the rows of ``pixels`` that `mix_slices` makes a place's slab of.

    Args:
        num_slices, interval_mm: S slices of a slab, see `neighbour_weights`.
        size_mm, max_shift_mm, scale_range: of the looks, see `RandLesionPaird`.
    """

    def __init__(
        self,
        num_slices: int = 3,
        interval_mm: float = 2.0,
        size_mm: float = 50.0,
        max_shift_mm: float = 2.0,
        scale_range: tuple[float, float] = (0.85, 1.18),
    ) -> None:
        self.num_slices = num_slices
        self.interval_mm = interval_mm
        self.reach_mm = size_mm * scale_range[1] / 2 + max_shift_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        source = open_ct(item["image"], spacing_mm=item.get("spacing_mm"), slices=item.get("slices"))
        spacing, first = source.geometry.spacing_mm, source.geometry.first_slice_number
        depth, height, width = source.shape
        centres = torch.tensor([place["slice"] - first for place in item["places"]])
        if not 0 <= int(centres.min()) <= int(centres.max()) < depth:
            raise InputError(
                f"lesion of {item.get('id', 'a record')} on a slice outside {first} to {first + depth - 1}, those of "
                "its CT; mend the record's slice or its range"
            )
        lower, upper, weight = neighbour_weights(centres, self.num_slices, self.interval_mm, spacing[2], depth)
        needed, lower, upper = slices_to_read(lower, upper)
        boxes = torch.tensor([place["box"] for place in item["places"]], dtype=torch.float32)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        columns = _span(middle[:, 0], self.reach_mm / spacing[0], width)
        lines = _span(middle[:, 1], self.reach_mm / spacing[1], height)
        item["pixels"] = source.read(needed.tolist())[:, lines, columns].clone()
        corner = boxes.new_tensor([columns.start, lines.start] * 2)
        item["places"] = {"box": boxes - corner, "lower": lower, "upper": upper, "weight": weight}
        item["spacing_mm"] = spacing
        return item


def _span(middle: torch.Tensor, reach: float, length: int) -> slice:
    """Pixels within ``reach`` of the places' middles, one more on each side to interpolate with."""
    first = min(max(0, math.floor(float(middle.min()) - reach) - 1), length - 1)
    return slice(first, max(first + 1, min(length, math.ceil(float(middle.max()) + reach) + 1)))


ReadLesionD = ReadLesionDict = ReadLesiond
