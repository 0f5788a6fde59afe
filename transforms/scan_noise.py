"""Strength and grain of a scan's own noise, and more noise like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from transforms.tissue_map import TissueClass

_STRUCTURE_MM = 4.0  # what is coarser than this is anatomy, not noise
_DEPTH_MM = 3.0  # distance to other tissue from which nothing but noise is expected
_FEWEST = 200
_ORDINARY = (10.0, 0.6, 0.0)  # HU, px, slices; where there is no even soft tissue to measure


@dataclass(frozen=True)
class ScanNoise:
    """Noise as white noise seen through a Gaussian.

    Args:
        sigma_hu: standard deviation, HU.
        grain_px: sigma of the Gaussian in plane; grain_slices: along z.
    """

    sigma_hu: float
    grain_px: float
    grain_slices: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Noise float32 [z, y, x] of this grain with unit variance."""
        grain = (self.grain_slices, self.grain_px, self.grain_px)
        margins = [int(np.ceil(3 * sigma)) for sigma in grain]
        white = rng.standard_normal([n + 2 * m for n, m in zip(shape, margins)], dtype=np.float32)
        inner = tuple(slice(m, m + n) for n, m in zip(shape, margins))
        # The filter's own gain, so that few voxels do not bend the variance.
        impulse = np.zeros([2 * m + 1 for m in margins])
        impulse[tuple(margins)] = 1.0
        gain = float(np.sqrt(np.square(ndimage.gaussian_filter(impulse, grain, truncate=3.0, mode="constant")).sum()))
        return np.asarray(ndimage.gaussian_filter(white, grain, truncate=3.0)[inner] / gain, dtype=np.float32)


def measure_noise(
    hu: NDArray[np.float32], classes: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> ScanNoise:
    """Measure the noise in even soft tissue.

    Args:
        hu: [Z, H, W]; classes: `TissueClass` of its voxels.
        spacing_mm: (x, y, z).

    Returns:
        Robust standard deviation (median absolute deviation) and the grain that the correlation of neighbours tells:
        white noise behind a Gaussian of sigma s has exp(-1 / 4 s^2). Typical values where nothing can be measured.
    """
    dx, dy, _ = spacing_mm
    sampling = (1e6, dy, dx)  # depth within the slice
    deep = ndimage.distance_transform_edt(classes == TissueClass.SOFT, sampling=sampling) > _DEPTH_MM
    if deep.sum() < _FEWEST:
        return ScanNoise(*_ORDINARY)
    rest = hu - ndimage.gaussian_filter(hu, (0.0, _STRUCTURE_MM / dy, _STRUCTURE_MM / dx))
    values = rest[deep]
    sigma = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    # Vessels and fat lobules would pass for very coarse noise.
    even = deep & (np.abs(rest) < 3 * sigma)
    grain = [_grain(_correlation(rest, even, axis)) for axis in range(3)]
    return ScanNoise(max(sigma, 1.0), 0.5 * (grain[1] + grain[2]), grain[0])


def _correlation(rest: NDArray[np.float32], even: NDArray[np.bool_], axis: int) -> float:
    """Correlation of neighbours along ``axis`` within ``even``."""
    count = rest.shape[axis]
    first = tuple(slice(0, count - 1) if a == axis else slice(None) for a in range(3))
    second = tuple(slice(1, count) if a == axis else slice(None) for a in range(3))
    both = even[first] & even[second]
    if both.sum() < _FEWEST:
        return 0.0
    one, other = rest[first][both], rest[second][both]
    return float((one * other).mean() / max(float(np.sqrt((one**2).mean() * (other**2).mean())), 1e-6))


def _grain(correlation: float) -> float:
    return float(0.5 / np.sqrt(-np.log(np.clip(correlation, 0.01, 0.97))))
