"""DICOM series: chosen, sorted, scaled and placed, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from lesion_app.errors import InputError
from transforms import open_ct

AXIAL = (1, 0, 0, 0, 1, 0)
SERIES = generate_uid(entropy_srcs=["series"])


def write_slice(folder, name, position, stored=None, **changes):
    """Write one CT slice of 5 columns x 4 rows, HU = stored - 1024; an attribute set to None is left out."""
    pixels = np.full((4, 5), 1000) if stored is None else np.asarray(stored)
    pixels = pixels.copy()
    if stored is None:
        pixels[0, 0], pixels[1, 2] = 24, 1524
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = changes.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(folder / name), {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": SERIES,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelSpacing": [0.8, 0.7],
        "ImagePositionPatient": list(position),
        "ImageOrientationPatient": list(AXIAL),
        "SliceThickness": 3,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **changes,
    }
    for key, value in values.items():
        if value is not None:
            setattr(dataset, key, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def write_series(folder, zs=(0, 2, 4, 6), **changes):
    for number, z in enumerate(zs):
        write_slice(folder, f"{number:03d}.dcm", (10, 20, z), **changes)
    return folder


def test_slices_are_sorted_by_position_not_by_name(tmp_path):
    for name, z in (("a", 4.0), ("b", 0.0), ("c", 6.0), ("d", 2.0)):
        write_slice(tmp_path, name, (10, 20, z), np.full((4, 5), int(z) * 100))
    source = open_ct(tmp_path)
    assert source.read()[:, 0, 0].tolist() == [-1024, -824, -624, -424]
    assert source.source_kind == "dicom"
    assert source.series_uid == SERIES
    assert source.geometry.spacing_mm == pytest.approx((0.7, 0.8, 2.0))
    np.testing.assert_allclose(source.geometry.affine_lps[:3, 3], [10, 20, 0])
    assert torch.equal(source.read([3, 1]), source.read()[[3, 1]])


def test_one_file_stands_for_its_series(tmp_path):
    write_series(tmp_path)
    other_uid = generate_uid()
    for z in range(6):
        write_slice(tmp_path, f"other{z}", (10, 20, z), SeriesInstanceUID=other_uid)
    assert open_ct(tmp_path / "001.dcm").shape[0] == 4
    assert open_ct(tmp_path / "other1").shape[0] == 6
    largest = open_ct(tmp_path)
    assert largest.series_uid == other_uid
    assert "2 CT series of [6, 4] slices" in largest.notes[0]


def test_each_slice_has_its_own_rescale_and_padding_is_air(tmp_path):
    stored = np.full((4, 5), 500)
    stored[0, 0] = 63536  # -2000 unsigned
    write_slice(tmp_path, "a", (0, 0, 0), stored, RescaleSlope=2, RescaleIntercept=-1000, PixelPaddingValue=63536)
    write_slice(tmp_path, "b", (0, 0, 1), stored, RescaleSlope=0.5, RescaleIntercept=-1024, PixelPaddingValue=63536)
    volume = open_ct(tmp_path).read()
    assert volume[:, 1, 1].tolist() == [0, -774]
    assert volume[:, 0, 0].tolist() == [-1024, -1024]


def test_other_objects_are_passed_over_and_noted(tmp_path):
    write_series(tmp_path)
    write_slice(tmp_path, "scout", (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_slice(tmp_path, "capture", (0, 0, 0), SOPClassUID=SecondaryCaptureImageStorage)
    write_slice(tmp_path, "mr", (0, 0, 0), SOPClassUID=MRImageStorage, Modality="MR")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "screenshot.png").write_bytes(b"picture")
    source = open_ct(tmp_path)
    assert source.shape[0] == 4
    for word in ("localizer", "other than an image slice", "MR object", "not DICOM"):
        assert word in source.notes[0]


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
        ((0, 2, 6, 8), {}, "2.00 to 4.00 mm apart"),
        ((0, 2, 4.04, 6), {}, "mm apart"),
        ((0, 2, 2, 4), {}, "lie where another one lies"),
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


def test_slice_without_pixels_is_refused_when_read(tmp_path):
    file = write_series(tmp_path) / "002.dcm"
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"002\.dcm could not be read"):
        open_ct(tmp_path).read()


def test_messages_hold_no_patient_data(tmp_path):
    write_series(tmp_path, zs=(0, 2, 9), PatientName="Doe^Jane", PatientID="4711")
    with pytest.raises(InputError) as caught:
        open_ct(tmp_path)
    assert "Doe" not in str(caught.value)
    assert "4711" not in str(caught.value)
