"""DICOM series: chosen, sorted, scaled and placed, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
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
    dataset.PixelData = pixels.astype(np.int64).astype(np.uint16).tobytes()  # two's complement serves both signs
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


def test_slice_without_pixels_is_refused(tmp_path):
    file = write_series(tmp_path) / "002.dcm"
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"002\.dcm cannot be decoded: .*PixelData \(7FE0,0010\)"):
        open_ct(tmp_path)


def test_messages_hold_no_patient_data(tmp_path):
    write_series(tmp_path, zs=(0, 2, 9), PatientName="Doe^Jane", PatientID="4711")
    with pytest.raises(InputError) as caught:
        open_ct(tmp_path)
    assert "Doe" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_exactly_the_given_files_are_opened_in_any_order(tmp_path):
    write_series(tmp_path)
    write_slice(tmp_path, "other", (10, 20, 1), SeriesInstanceUID=generate_uid())
    files = [tmp_path / name for name in ("002.dcm", "000.dcm", "003.dcm", "001.dcm")]
    source = open_ct(files)
    assert source.shape[0] == 4
    assert source.series_uid == SERIES
    assert torch.equal(source.read(), open_ct(tmp_path / "000.dcm").read())
    with pytest.raises(InputError, match="2 CT series"):
        open_ct([*files, tmp_path / "other"])
    with pytest.raises(InputError, match="nowhere is not there"):
        open_ct([*files, tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("changes", "air"),
    [
        ({"PixelPaddingValue": 63536}, [[0, 0]]),  # -2000 as US beside signed pixels
        ({"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 63537}, [[0, 0], [0, 1]]),
        ({"PixelPaddingValue": 63537, "PixelPaddingRangeLimit": 63536}, [[0, 0], [0, 1]]),
        ({}, []),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_padding_is_air_in_whatever_sign_it_is_written(tmp_path, changes, air, syntax):
    stored = np.full((4, 5), 40)
    stored[0, :3] = -2000, -1999, -1998
    for z in range(3):
        file = write_slice(tmp_path, str(z), (0, 0, z), stored, PixelRepresentation=1, RescaleIntercept=-24)
        dataset = pydicom.dcmread(file)
        for keyword, value in changes.items():
            dataset.add_new(keyword, "US", value)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian)
    plane = open_ct(tmp_path).read()[1]
    expected = torch.full((4, 5), 16, dtype=torch.int16)
    expected[0, :3] = torch.tensor([-2024, -2023, -2022], dtype=torch.int16)
    for row, column in air:
        expected[row, column] = -1024
    assert torch.equal(plane, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_every_transfer_syntax_gives_the_same_hounsfield(tmp_path, syntax):
    rng = np.random.default_rng(0)
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.mkdir(), other.mkdir()
    for z in range(3):
        stored = rng.integers(-1024, 3000, (64, 65))
        file = write_slice(plain, str(z), (0, 0, z), stored, PixelRepresentation=1, RescaleIntercept=0)
        dataset = pydicom.dcmread(file)
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(other / file.name)
    assert pydicom.dcmread(other / "0").file_meta.TransferSyntaxUID == syntax
    assert torch.equal(open_ct(other).read(), open_ct(plain).read())
    assert open_ct(plain).read().unique().numel() > 100


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_file_that_was_cut_short_is_refused_before_anything_is_decoded(tmp_path, syntax, share):
    write_series(tmp_path, stored=np.random.default_rng(0).integers(0, 3000, (32, 32)))
    file = tmp_path / "001.dcm"
    dataset = pydicom.dcmread(file)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(file)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(InputError, match=r"001\.dcm cannot be decoded: .*PixelData \(7FE0,0010\)"):
        open_ct(tmp_path)


def test_bits_that_do_not_decode_are_refused_by_name(tmp_path):
    write_series(tmp_path, stored=np.random.default_rng(0).integers(0, 3000, (64, 64)))
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(file)
    file = tmp_path / "001.dcm"
    content = bytearray(file.read_bytes())
    start = content.index(b"\xff\x4f\xff\x51")  # of the JPEG 2000 stream
    content[start : start + 64] = bytes(64)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"^001\.dcm could not be read as PixelData \(7FE0,0010\) of a CT slice"):
        open_ct(tmp_path).read()


def test_unknown_compression_is_refused_by_its_name(tmp_path):
    write_series(tmp_path)
    dataset = pydicom.dcmread(tmp_path / "001.dcm")
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.55"
    dataset.save_as(tmp_path / "001.dcm")
    with pytest.raises(InputError, match=r"001\.dcm .*TransferSyntaxUID \(0002,0010\) is JPEG Full Progression"):
        open_ct(tmp_path)


def test_copies_of_an_instance_count_once(tmp_path):
    write_series(tmp_path)
    (tmp_path / "copy").write_bytes((tmp_path / "001.dcm").read_bytes())
    dataset = pydicom.dcmread(tmp_path / "002.dcm")
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "compressed copy")
    source = open_ct(tmp_path)
    assert source.shape[0] == 4
    assert "2 files were copies" in source.notes[-1]


def test_two_slices_under_one_instance_uid_are_refused(tmp_path):
    write_series(tmp_path)
    dataset = pydicom.dcmread(tmp_path / "001.dcm")
    pixels = dataset.pixel_array.copy()
    pixels[2, 2] += 1
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "forged")
    with pytest.raises(InputError, match=r"forged and 001\.dcm have one SOPInstanceUID \(0008,0018\) but differ"):
        open_ct(tmp_path)


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
