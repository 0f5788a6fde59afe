"""The pixels of a DICOM series become HU in every transfer syntax, or the damaged file is named."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from lesion_app.errors import InputError
from tests.transforms.dicom_slices import write_series, write_slice
from transforms import open_ct


def test_each_slice_has_its_own_rescale_and_padding_is_air(tmp_path):
    stored = np.full((4, 5), 500)
    stored[0, 0] = 63536  # -2000 unsigned
    write_slice(tmp_path, "a", (0, 0, 0), stored, RescaleSlope=2, RescaleIntercept=-1000, PixelPaddingValue=63536)
    write_slice(tmp_path, "b", (0, 0, 1), stored, RescaleSlope=0.5, RescaleIntercept=-1024, PixelPaddingValue=63536)
    volume = open_ct(tmp_path).read()
    assert volume[:, 1, 1].tolist() == [0, -774]
    assert volume[:, 0, 0].tolist() == [-1024, -1024]


def test_slice_without_pixels_is_refused(tmp_path):
    file = write_series(tmp_path) / "002.dcm"
    dataset = pydicom.dcmread(file)
    del dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"002\.dcm cannot be decoded: .*PixelData \(7FE0,0010\)"):
        open_ct(tmp_path)


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
