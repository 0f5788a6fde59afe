"""DICOM files are sorted into series, and one series is chosen; other objects and copies are passed over."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import MRImageStorage, RLELossless, SecondaryCaptureImageStorage, generate_uid

from lesion_app.errors import InputError
from tests.transforms.dicom_slices import SERIES, write_series, write_slice
from transforms import open_ct


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
