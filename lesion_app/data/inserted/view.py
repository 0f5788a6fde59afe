"""A random view of a part of a real CT: another patient, as far as one CT can give one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesion_app.data.inserted.background import Background, Stretch
from lesion_app.data.phantom.sub_volume import SubVolumeSettings, refuse
from transforms.tissue_map import TissueClass

Numbers = NDArray[np.floating[Any]]

_AIR_HU, _MOST_HU = -1024.0, 3071.0
_SCALE, _TURN = (0.92, 1.08), np.radians(8.0)
_WAVE_MM, _WAVE_LENGTH_MM, _WAVES = (0.5, 2.5), (120.0, 260.0), 2
_PIXEL_MM, _PIXEL_SPREAD_MM, _PIXEL_RANGE = 0.80, 0.09, (0.6, 1.0)
_FINEST_PIXEL_MM = 0.5
_HU_SHIFT = 8.0
_LAYERS_A_SLICE = 2  # of the background, for averaging over a thick slice


@dataclass(frozen=True)
class View:
    """Where the voxels of a sub-volume lie in a background.

    Args:
        size: side of the slices in px; pixel_mm: side of a pixel; step_mm: slice spacing and thickness.
        z_mm: centres of the slices in the background, mm from its first slice, ascending.
        centre_mm: (x, y) of the middle of the slices in the background, mm from its first voxel's centre.
        scale: mm of the background per mm of the sub-volume.
        angle: rotation in plane, rad.
        mirrored: left and right are exchanged.
        waves: [2, n, 4] (amplitude mm, wavelength mm, phase, phase change per mm of z) that bend x along y and y
            along x.
        hu_shift: added to everything but air.
    """

    size: int
    pixel_mm: float
    step_mm: float
    z_mm: Numbers
    centre_mm: tuple[float, float]
    scale: float
    angle: float
    mirrored: bool
    waves: Numbers
    hu_shift: float

    def cut(self, background: Background) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """HU float32 and tissue classes uint8 [slices, size, size] of the view, slices from inferior to superior.

        In plane cubic, along z linear and averaged over the slice thickness; what the background does not cover is
        air OUTSIDE.
        """
        dx, dy, dz = background.spacing_mm
        weights = self._weights(len(background.hu), dz)
        hu = np.empty((len(self.z_mm), self.size, self.size), dtype=np.float32)
        classes = np.empty(hu.shape, dtype=np.uint8)
        for index, row in enumerate(weights):
            used = np.flatnonzero(row)
            plane = np.tensordot(row[used], background.hu[used].astype(np.float32), axes=1)
            x, y = self.places(float(self.z_mm[index]))
            at = np.stack([y / dy, x / dx])
            hu[index] = ndimage.map_coordinates(plane, at, order=3, mode="constant", cval=_AIR_HU)
            nearest = background.tissues[min(round(float(self.z_mm[index]) / dz), len(background.hu) - 1)]
            found = ndimage.map_coordinates(nearest, at, order=0, mode="constant", cval=TissueClass.OUTSIDE)
            classes[index] = _smoothed(found, 0.5 * dx / (self.pixel_mm * self.scale))
        hu += np.float32(self.hu_shift) * (classes != TissueClass.OUTSIDE)
        return np.clip(hu, _AIR_HU, _MOST_HU), classes

    def places(self, z_mm: float) -> tuple[Numbers, Numbers]:
        """x and y [H, W] in the background (mm) of the pixels of the slice at ``z_mm``."""
        side = (np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm
        across = -side if self.mirrored else side
        x = across[None, :] + _bend(self.waves[0], side, z_mm)[:, None]
        y = side[:, None] + _bend(self.waves[1], side, z_mm)[None, :]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (
            self.centre_mm[0] + self.scale * (cos * x - sin * y),
            self.centre_mm[1] + self.scale * (sin * x + cos * y),
        )

    def _weights(self, count: int, dz: float) -> NDArray[np.float32]:
        """Share of each slice of the background in each slice of the view, [slices, count]."""
        thick = self.step_mm * self.scale
        layers = max(1, int(np.ceil(thick / dz * _LAYERS_A_SLICE)))
        offsets = thick * ((np.arange(layers) + 0.5) / layers - 0.5)
        at = np.clip((self.z_mm[:, None] + offsets) / dz, 0, count - 1)
        hats = np.maximum(0.0, 1.0 - np.abs(at[..., None] - np.arange(count)))
        return np.asarray(hats.mean(axis=1), dtype=np.float32)


def _smoothed(classes: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Class that prevails around each pixel: the background's larger voxels leave no steps."""
    present = np.unique(classes)
    shares = [ndimage.gaussian_filter((classes == one).astype(np.float32), sigma_px) for one in present]
    return np.asarray(present[np.argmax(shares, axis=0)])


def _bend(waves: Numbers, along: Numbers, z_mm: float) -> Numbers:
    amplitude, length, phase, drift = waves.T[:, :, None]
    return np.asarray((amplitude * np.sin(2 * np.pi * along / length + phase + drift * z_mm)).sum(axis=0))


def draw_view(rng: np.random.Generator, background: Background, stretch: Stretch, wanted: SubVolumeSettings) -> View:
    """Draw a view of ``stretch``: place, mirroring, rotation (8 degrees), scale (8 %), bending (mm) and HU shift.

    The slices, their thickness included, stay within the stretch. Where slices are smaller than the body they show a
    part of it, else the whole of it off centre.

    Raises:
        InputError: when the background is too narrow for slices of this size.
    """
    step = float(rng.choice(np.asarray(wanted.z_spacings)))
    scale, angle = float(rng.uniform(*_SCALE)), float(rng.uniform(-_TURN, _TURN))
    length = min(float(rng.uniform(*wanted.thickness_mm)), stretch.length_mm / scale)
    count = max(2, int(length / step + 1e-6))
    slack = max(0.0, stretch.length_mm - count * step * scale)
    low = stretch.low_mm + float(rng.uniform(0, slack))
    z = low + (np.arange(count) + 0.5) * step * scale
    waves = np.stack(
        [
            rng.uniform(*_WAVE_MM, (2, _WAVES)),
            rng.uniform(*_WAVE_LENGTH_MM, (2, _WAVES)),
            rng.uniform(0, 2 * np.pi, (2, _WAVES)),
            rng.uniform(-0.02, 0.02, (2, _WAVES)),
        ],
        axis=-1,
    )
    pixel = float(np.clip(rng.normal(_PIXEL_MM, _PIXEL_SPREAD_MM), *_PIXEL_RANGE))
    _, height, width = background.hu.shape
    dx, dy, dz = background.spacing_mm
    field = min(width * dx, height * dy)
    pixel = round(min(pixel, field / (wanted.size * scale)), 6)
    if pixel < _FINEST_PIXEL_MM:
        refuse(
            f"a background is {field:.0f} mm wide and the slices have {wanted.size} px",
            f"a size up to {int(field / (_SCALE[1] * _FINEST_PIXEL_MM))} px for it, or a wider background",
        )
    first, last = (int(np.clip(round(float(v) / dz), 0, len(background.hu) - 1)) for v in (z[0], z[-1]))
    body = background.tissues[first : last + 1] != TissueClass.OUTSIDE
    half = 0.5 * wanted.size * pixel * scale
    centre = (
        _middle(rng, np.flatnonzero(body.any(axis=(0, 1))) * dx, half),
        _middle(rng, np.flatnonzero(body.any(axis=(0, 2))) * dy, half),
    )
    mirrored = bool(rng.random() < 0.5)
    shift = float(rng.uniform(-_HU_SHIFT, _HU_SHIFT))
    return View(wanted.size, pixel, step, z, centre, scale, angle, mirrored, waves, shift)


def _middle(rng: np.random.Generator, body_mm: Numbers, half: float) -> float:
    """Where the middle of the slices may lie along one axis: they stay in the body, or the body in them."""
    low, high = (float(body_mm[0]), float(body_mm[-1])) if len(body_mm) else (0.0, 0.0)
    ends = sorted((low + half, high - half))
    # A body in a wider field lies about its middle.
    slack = 0.5 if ends[0] == high - half else 1.0
    middle = 0.5 * (ends[0] + ends[1])
    return float(rng.uniform(middle - slack * (middle - ends[0]), middle + slack * (ends[1] - middle)))
