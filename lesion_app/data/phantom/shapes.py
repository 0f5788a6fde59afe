"""The two solids a phantom is built from, and how much of a slice's pixels they fill.

Everything is in millimetres of the patient frame: x to the patient's left (image right), y to the back (image down),
z to the feet (with the slice number). A solid is asked for its coverage (0..1, partial volume in plane by a soft edge
and through the slice by averaging thin layers) on the pixels of its bounding box only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesion_app.data.phantom.tissue import Tissue

Image = NDArray[np.float32]
Window = tuple[slice, slice]
Path = Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class SliceGrid:
    """Pixels of one slice: centre coordinates in mm, and the z of the layers averaged over its thickness.

    Args:
        x: [W] and y: [H] pixel centres, uniformly spaced by ``pixel_mm``.
        z: centre of the slice; thickness_mm: its extent in z.
    """

    x: Image
    y: Image
    z: float
    thickness_mm: float
    pixel_mm: float

    def layers(self, spacing_mm: float) -> Image:
        """z of equally spaced layers through the slice, at most ``spacing_mm`` apart."""
        count = max(1, int(np.ceil(self.thickness_mm / spacing_mm - 1e-6)))
        return (self.z + self.thickness_mm * ((np.arange(count) + 0.5) / count - 0.5)).astype(np.float32)

    def window(self, x1: float, y1: float, x2: float, y2: float) -> Window | None:
        """Rows and columns whose pixels touch a rectangle in mm; None when it misses the image."""
        columns = slice(*_touched(x1, x2, float(self.x[0]), self.pixel_mm, len(self.x)))
        rows = slice(*_touched(y1, y2, float(self.y[0]), self.pixel_mm, len(self.y)))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _touched(low: float, high: float, first: float, pixel: float, count: int) -> tuple[int, int]:
    return max(0, int((low - first) // pixel)), min(count, int((high - first) // pixel) + 2)


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, bent by low-frequency waves so that no two organs or lesions share an outline.

    Args:
        centre: (x, y, z) in mm.
        radii: semi-axes (a, b, c) in mm before rotation; c along z.
        hu: attenuation inside, HU.
        tissue: what it is made of.
        angle: rotation in plane, rad.
        edge_mm: width of the soft margin.
        waves: [n, 5] rows (amplitude mm, wavelength mm, phase of x, phase of y, phase change per mm of z).
        texture: strength of the parenchymal texture inside, 0..1.
        z_range: slab of z the solid is cut to (mm).
        power: exponent of the in-plane outline; 2 = ellipse, larger = box-like (even numbers).
        layer_mm: thickness of the layers averaged through a slice.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float
    tissue: Tissue
    angle: float = 0.0
    edge_mm: float = 1.5
    waves: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 5)))
    texture: float = 0.0
    z_range: tuple[float, float] = (-np.inf, np.inf)
    power: int = 2
    layer_mm: float = 2.5

    def coverage(self, grid: SliceGrid) -> tuple[Window, Image] | None:
        """Pixels (rows, columns) and how much of each is filled [h, w]; None when the slice is missed."""
        a, b, c = self.radii
        if abs(grid.z - self.centre[2]) > c + self.edge_mm + grid.thickness_mm:
            return None
        layers = grid.layers(self.layer_mm)
        w2 = ((layers - self.centre[2]) / c) ** 2
        inside = (w2 < (1 + self.edge_mm / c) ** 2) & (layers >= self.z_range[0]) & (layers < self.z_range[1])
        if not inside.any():
            return None
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        margin = self.edge_mm + float(np.abs(self.waves[:, 0]).sum()) if len(self.waves) else self.edge_mm
        if self.power == 2:
            shrink = np.sqrt(max(0.0, 1.0 - float(w2[inside].min())))
            half_x, half_y = shrink * np.hypot(a * cos, b * sin), shrink * np.hypot(a * sin, b * cos)
            margin += self.edge_mm * (1 - shrink) * max(a, b) / c
        else:
            half_x, half_y = a * abs(cos) + b * abs(sin), a * abs(sin) + b * abs(cos)
        x0, y0, z0 = self.centre
        window = grid.window(x0 - half_x - margin, y0 - half_y - margin, x0 + half_x + margin, y0 + half_y + margin)
        if window is None:
            return None
        x, y = grid.x[window[1]] - np.float32(x0), grid.y[window[0]] - np.float32(y0)
        shift_x, shift_y = self._bend(x, y, grid.z - z0)
        dx, dy = x[None, :] + shift_x[:, None], y[:, None] + shift_y[None, :]
        if abs(sin) > 1e-6:
            dx, dy = dx * np.float32(cos) + dy * np.float32(sin), dy * np.float32(cos) - dx * np.float32(sin)
        u2, v2 = np.square(dx * np.float32(1 / a)), np.square(dy * np.float32(1 / b))
        if self.power == 2:
            flat = u2 + v2
        else:
            half = self.power // 2
            flat = (u2**half + v2**half) ** np.float32(1 / half)
        steepness = np.float32(min(a, b) / self.edge_mm)
        total = np.zeros(flat.shape, dtype=np.float32)
        for w in w2[inside]:
            total += np.clip((1 - np.sqrt(flat + np.float32(w))) * steepness + np.float32(0.5), 0, 1)
        return window, np.asarray(total / len(layers), dtype=np.float32)

    def _bend(self, x: Image, y: Image, z: float) -> tuple[Image, Image]:
        shift_x, shift_y = np.zeros_like(y), np.zeros_like(x)
        for amplitude, wavelength, phase_x, phase_y, drift in self.waves.astype(np.float32):
            k = np.float32(2 * np.pi) / wavelength
            shift_x += amplitude * np.sin(k * y + (phase_x + drift * np.float32(z)))
            shift_y += amplitude * np.sin(k * x + (phase_y - drift * np.float32(z)))
        return shift_x, shift_y


def make_waves(rng: np.random.Generator, size_mm: float, strength: float, count: int = 2) -> NDArray[np.float64]:
    """Random waves for a `Blob` of about ``size_mm`` radius; ``strength`` = amplitude relative to that radius."""
    order = np.arange(1, count + 1)
    return np.stack(
        [
            strength * size_mm * rng.uniform(0.4, 1.0, count) / order,
            size_mm * rng.uniform(2.0, 3.2, count) / order,
            rng.uniform(0, 2 * np.pi, count),
            rng.uniform(0, 2 * np.pi, count),
            rng.uniform(-1.0, 1.0, count) / size_mm,
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Tube:
    """A chain of round segments with hemispherical ends: a vessel, rib or bowel loop in any direction.

    Args:
        points: [n, 3] mm, n >= 2.
        radii: [n - 1] mm (or one number), constant along a segment.
        hu: HU inside, one number or [n - 1].
        tissue: what it is made of.
        edge_mm: width of the soft margin.
        connected: False: ``points`` are n / 2 separate pairs and ``radii`` has n / 2 entries (a vessel tree).
    """

    points: NDArray[np.float64]
    radii: ArrayLike
    hu: ArrayLike
    tissue: Tissue
    edge_mm: float = 1.2
    texture: float = 0.0
    connected: bool = True
    layer_mm: float = 1.7

    def segments(self, grid: SliceGrid) -> Iterator[tuple[float, Window, Image]]:
        """Yield HU, pixels and coverage [h, w] of every segment that meets the slice."""
        start, end, radii, hu, low, high = self._parts
        layers = grid.layers(self.layer_mm)
        for i in np.flatnonzero((low < layers[-1]) & (high > layers[0])):
            found = _segment_coverage(grid, layers, start[i], end[i], float(radii[i]), self.edge_mm)
            if found is not None:
                yield float(hu[i]), *found

    @cached_property
    def _parts(self) -> tuple[NDArray[np.float64], ...]:
        """Start and end [n, 3], radius, HU, lowest and highest z that is touched [n], of every segment."""
        points = np.asarray(self.points, dtype=np.float64)
        start, end = (points[:-1], points[1:]) if self.connected else (points[::2], points[1::2])
        radii, hu = np.broadcast_to(self.radii, len(start)), np.broadcast_to(self.hu, len(start))
        reach = radii + self.edge_mm
        low, high = np.minimum(start[:, 2], end[:, 2]) - reach, np.maximum(start[:, 2], end[:, 2]) + reach
        return start, end, radii, hu, low, high


def _segment_coverage(
    grid: SliceGrid, layers: Image, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, edge: float
) -> tuple[Window, Image] | None:
    axis = end - start
    # Only the stretch of the axis that can reach the slice bounds the pixels to look at.
    reach = radius + edge
    if abs(axis[2]) > 1e-6:
        cuts = np.sort((np.array([layers[0] - reach, layers[-1] + reach]) - start[2]) / axis[2]).clip(0, 1)
    else:
        cuts = np.array([0.0, 1.0])
    corners = start + cuts[:, None] * axis
    x1, y1 = corners[:, :2].min(axis=0) - reach
    x2, y2 = corners[:, :2].max(axis=0) + reach
    window = grid.window(x1, y1, x2, y2)
    if window is None:
        return None
    x, y = grid.x[window[1]][None, :] - np.float32(start[0]), grid.y[window[0]][:, None] - np.float32(start[1])
    z = (layers - np.float32(start[2]))[:, None, None]
    ax, ay, az = (axis / max(float(axis @ axis), 1e-9)).astype(np.float32)
    along = np.clip((x * ax + y * ay)[None] + z * az, 0, 1)
    ax, ay, az = axis.astype(np.float32)
    squared = np.square(x - along * ax) + np.square(y - along * ay) + np.square(z - along * az)
    filled = np.clip((np.float32(radius) - np.sqrt(squared)) * np.float32(1 / edge) + np.float32(0.5), 0, 1)
    return window, filled.mean(axis=0) if len(layers) > 1 else filled[0]


def smooth_path(control: Path, steps: int = 6) -> NDArray[np.float64]:
    """Catmull-Rom curve [(n - 1) * steps + 1, 3] through ``control`` [n >= 2, 3] (mm)."""
    points = np.asarray(control, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(steps) / steps)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
    return np.concatenate([curve.reshape(-1, 3), points[-1:]])
