"""A DICOM series is placed on one axial grid, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.errors import InputError
from tests.transforms.dicom_slices import write_series, write_slice
from transforms import open_ct


@pytest.mark.parametrize(
    ("orientation", "step", "shape"),
    [
        ((0, 1, 0, 0, 0, -1), (2, 0, 0), (4, 5, 3)),  # sagittal
        ((1, 0, 0, 0, 0, -1), (0, 2, 0), (4, 3, 5)),  # coronal
        ((-1, 0, 0, 0, -1, 0), (0, 0, 2), (3, 4, 5)),  # prone, seen from below
        ((0, 1, 0, 1, 0, 0), (0, 0, 2), (3, 5, 4)),  # rows and columns exchanged
    ],
)
def test_any_acquisition_plane_is_turned_to_axial(tmp_path, orientation, step, shape):
    rng = np.random.default_rng(0)
    at = {}
    for number in range(3):
        stored = rng.integers(0, 3000, (4, 5))
        position = np.array([5.0, 6.0, 7.0]) + number * np.array(step)
        write_slice(
            tmp_path, str(number), position, stored, ImageOrientationPatient=list(orientation), PixelSpacing=[1, 1]
        )
        for row in range(4):
            for column in range(5):
                place = position + column * np.array(orientation[:3]) + row * np.array(orientation[3:])
                at[tuple(np.rint(place).astype(int))] = stored[row, column] - 1024
    source = open_ct(tmp_path)
    assert source.shape == shape
    volume = source.read()
    for z, y, x in np.ndindex(shape):
        place = source.geometry.affine_lps @ [x, y, z, 1]
        assert volume[z, y, x] == at[tuple(np.rint(place[:3]).astype(int))]


def test_box_in_file_grid_is_column_row_slice(tmp_path):
    for number in range(3):
        write_slice(
            tmp_path, str(number), (0, 0, -2 * number), ImageOrientationPatient=[-1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1]
        )
    geometry = open_ct(tmp_path).geometry
    # The normal points down, so slices sorted along it run against z; columns run to the right.
    assert geometry.boxes_to_file_grid([[0, 1, 0, 2, 3, 1]]).tolist() == [[3, 1, 2, 5, 3, 3]]


def test_single_slice_takes_its_thickness(tmp_path):
    write_series(tmp_path, zs=(5,))
    source = open_ct(tmp_path)
    assert source.shape == (1, 4, 5)
    assert source.geometry.spacing_mm[2] == 3
    assert "thickness" in source.notes[0]


def test_positions_rounded_by_the_scanner_are_uniform(tmp_path):
    write_series(tmp_path, zs=[round(n * 0.625, 2) for n in range(9)])
    assert open_ct(tmp_path).geometry.spacing_mm[2] == pytest.approx(0.625, abs=1e-3)


@pytest.mark.parametrize(
    ("zs", "changes", "sentence"),
    [
        (
            (0, 2, 6, 8),
            {},
            r"between 001.dcm and 002.dcm lie 4.00 mm by ImagePositionPatient \(0020,0032\).* 1 CT slices",
        ),
        ((0, 2, 5, 7), {}, "2.00 to 3.00 mm apart"),
        ((0, 2, 4.04, 6), {}, "mm apart"),
        ((0, 2, 2, 4), {}, r"00[12].dcm lies where 00[12].dcm lies by ImagePositionPatient"),
        ((0, 2), {"RescaleSlope": None}, "RescaleSlope"),
        ((0, 2), {"PixelSpacing": None}, "PixelSpacing"),
        ((0, 2), {"PixelSpacing": [0, 1]}, "PixelSpacing"),
        ((0, 2), {"ImagePositionPatient": None}, "ImagePositionPatient"),
        ((0, 2), {"ImageOrientationPatient": [1, 0, 0]}, "ImageOrientationPatient"),
        ((0, 2), {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular"),
        ((0,), {"SliceThickness": None}, "SliceThickness"),
        ((0, 2), {"Modality": "MR"}, "no CT slice"),
        ((0, 2), {"RescaleType": "Z_EFF"}, "units other than HU"),
        ((0, 2), {"PhotometricInterpretation": "MONOCHROME1"}, "without grey pixels"),
    ],
)
def test_series_without_one_grid_is_refused(tmp_path, zs, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        open_ct(write_series(tmp_path, zs, **changes))


@pytest.mark.parametrize(
    "change",
    [
        {"PixelSpacing": [0.9, 0.9]},
        {"ImageOrientationPatient": [0.9998, 0.02, 0, -0.02, 0.9998, 0]},
        {"stored": np.ones((6, 6))},
    ],
)
def test_grid_that_changes_inside_the_series_is_refused(tmp_path, change):
    write_series(tmp_path)
    write_slice(tmp_path, "odd", (10, 20, 8), **change)
    with pytest.raises(InputError, match="changes inside"):
        open_ct(tmp_path)


def test_slices_displaced_sideways_are_refused(tmp_path):
    for number in range(40):
        write_slice(tmp_path, f"{number}", (10 + (number == 20) * 2, 20, 2 * number))
    with pytest.raises(InputError, match=r"displaced sideways by up to 2\.\d+ mm"):
        open_ct(tmp_path)


def test_gantry_tilt_is_refused(tmp_path):
    for number in range(4):
        write_slice(tmp_path, f"{number}", (10, 20 + number * 0.1, 2 * number))
    with pytest.raises(InputError, match=r"2\.9 degrees"):
        open_ct(tmp_path)


def test_messages_hold_no_patient_data(tmp_path):
    write_series(tmp_path, zs=(0, 2, 9), PatientName="Doe^Jane", PatientID="4711")
    with pytest.raises(InputError) as caught:
        open_ct(tmp_path)
    assert "Doe" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_tilt_that_only_its_own_tag_tells_is_refused(tmp_path):
    write_series(tmp_path, GantryDetectorTilt=-15)
    with pytest.raises(InputError, match=r"000\.dcm has GantryDetectorTilt \(0018,1120\) -15\.0 degrees"):
        open_ct(tmp_path)


def test_change_of_the_frame_of_reference_is_refused(tmp_path):
    write_series(tmp_path, FrameOfReferenceUID="1.2.3")
    write_slice(tmp_path, "odd", (10, 20, 8), FrameOfReferenceUID="1.2.4")
    with pytest.raises(InputError, match=r"FrameOfReferenceUID \(0020,0052\) changes .* in odd"):
        open_ct(tmp_path)


def test_spacing_that_adds_up_to_a_drift_is_refused(tmp_path):
    # Each gap is within 1 % of the next, yet the middle slices lie a third of a slice off any uniform grid.
    gaps = 5 * np.where(np.arange(160) < 80, 0.9925, 1.0075)
    write_series(tmp_path, zs=np.concatenate([[0], np.cumsum(gaps)]))
    with pytest.raises(InputError, match="mm apart"):
        open_ct(tmp_path)


ORIENTATIONS = {
    "plain": (1, 0, 0, 0, 1, 0),
    "feet first, prone": (-1, 0, 0, 0, 1, 0),
    "rows upside down": (1, 0, 0, 0, -1, 0),
    "columns and rows exchanged": (0, 1, 0, 1, 0, 0),
    "oblique": (0.96, 0.28, 0, -0.2688, 0.9216, 0.28),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_itk_places_every_voxel_where_we_do(tmp_path, name):
    import itk

    rng = np.random.default_rng(1)
    orientation = np.array(ORIENTATIONS[name], dtype=float).reshape(2, 3)
    normal = np.cross(*orientation)
    numbers = rng.permutation(6)
    for number, k in enumerate(numbers):
        position = np.array([-31.5, 12.25, 400.0]) + k * 2.5 * normal
        write_slice(
            tmp_path,
            f"{number}.dcm",
            np.round(position, 6),
            rng.integers(0, 3000, (7, 9)),
            ImageOrientationPatient=orientation.ravel().tolist(),
            PixelSpacing=[1.5, 0.75],
        )
    files = [str(tmp_path / f"{number}.dcm") for number in np.argsort(numbers)]
    image = itk.imread(files)  # GDCM
    source = open_ct(tmp_path)
    volume = source.read().numpy()
    for index in np.ndindex(9, 7, 6):
        point = image.TransformIndexToPhysicalPoint([int(i) for i in index])
        x, y, z = np.linalg.solve(source.geometry.affine_lps, [*point, 1])[:3]
        assert np.abs(np.array([x, y, z]) - np.rint([x, y, z])).max() < 0.01
        assert volume[round(z), round(y), round(x)] == image.GetPixel([int(i) for i in index])
