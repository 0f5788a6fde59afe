"""Slabs from files: the right slices, and no others."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from lesion_app.errors import InputError
from transforms import LoadSlab, LoadSlabd, View, ct_png


@pytest.fixture
def png_folder(tmp_path):
    """Slices 20..50, slice n everywhere at n HU."""
    for number in range(20, 51):
        Image.fromarray(np.full((6, 8), 32768 + number, dtype=np.uint16)).save(tmp_path / f"{number:03d}.png")
    return tmp_path


def record(folder, number=30, spacing_z=5.0, **more):
    return {"image": str(folder), "slice": number, "spacing_mm": [0.7, 0.7, spacing_z], "slices": [20, 50], **more}


def test_key_slice_is_the_middle_and_neighbours_are_2_mm_apart(png_folder):
    item = LoadSlabd()(record(png_folder))
    assert item["image"].dtype == torch.float32
    assert item["image"].shape == (9, 6, 8)
    assert item["image"][:, 0, 0].tolist() == pytest.approx([30 + k * 0.4 for k in range(-4, 5)])
    assert item["view"] == View()
    assert item["spacing_mm"] == (0.7, 0.7, 5.0)


def test_only_the_needed_slices_are_read(png_folder, monkeypatch):
    read = []
    original = ct_png.PNGPlanes.__call__
    monkeypatch.setattr(ct_png.PNGPlanes, "__call__", lambda self, ks: (read.extend(ks), original(self, ks))[1])
    LoadSlabd()(record(png_folder))
    assert read == [28, 29, 30, 31, 32]


def test_slab_stays_inside_the_records_run(png_folder):
    item = LoadSlabd()(record(png_folder, number=21, spacing_z=2.0, slices=[21, 23]))
    assert item["image"][:, 0, 0].tolist() == [21, 21, 21, 21, 21, 22, 23, 23, 23]


def test_missing_neighbour_is_replaced_by_the_nearest_slice(png_folder):
    (png_folder / "032.png").unlink()
    (png_folder / "033.png").unlink()
    slab, source = LoadSlab()(png_folder, 30, (1, 1, 2.0), (20, 50))
    assert slab[:, 0, 0].tolist() == [26, 27, 28, 29, 30, 31, 31, 34, 34]
    assert "2 slices of the run are missing" in source.notes[0]


def test_slab_of_a_nifti_takes_its_own_spacing(tmp_path):
    data = np.broadcast_to(np.arange(12, dtype=np.int16) * 10 - 60, (5, 4, 12))
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-1.0, -1.0, 4.0, 1.0])), tmp_path / "a.nii.gz")
    item = LoadSlabd(num_slices=3)({"image": tmp_path / "a.nii.gz", "slice": 6})
    assert item["image"][:, 0, 0].tolist() == pytest.approx([-5.0, 0.0, 5.0])
    assert item["spacing_mm"] == (1.0, 1.0, 4.0)


def test_record_is_left_alone(png_folder):
    given = record(png_folder)
    before = dict(given)
    LoadSlabd()(given)
    assert given == before


@pytest.mark.parametrize("number", [19, 51])
def test_key_slice_outside_the_run_is_an_input_error(png_folder, number):
    with pytest.raises(InputError, match=f"key slice {number} lies outside the slices 20 to 50"):
        LoadSlabd()(record(png_folder, number=number))


def test_even_slab_is_refused():
    with pytest.raises(ValueError, match="odd"):
        LoadSlabd(num_slices=8)
