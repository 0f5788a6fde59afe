"""Real CTs: known lesions, planted balls and a zoo of awkward files."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pydicom
import pytest
import torch

from lesion_app.errors import InputError
from transforms import CropBlackBorderd, InPlaneSpacingd, LoadCTd, View, open_ct

BALL_HU = 3000
READABLE = {
    # One chest slice in many encodings, and single slices of complete series.
    "transfer_syntaxes_chest_ct": 6,
    "second_series_same_study": 4,
    "gantry_tilt_variable_spacing_ge": 6,
    "corrupt": 3,
    "localizer_and_screens": 0,
    "enhanced_ct": 0,  # perfusion maps, and one whose pixels are all zero
    "non_ct": 0,
}


@pytest.fixture(scope="module")
def ct(real_data):
    return real_data / "ct"


def ball(points, centre, radius):
    """Mask of points [..., 3] (mm) within ``radius`` of ``centre``."""
    return ((points - np.asarray(centre)) ** 2).sum(axis=-1) <= radius**2


def plant_in_dicom(source, folder, centre, radius):
    """Copy a series with a bright ball painted in by each file's attributes; returns its (column, row, z mm)."""
    painted = []
    for file in source.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        row_mm, column_mm = (float(v) for v in dataset.PixelSpacing)
        direction = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
        rows, columns = np.indices((dataset.Rows, dataset.Columns))
        points = (
            np.array(dataset.ImagePositionPatient, dtype=float)
            + columns[..., None] * column_mm * direction[0]
            + rows[..., None] * row_mm * direction[1]
        )
        pixels = dataset.pixel_array.copy()
        mask = ball(points, centre, radius)
        pixels[mask] = BALL_HU - int(dataset.RescaleIntercept)
        painted += [(c, r, float(dataset.ImagePositionPatient[2])) for r, c in np.argwhere(mask)]
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / file.name)
    return np.array(painted)


def found_ball(source):
    """Centre of mass (index x, y, z) and half-open bounds [6] of the ball in the network grid."""
    z, y, x = torch.nonzero(source.read() > 2900, as_tuple=True)
    index = torch.stack([x, y, z], dim=1).double().numpy()
    return index.mean(axis=0), np.concatenate([index.min(axis=0), index.max(axis=0) + 1])


def test_ball_planted_in_dicom_is_found_where_it_was_put(ct, tmp_path):
    centre, radius = (-60.0, -95.0, 207.0), 26.0
    painted = plant_in_dicom(ct / "lungdx_A0002_dicom" / "series_B40f", tmp_path, centre, radius)
    source = open_ct(tmp_path)
    mass, bounds = found_ball(source)
    lps = source.geometry.affine_lps @ [*mass, 1]
    assert (np.abs(lps[:3] - centre) < np.array(source.geometry.spacing_mm) / 2).all()
    box = source.geometry.boxes_to_file_grid(bounds)[0]
    assert box[[0, 1, 3, 4]].tolist() == [*painted[:, :2].min(axis=0), *(painted[:, :2].max(axis=0) + 1)]
    low, high = source.geometry.boxes_to_lps(bounds).reshape(2, 3)
    np.testing.assert_allclose([low[2], high[2]], [painted[:, 2].min() - 4, painted[:, 2].max() + 4])


def test_ball_planted_in_nifti_is_found_where_it_was_put(ct, tmp_path):
    image = nibabel.load(ct / "totalseg_nifti" / "example_ct.nii.gz")
    data = np.asarray(image.dataobj).clip(-1024, 2800)
    centre_lps, radius = np.array([-30.0, -160.0, 250.0]), 20.0
    ras = nibabel.affines.apply_affine(image.affine, np.moveaxis(np.indices(data.shape), 0, -1))
    mask = ball(ras * [-1, -1, 1], centre_lps, radius)
    assert mask.sum() > 1000
    data[mask] = BALL_HU
    nibabel.save(nibabel.Nifti1Image(data, image.affine), tmp_path / "ct.nii.gz")
    source = open_ct(tmp_path / "ct.nii.gz")
    mass, bounds = found_ball(source)
    lps = source.geometry.affine_lps @ [*mass, 1]
    assert (np.abs(lps[:3] - centre_lps) < np.array(source.geometry.spacing_mm) / 2).all()
    voxels = np.argwhere(mask)
    assert source.geometry.boxes_to_file_grid(bounds)[0].tolist() == [*voxels.min(axis=0), *(voxels.max(axis=0) + 1)]


def test_known_lesion_of_the_dicom_lies_where_the_reference_says(ct):
    known = json.loads((ct / "lesions.json").read_text())["datasets"]["lungdx_A0002_dicom/series_B40f"]
    source = open_ct(ct / "lungdx_A0002_dicom" / "series_B40f")
    (lesion,) = known["lesions"]
    assert source.shape == tuple(known["size_xyz"][::-1])
    np.testing.assert_allclose(source.geometry.affine_lps[:3, 3], known["origin"])
    boxes = source.geometry.boxes_to_lps(lesion["box_voxel_xyz_halfopen"])
    np.testing.assert_allclose(boxes[0], lesion["box_lps_mm"], atol=0.01)


@pytest.mark.parametrize("name", ["blds_bone/2.nii.gz", "blds_bone/4.nii.gz"])
def test_known_lesions_of_the_nifti_lie_inside_the_volume(ct, name):
    known = json.loads((ct / "lesions.json").read_text())["datasets"][name]
    source = open_ct(ct / name)
    np.testing.assert_allclose(source.geometry.affine_lps[:3, 3], known["origin"], atol=1e-4)
    depth, height, width = source.shape
    low, high = source.geometry.boxes_to_lps([0, 0, 0, width, height, depth]).reshape(2, 3)
    for lesion in known["lesions"]:
        assert (low <= lesion["box_lps_mm"][:3]).all()
        assert (lesion["box_lps_mm"][3:] <= high).all()


def test_file_that_is_not_in_lps_order_is_turned(ct):
    path = ct / "totalseg_nifti" / "example_ct.nii.gz"
    source = open_ct(path)
    assert source.geometry.flipped == (True, True, False)
    expected = np.asarray(nibabel.load(path).dataobj)[::-1, ::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(source.read().numpy(), expected)


def test_volume_chain_maps_boxes_back_to_the_original_grid(ct):
    item = {"image": ct / "lungdx_A0002_dicom" / "series_B40f"}
    for step in (LoadCTd(), CropBlackBorderd(body_slices="all"), InPlaneSpacingd()):
        item = step(item)
    assert item["image"].dtype == torch.int16
    assert item["image"].shape[0] == 30
    assert item["source"].source_kind == "dicom"
    view = item["view"]
    assert view.scale_x == pytest.approx(0.6465 / 0.8, abs=0.002)
    assert view.shift_y < 0
    height, width = item["image"].shape[1:]
    x1, y1, x2, y2 = view.invert(torch.tensor([[0.0, 0.0, width, height]]))[0].tolist()
    assert 0 <= round(x1, 3) < x2 <= 512.001
    assert 0 <= round(y1, 3) < y2 <= 512.001


def test_load_ct_honours_run_and_writes_spacing(ct):
    item = LoadCTd()({"image": ct / "blds_bone" / "2.nii.gz", "slices": (10, 19)})
    assert item["image"].shape == (10, 96, 96)
    assert item["geometry"].first_slice_number == 10
    assert item["spacing_mm"] == (1.0, 1.0, 1.0)
    assert item["view"] == View()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(READABLE))
def test_every_awkward_file_alone_is_read_or_refused_in_a_sentence(ct, tmp_path, kind):
    readable, sentences = 0, []
    for number, file in enumerate(sorted((ct / "zoo" / kind).glob("*.dcm"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(file, folder)
        try:
            readable += len(open_ct(folder / file.name).read())
        except InputError as error:
            sentences.append(str(error))
    assert readable == READABLE[kind]
    assert all("\n" not in sentence and "expected" in sentence for sentence in sentences)


@pytest.mark.filterwarnings("ignore")
def test_lossless_compressions_decode_to_the_same_slice(ct, tmp_path):
    slices = []
    for number, file in enumerate(sorted((ct / "zoo" / "transfer_syntaxes_chest_ct").glob("*.dcm"))):
        if "Process2_4" in file.name or "Process10_12" in file.name:  # lossy; a retired one nobody decodes
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(file, folder)
        slices.append(open_ct(folder).read())
    assert len(slices) == 5
    assert all(torch.equal(one, slices[0]) for one in slices)


def test_folders_without_one_series_are_refused(ct):
    for kind in ("gantry_tilt_variable_spacing_ge", "localizer_and_screens", "non_ct"):
        with pytest.raises(InputError):
            open_ct(ct / "zoo" / kind)


def test_enhanced_object_of_a_scanner_is_placed(ct):
    source = open_ct(ct / "zoo" / "enhanced_ct" / "legacy_converted_tiny_23x38x3.dcm")
    assert source.shape == (3, 38, 23)
    np.testing.assert_allclose(source.geometry.affine_lps[:3, 3], [46.4649, 5.01881, -177.75])
    np.testing.assert_allclose(source.geometry.spacing_mm, [0.7, 0.7, 2.5])
    assert source.read([0, 2]).unique().tolist() == [0]
