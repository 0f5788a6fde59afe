"""Solids against slow sampling, and vessels that run on where lesions end."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.data.phantom.patient import draw_phantom
from lesion_app.data.phantom.shapes import Blob, SliceGrid, Tube, smooth_path
from lesion_app.data.phantom.tissue import Tissue


def grid(z: float, thickness: float = 1.0, pixel: float = 1.0, count: int = 80) -> SliceGrid:
    x = ((np.arange(count) - count / 2 + 0.5) * pixel).astype(np.float32)
    return SliceGrid(x, x, z, thickness, pixel)


def whole(found: tuple, count: int = 80) -> np.ndarray:
    image = np.zeros((count, count))
    image[found[0]] = found[1]
    return image


@pytest.mark.parametrize("angle", [0.0, 0.7])
@pytest.mark.parametrize("z", [0.0, 6.0])
def test_blob_fills_the_ellipsoid(angle: float, z: float) -> None:
    blob = Blob((3.0, -2.0, 0.0), (20.0, 9.0, 12.0), 50.0, Tissue.LIVER, angle, edge_mm=0.5)
    image = whole(blob.coverage(grid(z)))
    x, y = np.meshgrid(grid(z).x - 3.0, grid(z).y + 2.0)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (u / 20) ** 2 + (v / 9) ** 2 + (z / 12) ** 2
    assert (image[inside < 0.9] > 0.95).all()
    assert (image[inside > 1.15] < 0.05).all()


def test_blob_keeps_its_volume_through_thick_slices() -> None:
    blob = Blob((0.0, 0.0, 1.3), (6.0, 5.0, 4.0), 50.0, Tissue.LIVER, edge_mm=1.0, layer_mm=0.5)
    found = [(blob.coverage(grid(float(z), 5.0)), 5.0) for z in np.arange(-20, 21, 5)]
    volume = sum(float(part[1].sum()) * step for part, step in found if part is not None)
    assert volume == pytest.approx(4 / 3 * np.pi * 6 * 5 * 4, rel=0.12)


def test_slice_beyond_a_blob_or_image_is_missed() -> None:
    blob = Blob((0.0, 0.0, 0.0), (5.0, 5.0, 5.0), 50.0, Tissue.LIVER)
    assert blob.coverage(grid(20.0)) is None
    assert Blob((500.0, 0.0, 0.0), (5.0, 5.0, 5.0), 50.0, Tissue.LIVER).coverage(grid(0.0)) is None


def test_oblique_tube_is_cut_to_an_ellipse() -> None:
    tube = Tube(np.array([(-30.0, 0.0, -30.0), (30.0, 0.0, 30.0)]), 4.0, 150.0, Tissue.VESSEL, edge_mm=0.5)
    (hu, window, filled) = next(iter(tube.segments(grid(0.0))))
    assert hu == 150.0
    image = whole((window, filled)) > 0.5
    assert np.ptp(np.flatnonzero(image.any(axis=0))) + 1 == pytest.approx(8 * np.sqrt(2), abs=1.5)
    assert np.ptp(np.flatnonzero(image.any(axis=1))) + 1 == pytest.approx(8, abs=1)


def test_smooth_path_passes_through_its_points() -> None:
    points = [(0.0, 0.0, 0.0), (10.0, 5.0, -10.0), (12.0, -5.0, -30.0)]
    path = smooth_path(points, 4)
    np.testing.assert_allclose(path[::4], points)
    assert path.shape == (9, 3)


def test_lesions_keep_apart_and_inside_the_scan() -> None:
    phantom = draw_phantom(np.random.SeedSequence(3), 192, (2.0,), (60.0, 60.0), (6, 6))
    bodies = [lesion.body for lesion in phantom.lesions]
    assert len(bodies) == 6
    for i, one in enumerate(bodies):
        assert phantom.z_mm[0] <= one.centre[2] <= phantom.z_mm[-1]
        for other in bodies[:i]:
            assert np.linalg.norm(np.subtract(one.centre, other.centre)) > one.radii[0] + other.radii[0]


def test_vessels_run_on_where_lesions_end() -> None:
    phantom = draw_phantom(np.random.SeedSequence(3), 192, (2.0,), (60.0, 60.0), None)
    stretches = [
        np.ptp(s.points[:, 2]) for s in phantom.anatomy.solids if isinstance(s, Tube) and s.tissue == Tissue.VESSEL
    ]
    depths = [2 * lesion.body.radii[2] for lesion in phantom.lesions]
    assert np.median(stretches) * phantom.anatomy.scale > np.median(depths)


def test_conspicuous_lesions_differ_from_plausible_ones_in_contrast_alone():
    arguments = (np.random.SeedSequence(3), 192, (2.0,), (60.0, 60.0), (6, 6))
    plain, bold = draw_phantom(*arguments), draw_phantom(np.random.SeedSequence(3), *arguments[1:], 100.0)
    assert len(plain.lesions) == len(bold.lesions)
    for a, b in zip(plain.lesions, bold.lesions):
        assert a.body.centre == b.body.centre
        assert a.body.radii == b.body.radii
        assert abs(b.body.hu - a.body.hu) == 100
