"""Made-up CT series for the DICOM writers, with boxes planted at known places of their own pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.lesions_json import lesions_document
from transforms.geometry import VolumeGeometry

SERIES_UID, STUDY_UID, FRAME_UID = "1.2.826.0.1.99.2", "1.2.826.0.1.99.1", "1.2.826.0.1.99.3"
SIZE = (40, 32, 10)  # columns, rows, slices
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FileBox = tuple[float, float, int, float, float, int]
"""Half-open (column1, row1, slice1, column2, row2, slice2) in the files' own pixels, slices in order of creation."""


@dataclass(frozen=True)
class MadeSeries:
    """Files in order of creation, and the affine from (column, row, slice) centre index to LPS mm."""

    files: list[Path]
    affine: np.ndarray

    def corners_lps(self, box: FileBox) -> np.ndarray:
        """[8, 3] LPS mm of the outer corners of a box."""
        low, high = np.array(box[:3]) - 0.5, np.array(box[3:]) - 0.5
        picks = np.array([[(n >> axis) & 1 for axis in range(3)] for n in range(8)], dtype=bool)
        return np.where(picks, high, low) @ self.affine[:3, :3].T + self.affine[:3, 3]


@pytest.fixture
def make_ct_series(tmp_path: Path) -> Callable[..., MadeSeries]:
    """``make_ct_series(orientation=..., step=3.0, pixel=(row mm, column mm), multi_frame=False, **attributes)``.

    ``step`` is the distance of successive files along the normal, negative for a descending series. ``attributes``
    are set on every file, None takes one away.
    """

    def make(
        orientation: Sequence[float] = AXIAL,
        step: float = 3.0,
        pixel: tuple[float, float] = (1.3, 0.7),
        multi_frame: bool = False,
        **attributes: Any,
    ) -> MadeSeries:
        row, column = np.array(orientation, float).reshape(2, 3)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = row * pixel[1], column * pixel[0]
        affine[:3, 2], affine[:3, 3] = np.cross(row, column) * step, (-31.25, 12.5, -480.0)
        folder = tmp_path / "ct"
        folder.mkdir()
        pixels = np.random.default_rng(0).integers(900, 1200, (SIZE[2], SIZE[1], SIZE[0])).astype(np.uint16)
        positions = [(affine @ (0, 0, k, 1))[:3] for k in range(SIZE[2])]
        if multi_frame:
            datasets = [_enhanced(pixels, positions, orientation, pixel, abs(step))]
        else:
            datasets = [_classic(pixels[k], positions[k], orientation, pixel, abs(step), k) for k in range(SIZE[2])]
        files = []
        for number, dataset in enumerate(datasets):
            for keyword, value in attributes.items():
                if value is None:
                    dataset.pop(keyword, None)
                else:
                    setattr(dataset, keyword, value)
            files.append(folder / f"{(7 * number) % 10}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
        return MadeSeries(files, affine)

    return make


def _head(sop_class: str, number: int) -> Dataset:
    head = Dataset()
    head.file_meta = FileMetaDataset()
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.SOPClassUID, head.SOPInstanceUID = sop_class, f"{SERIES_UID}.{number + 1}"
    head.StudyInstanceUID, head.SeriesInstanceUID, head.FrameOfReferenceUID = STUDY_UID, SERIES_UID, FRAME_UID
    head.PatientName, head.PatientID, head.PatientBirthDate, head.PatientSex = "Doe^Jane", "P-1", "19500203", "F"
    head.StudyDate, head.StudyTime, head.StudyID, head.AccessionNumber = "20240105", "101112", "7", "A-2"
    head.ReferringPhysicianName, head.BodyPartExamined, head.PositionReferenceIndicator = "Roe^R", "CHEST", ""
    head.Modality, head.SeriesNumber, head.InstanceNumber = "CT", 4, number + 1
    head.Rows, head.Columns, head.SamplesPerPixel, head.PhotometricInterpretation = SIZE[1], SIZE[0], 1, "MONOCHROME2"
    head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 12, 11, 0
    return head


def _classic(pixels: np.ndarray, position: Any, orientation: Any, pixel: Any, thickness: float, k: int) -> Dataset:
    dataset = _head(CTImageStorage, k)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = _ds(position), _ds(orientation)
    dataset.PixelSpacing, dataset.SliceThickness = _ds(pixel), thickness
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.WindowCenter, dataset.WindowWidth = [40, -600], [350, 1200]
    dataset.PixelData = pixels.tobytes()
    return dataset


def _enhanced(pixels: np.ndarray, positions: Any, orientation: Any, pixel: Any, thickness: float) -> Dataset:
    dataset = _head(EnhancedCTImageStorage, 0)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(pixels)
    shared, orient, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    orient.ImageOrientationPatient = _ds(orientation)
    measures.PixelSpacing, measures.SliceThickness = _ds(pixel), thickness
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orient], [measures]
    shared.PixelValueTransformationSequence = [values]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for position in positions:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = _ds(position)
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = pixels.tobytes()
    return dataset


def _ds(values: Any) -> list[float]:
    """Numbers as DICOM's decimal strings can hold them, 16 characters."""
    return [float(f"{value:.8g}") for value in values]


@pytest.fixture
def make_document() -> Callable[..., dict[str, Any]]:
    """``make_document(series, boxes, scores=None)``: what lesions.json tells of boxes planted in the files' pixels."""

    def make(series: MadeSeries, boxes: Sequence[FileBox], scores: Sequence[float] | None = None) -> dict[str, Any]:
        geometry = VolumeGeometry.from_file_grid(SIZE, series.affine)
        back = np.linalg.inv(geometry.network_to_file)
        scores = scores or [0.9 - 0.01 * n for n in range(len(boxes))]
        lesions = []
        for box, score in zip(boxes, scores):
            ends = (np.array(box).reshape(2, 3) - 0.5) @ back[:3, :3].T + back[:3, 3] + 0.5
            (x1, y1, z1), (x2, y2, z2) = ends.min(axis=0), ends.max(axis=0)
            slices = range(round(z1), round(z2))
            middle = slices[len(slices) // 2]
            by_slice = [score if z == middle else score / 2 for z in slices]
            lesions.append(Tracklet(tuple(slices), ((x1, y1, x2, y2),) * len(slices), tuple(by_slice)))
        return lesions_document(
            lesions,
            geometry,
            model={"network": "FasterRCNN25D", "file": "model.pt", "sha256": "ab" * 32},
            config={"files": [{"file": "inference.json", "sha256": "cd" * 32}]},
            source={"kind": "dicom", "series_uid": SERIES_UID},
            score_threshold=0.05,
        )

    return make
