"""What the scanner adds: tissue texture, correlated quantum noise and faint streaks; HU to DeepLesion's 16 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from lesion_app.data.phantom.shapes import Image

HU_OFFSET = 32768
"""DeepLesion's PNGs hold HU + 32768 as unsigned 16 bit (NIH's README of DeepLesion)."""

_TILES = 4


def _filtered_noise(rng: np.random.Generator, size: int, response: NDArray[np.float64], count: int) -> Image:
    """Periodic unit-variance noise tiles [count, size, size] whose amplitude spectrum is ``response``."""
    white = rng.standard_normal((count, size, size), dtype=np.float32)
    tiles = irfft2(rfft2(white) * response.astype(np.float32)[None], s=(size, size)).astype(np.float32)
    return (tiles / tiles.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _frequencies(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.meshgrid(np.fft.rfftfreq(size), np.fft.fftfreq(size))


def _rolled(tile: Image, dy: int, dx: int, shape: tuple[int, ...]) -> Image:
    return np.roll(tile, (dy, dx), axis=(0, 1))[: shape[0], : shape[1]]


@dataclass(frozen=True)
class Texture:
    """Parenchymal texture: a periodic tile that drifts with z, so that neighbouring slices agree."""

    tile: Image
    drift: tuple[float, float]

    def at(self, z_mm: float, shape: tuple[int, ...]) -> Image:
        """Unit-variance texture [H, W] of the slice at ``z_mm``."""
        return _rolled(self.tile, round(z_mm * self.drift[0]), round(z_mm * self.drift[1]), shape)


def draw_texture(rng: np.random.Generator, size: int, pixel_mm: float) -> Texture:
    """Draw a patient's texture, correlated over about 2 mm with some 8 mm mottle."""
    fx, fy = _frequencies(size)
    squared = (fx**2 + fy**2) / pixel_mm**2
    tile = _filtered_noise(
        rng, size, np.exp(-squared * 2 * (np.pi * 1.0) ** 2) + 2.5 * np.exp(-squared * 2 * (np.pi * 4.0) ** 2), 1
    )
    return Texture(tile[0], (float(rng.uniform(0.5, 1.0)), float(rng.uniform(-0.6, 0.6))))


@dataclass(frozen=True)
class Scanner:
    """Noise of one scan.

    Args:
        tiles: [n, size, size] unit-variance noise of the reconstruction kernel.
        streaks: [size, size] unit-variance noise drawn out along x (photon starvation between shoulders or hips).
        sigma_hu: noise in the middle of the body, HU.
        profile: [size, size] relative noise (the middle of the body is noisiest).
    """

    tiles: Image
    streaks: Image
    sigma_hu: float
    profile: Image

    def expose(self, image: Image, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Add one slice's noise to ``image`` (float32 HU, [H, W], changed in place); return HU + 32768 as uint16."""
        tile = self.tiles[rng.integers(len(self.tiles))]
        if rng.random() < 0.5:
            tile = tile[:, ::-1]
        dy, dx, sy, sx = (int(v) for v in rng.integers(0, tile.shape[0], 4))
        noise = _rolled(tile, dy, dx, image.shape)
        noise = noise + np.float32(0.3) * _rolled(self.streaks, sy, sx, image.shape)
        noise *= self.profile
        image += noise
        np.clip(image, -1024, 3071, out=image)
        image += np.float32(HU_OFFSET + 0.5)
        return image.astype(np.uint16)


def draw_scanner(rng: np.random.Generator, size: int, pixel_mm: float, thickness_mm: float) -> Scanner:
    """Draw a scan's kernel and dose: noise grows as slices get thinner, sharper kernels are noisier."""
    fx, fy = _frequencies(size)
    radius = np.hypot(fx, fy) / pixel_mm
    cutoff = float(rng.uniform(0.22, 0.42))
    # Filtered back-projection: a ramp, rolled off by the kernel (noise power ~ f * MTF^2).
    response = np.sqrt(radius + 0.01) * np.exp(-np.square(radius / cutoff))
    along = np.exp(-np.square(fx / 0.012)) * np.exp(-np.square(fy / 0.16))
    sigma = float(rng.uniform(9.0, 15.0)) * (5.0 / max(thickness_mm, 1.0)) ** 0.3 * (cutoff / 0.3) ** 0.5
    axis = (np.arange(size, dtype=np.float32) - size / 2) / (size / 2)
    bowl = np.float32(0.5) + np.float32(0.5) * np.exp(-2.2 * (axis[None, :] ** 2 + 1.8 * axis[:, None] ** 2))
    return Scanner(
        _filtered_noise(rng, size, response, _TILES),
        _filtered_noise(rng, size, along, 1)[0],
        sigma,
        (sigma * bowl).astype(np.float32),
    )
