"""An opened CT: its geometry is known, its pixels are read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lesion_app.errors import InputError
from transforms.geometry import VolumeGeometry

AIR_HU = -1024
# No patient fits into fewer grey values: fat and bone alone lie further apart.
MIN_HU_RANGE = 100

PlaneReader = Callable[[Sequence[int]], Iterator[np.ndarray]]
"""Yields one int16 HU plane [i, j] (the file's first two axes) for each index k of its third axis."""


@dataclass(frozen=True, eq=False)
class CTSource:
    """A CT on the network grid (see `VolumeGeometry`), read slice by slice.

    Args:
        geometry: grid and its place in the file and in the patient.
        source_kind: "png", "dicom", "nifti", "nrrd" or "metaimage".
        planes: reads planes of the file's own grid.
        series_uid: SeriesInstanceUID (DICOM only).
        notes: sentences on what was chosen or assumed.
        volume: int16 [Z, H, W], the whole volume where it was read before and kept; nobody may write into it.
    """

    geometry: VolumeGeometry
    source_kind: str
    planes: PlaneReader
    series_uid: str | None = None
    notes: list[str] = field(default_factory=list)
    volume: Tensor | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns (Z, H, W) of the network grid."""
        return self.geometry.shape_zyx

    def read(self, indices: Sequence[int] | None = None) -> Tensor:
        """Read slices of the network grid.

        Only the planes that are needed are decoded; memory is the result plus one plane (NRRD and
        MHA/MHD files are decoded whole first). A kept volume is returned as it is, its slices as copies.

        Args:
            indices: slice indices 0..Z-1 in any order, repeats allowed; None reads the whole volume
                and checks that its values look like HU.

        Returns:
            int16 [n, H, W] in HU (clamped to int16).

        Raises:
            InputError: when the pixels cannot be decoded or are no HU.
            IndexError: for an index outside the volume.
        """
        depth, height, width = self.shape
        wanted = np.arange(depth) if indices is None else np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < depth:
            raise IndexError(f"slices {wanted.min()} to {wanted.max()} asked of a volume with slices 0 to {depth - 1}")
        if self.volume is not None:
            return self.volume if indices is None else self.volume[torch.from_numpy(wanted)]
        slices, place = np.unique(wanted, return_inverse=True)
        out = np.empty((len(slices), height, width), dtype=np.int16)
        self._fill(out, slices)
        _check_hounsfield(out, whole=indices is None)
        volume = torch.from_numpy(out)
        return volume if np.array_equal(slices, wanted) else volume[torch.from_numpy(place)]

    def _fill(self, out: np.ndarray, slices: np.ndarray) -> None:
        """Write network slices (ascending) into ``out`` [n, H, W] through a view in file order."""
        geometry = self.geometry
        network_axis = [geometry.file_axes.index(axis) for axis in range(3)]
        view = out.transpose([2 - axis for axis in network_axis])
        view = view[tuple(slice(None, None, -1 if geometry.flipped[axis] else 1) for axis in network_axis)]
        z_axis = geometry.file_axes[2]
        step, offset = geometry.network_to_file[z_axis, [2, 3]]
        along_z = np.sort(slices * int(step) + round(offset))
        if z_axis == 2:
            for place, plane in enumerate(self.planes(along_z.tolist())):
                view[:, :, place] = plane
        else:
            # Sagittal or coronal file: every plane holds one row or column of every axial slice.
            for place, plane in enumerate(self.planes(range(view.shape[2]))):
                view[:, :, place] = plane.take(along_z, axis=z_axis)


def to_hounsfield(values: np.ndarray) -> np.ndarray:
    """Round and clamp HU of any number type to int16; not-a-number (outside the scan) becomes air."""
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values, nan=AIR_HU))
    limits = np.iinfo(np.int16)
    return values.clip(limits.min, limits.max).astype(np.int16)


@contextmanager
def decoding(name: str, expected: str) -> Iterator[None]:
    """Turn whatever a decoding library raises on a damaged or foreign file into one InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything on damaged files, struct.error and KeyError among it
        raise InputError(
            f"{name} could not be read as {expected} ({type(error).__name__}); it is damaged or something else, "
            "so copy or export it anew"
        ) from error


def _check_hounsfield(volume: np.ndarray, *, whole: bool) -> None:
    """Refuse values that no CT in HU can have; single slices may be all air or all tissue."""
    if not volume.size:
        return
    low, high = int(volume.min()), int(volume.max())
    if high < AIR_HU or (whole and (low >= 0 or high - low < MIN_HU_RANGE)):
        raise InputError(
            f"values from {low} to {high} were found where a CT in HU was expected (air about -1000, water 0); "
            "this looks like a mask, another modality or unscaled values, so give the CT itself, scaled to HU"
        )
