"""Tissue classes against bodies whose tissues are known."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.data.phantom.anatomy import draw_anatomy
from lesion_app.data.phantom.scanner import draw_texture
from lesion_app.data.phantom.shapes import SliceGrid
from lesion_app.data.phantom.tissue import Tissue
from transforms import open_ct
from transforms.tissue_map import MapTissues, MapTissuesd, TissueClass

SPACING = (3.0, 3.0, 6.0)


def cylinder(shape: tuple[int, int, int], row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    return np.broadcast_to(np.hypot(rows - row, columns - column) < radius, shape)


@pytest.fixture(scope="module")
def block_body() -> np.ndarray:
    """A cylinder of muscle under fat with two lungs, a spine with marrow, an enhanced aorta, gas, and a table."""
    shape = (8, 100, 130)
    rng = np.random.default_rng(0)
    hu = np.full(shape, -1000.0)
    hu[:, 92:95, 20:110] = 150.0  # table
    hu[cylinder(shape, 45, 65, 44)] = -100
    hu[cylinder(shape, 45, 65, 38)] = 50
    hu[cylinder(shape, 45, 45, 12)] = -830
    hu[cylinder(shape, 45, 85, 12)] = -830
    hu[cylinder(shape, 45, 45, 1.0)] = 40  # a vessel in the lung
    hu[cylinder(shape, 68, 65, 6)] = 700
    hu[cylinder(shape, 68, 65, 4)] = 150
    hu[cylinder(shape, 52, 65, 4)] = 220
    hu[cylinder(shape, 25, 65, 5)] = -1000
    return hu + rng.normal(0, 8, shape)


def test_classes_of_a_body_of_cylinders(block_body: np.ndarray) -> None:
    found = MapTissues()(block_body, SPACING).numpy()
    points = {
        (5, 5): TissueClass.OUTSIDE,
        (93, 65): TissueClass.OUTSIDE,
        (91, 65): TissueClass.OUTSIDE,
        (45, 24): TissueClass.FAT,
        (45, 65): TissueClass.SOFT,
        (40, 45): TissueClass.LUNG,
        (45, 45): TissueClass.LUNG,
        (45, 90): TissueClass.LUNG,
        (68, 60): TissueClass.BONE,
        (68, 65): TissueClass.BONE,
        (52, 65): TissueClass.VESSEL,
        (25, 65): TissueClass.GAS,
    }
    for (row, column), expected in points.items():
        assert (found[:, row, column] == expected).all(), (row, column, found[:, row, column])


def test_dictionary_form_agrees(block_body: np.ndarray) -> None:
    item = MapTissuesd()({"image": block_body, "spacing_mm": SPACING})
    assert (item["tissues"] == MapTissues()(block_body, SPACING)).all()


def test_phantom_tissues_are_recognised() -> None:
    anatomy = draw_anatomy(np.random.default_rng(3), 384.0, (300.0, 420.0))
    x = ((np.arange(128) - 63.5) * 3.0).astype(np.float32)
    texture = draw_texture(np.random.default_rng(0), 128, 3.0)
    # heights 300..420 mm above the pelvic floor hold liver, lung bases and the lower chest
    grids = [SliceGrid(x, x, -h * anatomy.scale, 6.0, 3.0) for h in range(300, 421, 6)]
    hu = np.stack([anatomy.render(grid, texture) for grid in grids])
    true = np.stack([anatomy.tissues(grid) for grid in grids])
    found = MapTissues()(hu, SPACING).numpy()
    for tissue, expected, least in (
        (Tissue.LUNG, TissueClass.LUNG, 0.93),
        (Tissue.LIVER, TissueClass.SOFT, 0.85),
        (Tissue.SUBCUTANEOUS_FAT, TissueClass.FAT, 0.75),
        (Tissue.BONE, TissueClass.BONE, 0.6),
    ):
        voxels = found[true == tissue]
        assert voxels.size > 300
        assert np.mean(voxels == expected) > least, (tissue, np.mean(voxels == expected))
    assert np.mean(true[found == TissueClass.LUNG] == Tissue.LUNG) > 0.8
    assert np.mean(true[found == TissueClass.BONE] == Tissue.BONE) > 0.75


@pytest.mark.parametrize(
    ("name", "lung_ml"),
    [("lungdx_A0002_dicom/series_B40f", (1800, 4500)), ("totalseg_nifti/example_ct.nii.gz", (60, 400))],
)
def test_lungs_of_real_cts_have_a_plausible_volume(real_data, name: str, lung_ml: tuple[float, float]) -> None:
    source = open_ct(real_data / "ct" / name)
    found = MapTissues()(source.read(), source.geometry.spacing_mm).numpy()
    volume = (found == TissueClass.LUNG).sum() * np.prod(source.geometry.spacing_mm) / 1000
    assert lung_ml[0] < volume < lung_ml[1]
    assert (found[:, :3] == TissueClass.OUTSIDE).all()
