"""``lesion_app.detect`` on real CTs, and where its boxes land in the patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app import detect
from lesion_app.bundle_run import config_paths, find_bundle
from lesion_app.inferers.lesions_json import read_lesions_json

BALL_HU, TISSUE_HU = 3000, 700
BALL_MODULE = '''
"""A "detector" that boxes whatever is brighter than any tissue in the middle slice of each slab."""
import torch
from torch import nn


class BrightDetector(nn.Module):
    num_slices = 9

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, slabs, targets=None):
        found = []
        for slab in slabs:
            rows, columns = torch.where(slab[slab.shape[0] // 2] > 179.0)  # HU 1850, half of the ball's edge
            boxes = torch.zeros(0, 4)
            if len(rows):
                boxes = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
            scores = torch.full((len(boxes),), 0.9)
            found.append({"boxes": boxes, "scores": scores, "labels": torch.ones(len(boxes), dtype=torch.int64)})
        return found
'''


@pytest.fixture(scope="module")
def demo_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the demo's network."""
    parser = ConfigParser()
    parser.read_config(config_paths(find_bundle(), ["inference", "demo_inference"]))
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return path


@pytest.fixture
def ball_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An overlay on inference.json that puts the bright-ball detector in the network's place."""
    module = tmp_path / "modules"
    module.mkdir()
    (module / "bright_ball_detector.py").write_text(BALL_MODULE)
    monkeypatch.syspath_prepend(str(module))
    overlay = tmp_path / "ball.json"
    overlay.write_text(
        json.dumps(
            {
                "load": {"_target_": "bright_ball_detector.BrightDetector"},
                "inferer#mode": "naive",
                # Finer than the CT, so that whole pixels of the resampled slice tell the edge to half a voxel.
                "pixel_spacing_mm": 0.4,
                "max_size_px": 2048,
            }
        )
    )
    return overlay


@pytest.mark.slow
@pytest.mark.parametrize("ct", ["ct/lungdx_A0002_dicom/series_B40f", "ct/totalseg_nifti/example_ct.nii.gz"])
def test_real_ct_gives_a_valid_result_file_and_a_picture(
    real_data: Path, demo_weights: Path, tmp_path: Path, ct: str
) -> None:
    document = detect(real_data / ct, tmp_path / "out", configs=["demo_inference"], weights=demo_weights, min_score=0.0)
    assert document == read_lesions_json(tmp_path / "out" / "lesions.json")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lesions.json", "lesions.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    size = np.array(document["grid"]["size_xyz"])
    for lesion in document["lesions"]:
        low, high = np.array(lesion["box_voxel"][:3]), np.array(lesion["box_voxel"][3:])
        assert (low >= -1e-3).all()
        assert (high > low).all()
        assert (high <= np.sort(size)[::-1].max() + 1e-3).all()


def test_planted_ball_comes_back_in_dicom_patient_coordinates(
    real_data: Path, ball_overlay: Path, demo_weights: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "series"
    shutil.copytree(real_data / "ct/lungdx_A0002_dicom/series_B40f", copy)
    files = sorted(
        copy.iterdir(), key=lambda p: float(pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2])
    )
    column, row, first, last, radius = 300, 180, 9, 12, 9
    corners = []
    for number, path in enumerate(files):
        data = pydicom.dcmread(path)
        stored = [(hu - float(data.RescaleIntercept)) / float(data.RescaleSlope) for hu in (TISSUE_HU, BALL_HU)]
        pixels = np.minimum(data.pixel_array, stored[0]).astype(data.pixel_array.dtype)
        if not first <= number <= last:
            data.PixelData = pixels.tobytes()
            data.save_as(path)
            continue
        # Flat faces: a round edge of one voxel's width would blur away when the slice is resampled.
        pixels[row - radius : row + radius + 1, column - radius : column + radius + 1] = stored[1]
        data.PixelData = pixels.tobytes()
        data.save_as(path)
        # PS3.3 C.7.6.2.1.1: the position is that of the first voxel's centre.
        origin, orientation = np.array(data.ImagePositionPatient, float), np.array(data.ImageOrientationPatient, float)
        spacing = np.array(data.PixelSpacing, float)
        for c, r in ((column - radius - 0.5, row - radius - 0.5), (column + radius + 0.5, row + radius + 0.5)):
            corners.append(origin + orientation[:3] * c * spacing[1] + orientation[3:] * r * spacing[0])
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    gap = abs(
        float(pydicom.dcmread(files[1]).ImagePositionPatient[2])
        - float(pydicom.dcmread(files[0]).ImagePositionPatient[2])
    )
    low[2], high[2] = low[2] - gap / 2, high[2] + gap / 2

    document = detect(copy, tmp_path / "out", configs=[ball_overlay], weights=demo_weights, sheet=False)
    (lesion,) = document["lesions"]
    voxel = np.array([*spacing[::-1], gap])
    error = np.abs(np.array(lesion["box_lps_mm"]) - np.concatenate([low, high])) / np.tile(voxel, 2)
    assert error.max() <= 0.5
    wanted = [column - radius, row - radius, first, column + radius + 1, row + radius + 1, last + 1]
    assert np.abs(np.array(lesion["box_voxel"]) - wanted).max() <= 0.5


def test_planted_ball_comes_back_in_nifti_voxels_and_patient_coordinates(
    real_data: Path, ball_overlay: Path, demo_weights: Path, tmp_path: Path
) -> None:
    image = nib.load(real_data / "ct/totalseg_nifti/example_ct.nii.gz")
    assert nib.aff2axcodes(image.affine) != ("L", "P", "S")
    voxels = np.asarray(image.dataobj).astype(np.int16)
    centre, radii = (70, 55, 60), (5, 5, 4)
    x, y, z = (slice(c - r, c + r + 1) for c, r in zip(centre, radii))
    voxels = np.minimum(voxels, TISSUE_HU).astype(np.int16)
    voxels[x, y, z] = BALL_HU
    nib.save(nib.Nifti1Image(voxels, image.affine), tmp_path / "ct.nii.gz")

    document = detect(
        tmp_path / "ct.nii.gz", tmp_path / "out", configs=[ball_overlay], weights=demo_weights, sheet=False
    )
    (lesion,) = document["lesions"]
    wanted = [c - r for c, r in zip(centre, radii)] + [c + r + 1 for c, r in zip(centre, radii)]
    assert np.abs(np.array(lesion["box_voxel"]) - wanted).max() <= 0.5
    corners = np.array(
        [[wanted[i] - 0.5, wanted[j] - 0.5, wanted[k] - 0.5] for i in (0, 3) for j in (1, 4) for k in (2, 5)]
    )
    lps = nib.affines.apply_affine(image.affine, corners) * [-1, -1, 1]
    expected = np.concatenate([lps.min(axis=0), lps.max(axis=0)])
    assert np.abs(np.array(lesion["box_lps_mm"]) - expected).max() <= 0.5 * max(image.header.get_zooms())
