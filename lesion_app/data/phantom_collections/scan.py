"""One phantom patient as a whole scan: voxels, masks of the lesions, and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion_app.data.phantom.deeplesion_layout import truth_of_sub_volume
from lesion_app.data.phantom.outline import LesionTruth
from lesion_app.data.phantom.patient import Phantom
from lesion_app.data.phantom.scanner import HU_OFFSET
from lesion_app.data.phantom.tissue import Tissue


@dataclass(frozen=True)
class PhantomScan:
    """A patient of a collection that labels some lesion types.

    Arrays are [z, y, x] on the network grid: z from feet to head, y posterior, x to the patient's left.

    Args:
        phantom: the patient.
        types: lesion types that are labelled.
        first_corner_mm: (x, y, z) LPS mm of the centre of voxel (0, 0, 0).
    """

    phantom: Phantom
    types: tuple[int, ...]
    first_corner_mm: tuple[float, float, float]

    def voxels(self) -> NDArray[np.int16]:
        """HU."""
        planes = [(pixels.astype(np.int32) - HU_OFFSET).astype(np.int16) for pixels in self.phantom.slices()]
        return np.stack(planes[::-1])

    @cached_property
    def truth(self) -> list[LesionTruth]:
        """All lesions, labelled or not."""
        return self.phantom.truth()

    @property
    def labelled(self) -> list[int]:
        """Numbers of the labelled lesions."""
        return [number for number, lesion in enumerate(self.phantom.lesions) if lesion.type in self.types]

    def node_mask(self) -> NDArray[np.uint8]:
        """0, or 1 + the place of a labelled lesion in ``labelled``, where it fills half of a voxel.

        A lesion thinner than a slice fills no voxel by half; its own strongest slice then sets the bar, as in
        `outline_lesion`.
        """
        phantom = self.phantom
        mask = np.zeros((phantom.count, phantom.size, phantom.size), dtype=np.uint8)
        for value, number in enumerate(self.labelled, start=1):
            body = phantom.lesions[number].body
            parts = [(z, found) for z in range(phantom.count) if (found := body.coverage(phantom.grid(z))) is not None]
            bar = 0.5 * max(float(filled.max()) for _, (_, filled) in parts if filled.size)
            for z, (window, filled) in parts:
                mask[phantom.count - 1 - z][window][filled > bar] = value
        return mask

    def liver(self) -> NDArray[np.bool_]:
        """Voxels of the liver, lesions included where it surrounds them."""
        phantom = self.phantom
        planes = [phantom.anatomy.tissues(phantom.grid(z)) == Tissue.LIVER for z in range(phantom.count)]
        return np.stack(planes[::-1])

    def truth_entry(self, series: str) -> tuple[str, dict[str, Any]]:
        """Name of the record that ``lesion-app prepare`` makes of this scan, and its entry in truth.json."""
        labelled = np.isin(np.arange(len(self.truth)), self.labelled)
        count = self.phantom.count
        entry = truth_of_sub_volume(self.phantom, self.truth, labelled, series, 1, "train")
        return f"{series}_001-{count:03d}", entry
