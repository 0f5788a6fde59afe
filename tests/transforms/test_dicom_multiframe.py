"""Enhanced multi-frame CT: each frame has its own place and scale, wherever it stands in the file."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from lesion_app.errors import InputError
from transforms import open_ct

ROWS, COLUMNS = 6, 8
SPACING = (1.2, 0.6)


def item(**values):
    dataset = Dataset()
    for key, value in values.items():
        setattr(dataset, key, Sequence(value) if isinstance(value, list) and isinstance(value[0], Dataset) else value)
    return dataset


def write_enhanced(
    file, positions, stored, *, orientation=(1, 0, 0, 0, 1, 0), rescales=None, frame_type=None, **changes
):
    """Write frames [n, rows, columns] at ``positions``; rescale and position a frame, the rest shared."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    frame_type = frame_type or ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    rescales = rescales or [(1, -1024)] * len(positions)
    values = {
        "SOPClassUID": EnhancedCTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": 5,
        "Modality": "CT",
        "ImageType": frame_type,
        "VolumetricProperties": "VOLUME",
        "Rows": ROWS,
        "Columns": COLUMNS,
        "NumberOfFrames": len(positions),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SharedFunctionalGroupsSequence": [
            item(
                CTImageFrameTypeSequence=[item(FrameType=frame_type)],
                PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))],
                PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=2.0)],
                PixelValueTransformationSequence=[item(RescaleSlope=99, RescaleIntercept=99, RescaleType="HU")],
            )
        ],
        "PerFrameFunctionalGroupsSequence": [
            item(
                PlanePositionSequence=[item(ImagePositionPatient=np.round(position, 6).tolist())],
                PixelValueTransformationSequence=[
                    item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
                ],
            )
            for position, (slope, intercept) in zip(positions, rescales)
        ],
        **changes,
    }
    for key, value in values.items():
        nested = isinstance(value, list) and isinstance(value[0], Dataset)
        setattr(dataset, key, Sequence(value) if nested else value)
    dataset.PixelData = np.asarray(stored, dtype=np.uint16).tobytes()
    dataset.save_as(file, enforce_file_format=True)
    return file


def frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 3000, (count, ROWS, COLUMNS))


def test_frames_are_placed_and_scaled_one_by_one(tmp_path):
    zs = np.array([4.0, 0.0, 6.0, 2.0])
    stored = frames(4)
    rescales = [(1, -1024), (2, -1000), (0.5, -1024), (1, 0)]
    write_enhanced(tmp_path / "ct", [(10, 20, z) for z in zs], stored, rescales=rescales)
    source = open_ct(tmp_path)
    assert source.shape == (4, ROWS, COLUMNS)
    assert source.geometry.spacing_mm == pytest.approx((0.6, 1.2, 2.0))
    for place, frame in enumerate(np.argsort(zs)):
        slope, intercept = rescales[frame]
        expected = np.rint(stored[frame] * slope + intercept)
        np.testing.assert_array_equal(source.read()[place].numpy(), expected)
        np.testing.assert_array_equal(source.read([place])[0].numpy(), expected)
    assert torch.equal(source.read([3, 1]), source.read()[[3, 1]])


def test_several_instances_make_one_volume(tmp_path):
    stored = frames(6)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    positions = [(0, 0, z) for z in range(6)]
    write_enhanced(whole / "ct", positions, stored)
    for name, chosen in (("b", [5, 0, 2]), ("a", [4, 1, 3])):  # interleaved
        write_enhanced(parts / name, [positions[k] for k in chosen], stored[chosen])
    assert torch.equal(open_ct(parts).read(), open_ct(whole).read())
    np.testing.assert_allclose(open_ct(parts).geometry.affine_lps, open_ct(whole).geometry.affine_lps)


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0), (0.96, 0.28, 0, -0.2688, 0.9216, 0.28)]
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian])
def test_it_equals_its_classic_twin(tmp_path, orientation, syntax):
    stored = frames(5, seed=3)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [np.array([5.0, -7.0, 100.0]) + k * 2.5 * normal for k in (3, 0, 4, 1, 2)]
    classic, enhanced = tmp_path / "classic", tmp_path / "enhanced"
    classic.mkdir(), enhanced.mkdir()
    file = write_enhanced(enhanced / "ct", positions, stored, orientation=orientation)
    dataset = pydicom.dcmread(file)
    for number, (position, pixels) in enumerate(zip(positions, stored)):
        one = pydicom.dcmread(file)
        del one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence, one.NumberOfFrames
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = generate_uid()
        one.ImagePositionPatient, one.ImageOrientationPatient = np.round(position, 6).tolist(), list(orientation)
        one.PixelSpacing, one.RescaleSlope, one.RescaleIntercept = list(SPACING), 1, -1024
        one.PixelData = pixels.astype(np.uint16).tobytes()
        one.save_as(classic / str(number))
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(file)
    ours, twin = open_ct(enhanced), open_ct(classic)
    assert torch.equal(ours.read(), twin.read())
    np.testing.assert_array_equal(ours.geometry.affine_lps, twin.geometry.affine_lps)


def test_padding_holds_for_all_frames(tmp_path):
    stored = frames(3)
    stored[:, 0, 0] = 5
    write_enhanced(tmp_path / "ct", [(0, 0, z) for z in range(3)], stored, PixelPaddingValue=5)
    assert open_ct(tmp_path).read()[:, 0, 0].tolist() == [-1024] * 3


@pytest.mark.parametrize(
    ("zs", "changes", "sentence"),
    [
        ((0, 1, 1), {}, r"ct frame 3 lies where ct frame 2 lies"),
        ((0, 1, 3, 4), {}, r"between ct frame 2 and ct frame 3 lie 2.00 mm"),
        ((0, 1, 2), {"frame_type": ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]}, r"RCBF\) by FrameType \(0008,9007\)"),
        ((0, 1, 2), {"frame_type": ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]}, "localizer"),
        ((0, 1, 2), {"VolumetricProperties": "DISTORTED"}, r"VolumetricProperties \(0008,9206\)"),
        ((0, 1, 2), {"VolumeBasedCalculationTechnique": "MAX_IP"}, "computed view"),
        ((0, 1, 2), {"NumberOfFrames": 4}, r"ct cannot be decoded: PixelData .* cut short"),
        ((0, 1, 2), {"PerFrameFunctionalGroupsSequence": [Dataset()]}, "no usable ImagePositionPatient"),
    ],
)
def test_what_is_no_volume_of_slices_is_refused(tmp_path, zs, changes, sentence):
    write_enhanced(tmp_path / "ct", [(0, 0, z) for z in zs], frames(len(zs)), **changes)
    with pytest.raises(InputError, match=sentence):
        open_ct(tmp_path)
