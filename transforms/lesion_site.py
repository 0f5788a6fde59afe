"""Whether a made-up lesion will do where it lies in a CT, and what it fills there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesion_app.data.phantom.lesions import Lesion, Point
from lesion_app.data.phantom.shapes import Blob, SliceGrid, Tube
from lesion_app.data.phantom.tissue import Tissue
from transforms.lesion_hosts import CLASS_OF_HOST
from transforms.tissue_map import TissueClass

Mask = NDArray[np.bool_]
Volume = NDArray[np.float32]
Plane = NDArray[np.float32]

_AROUND_MM = 12.0  # the host's own attenuation is taken from this far around a lesion's centre
_EDGE_PX = 0.7  # a cut edge is as soft as the scan's own
_RIM_MM = 1.6  # voxels between lung and pleura are neither; a nodule may fill them
_VISIBLE_SIGMAS, _VISIBLE_SHARE = 1.0, 0.75
_VISIBLE_HU = {TissueClass.LUNG: 150.0, TissueClass.BONE: 80.0, TissueClass.FAT: 40.0, TissueClass.SOFT: 20.0}
"""Least difference to what was there before, by the class of the host: the more uneven it is, the more it takes."""
_FILLABLE: dict[TissueClass, tuple[TissueClass, ...]] = {
    TissueClass.LUNG: (TissueClass.LUNG,),
    TissueClass.BONE: (TissueClass.BONE,),
    TissueClass.FAT: (TissueClass.FAT, TissueClass.SOFT, TissueClass.VESSEL),
    TissueClass.SOFT: (TissueClass.SOFT, TissueClass.FAT, TissueClass.VESSEL),
}
"""What a lesion may replace, by the class of its host."""
_SHARE = {TissueClass.LUNG: 0.6, TissueClass.BONE: 0.6, TissueClass.FAT: 0.85, TissueClass.SOFT: 0.9}
"""Least part of a lesion that must lie in what it may replace; the rest is cut off."""


@dataclass(frozen=True)
class LesionSite:
    """A lesion's outline cut to what it may replace.

    Args:
        body: the outline in mm; x and y count from the middle of the slices, z from the first slice.
        host: class of the tissue around its centre.
        window: (slices, rows, columns) of the volume around everything to be painted.
        allowed: float32 [z, y, x] of ``window``, 1 where voxels may change, 0 elsewhere, with a soft edge.
        shape: (Z, H, W) and spacing_mm: (x, y, z) of the volume.
    """

    body: Blob
    host: TissueClass
    window: tuple[slice, slice, slice]
    allowed: Volume
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def filled(self, number: int, finer: int = 1) -> tuple[tuple[slice, slice], Plane] | None:
        """What the lesion fills of slice ``number``: (rows, columns) of the slice with each pixel cut into ``finer`` x
        ``finer``, and float32 [h, w] in 0..1; None where it misses the slice."""
        zs, ys, xs = self.window
        if not zs.start <= number < zs.stop:
            return None
        found = self.body.coverage(_grid(self.shape, self.spacing_mm, number, finer))
        if found is None or not found[1].size:
            return None
        allowed = np.zeros(self.shape[1:], dtype=np.float32)
        allowed[ys, xs] = self.allowed[number - zs.start]
        (rows, columns), part = found
        row, column = np.arange(rows.start, rows.stop) // finer, np.arange(columns.start, columns.stop) // finer
        return found[0], part * allowed[np.ix_(row, column)]

    def filled_by(self, blob: Blob, number: int) -> Plane:
        """What ``blob`` fills of slice ``number``, float32 [y, x] of ``window``."""
        found = blob.coverage(_grid(self.shape, self.spacing_mm, number))
        return self._cut(found, number) if found is not None else np.zeros(self.allowed.shape[1:], dtype=np.float32)

    def tube_segments(self, tube: Tube, number: int) -> Iterator[tuple[float, Plane]]:
        """HU and what it fills of slice ``number``, [y, x] of ``window``, for each segment of a spicule."""
        for hu, rows_columns, part in tube.segments(_grid(self.shape, self.spacing_mm, number)):
            yield hu, self._cut((rows_columns, part), number)

    def _cut(self, found: tuple[tuple[slice, slice], Plane], number: int) -> Plane:
        whole = np.zeros(self.shape[1:], dtype=np.float32)
        whole[found[0]] = found[1]
        return np.asarray(whole[self.window[1:]] * self.allowed[number - self.window[0].start], dtype=np.float32)


class SiteFinder:
    """Judges lesions of one volume one after the other; ``sites`` are those of the accepted ones, in order.

    Args:
        hu: [Z, H, W]; classes: `TissueClass` of its voxels.
        spacing_mm: (x, y, z).
        sigma_hu: noise of the scan.
    """

    def __init__(
        self, hu: Plane, classes: NDArray[np.uint8], spacing_mm: tuple[float, float, float], sigma_hu: float
    ) -> None:
        self.hu = hu
        self.classes = classes
        self.spacing_mm = spacing_mm
        self.sites: list[LesionSite] = []
        self._visible_hu = {host: max(hu, _VISIBLE_SIGMAS * sigma_hu) for host, hu in _VISIBLE_HU.items()}
        self._taken = np.zeros(classes.shape, dtype=bool)

    @property
    def contrast(self) -> float:
        """Enhancement of the patient, 0 (none) to 1, by the brightest soft tissue and vessels."""
        soft = self.hu[np.isin(self.classes, (TissueClass.SOFT, TissueClass.VESSEL))]
        return float(np.clip((np.quantile(soft, 0.95) - 90.0) / 110.0, 0, 1)) if soft.size else 0.0

    def host_hu(self, tissue: Tissue, centre: Point) -> float:
        """Median HU of the host around ``centre`` (mm)."""
        window = self._window(centre, (_AROUND_MM, _AROUND_MM, _AROUND_MM))
        values = self.hu[window][self.classes[window] == CLASS_OF_HOST[tissue]]
        return float(np.median(values)) if values.size else 0.0

    def accept(self, lesion: Lesion) -> bool:
        """Whether ``lesion`` keeps to its host, away from others and from the borders, and can be seen."""
        site = self._site(lesion)
        if site is not None:
            self.sites.append(site)
        return site is not None

    def _site(self, lesion: Lesion) -> LesionSite | None:
        body, host = lesion.body, CLASS_OF_HOST[lesion.body.tissue]
        reach = 1.4 * max(body.radii) + body.edge_mm
        reach = max([reach, *(float(np.abs(t.points - body.centre).max()) + 3.0 for t in lesion.before)])
        window = self._window(body.centre, (reach, reach, reach))
        fillable = self._fillable(window, host)
        free = LesionSite(body, host, window, np.ones(fillable.shape, np.float32), self._shape, self.spacing_mm)
        uncut = np.stack([free.filled_by(body, number) for number in range(window[0].start, window[0].stop)])
        if self._leaves_image(uncut, window) or (uncut[self.classes[window] == TissueClass.OUTSIDE] > 0).any():
            return None
        allowed = self._part_at_centre(fillable, body.centre, window)
        if allowed is None or (self._taken[window] & (uncut > 0)).any():
            return None
        filled = uncut * allowed
        if filled.sum() < _SHARE[host] * uncut.sum():
            return None
        mask = filled > 0.5 * uncut.max()
        # Against the smoothed scan: noise alone makes nothing visible.
        there = ndimage.gaussian_filter(self.hu[window], (0.0, 1.0, 1.0))[mask]
        if not mask.any() or np.mean(np.abs(there - body.hu) >= self._visible_hu[host]) < _VISIBLE_SHARE:
            return None
        self._taken[window] |= filled > 0
        return LesionSite(body, host, window, allowed, self._shape, self.spacing_mm)

    @property
    def _shape(self) -> tuple[int, int, int]:
        depth, height, width = self.classes.shape
        return depth, height, width

    def _window(self, centre: Point, reach: Point) -> tuple[slice, slice, slice]:
        parts = []
        for middle, half, step, count, from_middle in zip(
            centre, reach, self.spacing_mm, reversed(self._shape), (True, True, False)
        ):
            index = middle / step + ((count - 1) / 2 if from_middle else 0.0)
            low, high = int(np.floor(index - half / step)), int(np.ceil(index + half / step)) + 1
            parts.append(slice(min(max(low, 0), count - 1), max(min(high, count), 1)))
        return parts[2], parts[1], parts[0]

    def _leaves_image(self, uncut: Plane, window: tuple[slice, slice, slice]) -> bool:
        """Whether it touches the first or last row or column; sub-volumes may end within a lesion along z."""
        edges = np.zeros(self._shape[1:], dtype=bool)
        edges[[0, -1]] = edges[:, [0, -1]] = True
        return bool((uncut[:, edges[window[1:]]] > 0).any())

    def _fillable(self, window: tuple[slice, slice, slice], host: TissueClass) -> Mask:
        classes = self.classes[window]
        fillable = np.isin(classes, _FILLABLE[host])
        if host == TissueClass.LUNG:
            away = ndimage.distance_transform_edt(~fillable, sampling=self.spacing_mm[::-1])
            fillable |= (away <= _RIM_MM) & np.isin(classes, (TissueClass.FAT, TissueClass.SOFT))
        return np.asarray(fillable)

    def _part_at_centre(self, fillable: Mask, centre: Point, window: tuple[slice, slice, slice]) -> Volume | None:
        """The part of ``fillable`` connected to a lesion's centre, edges softened; None when there is none."""
        labels, _ = ndimage.label(fillable)
        middle = self._window(centre, (0.0, 0.0, 0.0))
        place = tuple(m.start - w.start for m, w in zip(middle, window))
        if not labels[place]:
            return None
        part = (labels == labels[place]).astype(np.float32)
        return np.asarray(ndimage.gaussian_filter(part, (0.0, _EDGE_PX, _EDGE_PX), mode="nearest"))


def _grid(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], number: int, finer: int = 1
) -> SliceGrid:
    """Pixels of slice ``number``, each cut into ``finer`` x ``finer``, in the frame of `LesionSite`."""
    pixel = spacing_mm[0] / finer
    x = ((np.arange(shape[2] * finer) + 0.5) / finer - shape[2] / 2) * spacing_mm[0]
    y = ((np.arange(shape[1] * finer) + 0.5) / finer - shape[1] / 2) * spacing_mm[1]
    return SliceGrid(x.astype(np.float32), y.astype(np.float32), number * spacing_mm[2], spacing_mm[2], pixel)
