"""From a DICOM series to its findings: what all of it costs besides the network."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from speed_sections.subjects import body_volume, our_network
from speed_sections.timing import summary

from lesion_app.inferers.whole_volume import WholeVolumeInferer

SERIES = "1.2.826.0.1.3680043.8.498.1"
# What is written: forms of DICOM objects, and whether the contact sheet is drawn.
WAYS: dict[str, tuple[tuple[str, ...], bool]] = {
    "SR and lesions.json": (("sr",), False),
    "SR, lesions.json, lesions.png": (("sr",), True),
    "SR, lesions.json, lesions.png, SEG and key images": (("sr", "seg", "key_images"), True),
}


def measure(
    slices: int = 100, size: int = 512, lesions: int = 5, small: bool = False, repetitions: int = 3
) -> dict[str, Any]:
    """Seconds of ``lesion-app report`` on a made-up series, the network's part of them, and the share of the rest.

    Args:
        slices, size: of the series, 0.75 x 0.75 x 2 mm, so that resampling is needed.
        lesions: about so many findings are reported, by choice of the lowest score.
        small: the demo's network.
    """
    from lesion_app.clinical.report_study import report_study
    from lesion_app.inferers.detect import detect

    configs = ("demo_inference",) if small else ()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_series(root / "study", slices, size)
        torch.save(our_network(small).state_dict(), root / "model.pt")
        settings: dict[str, Any] = {"models": root / "model.pt", "configs": configs}
        # Random weights know no lesion: the score is chosen that gives as many findings as a patient has.
        document = detect(
            root / "study", root / "all", weights=root / "model.pt", configs=configs, min_score=0.0, sheet=False
        )
        scores = sorted((lesion["score"] for lesion in document["lesions"]), reverse=True)
        lowest = scores[min(lesions, len(scores)) - 1] if scores else 0.5
        report_study(root / "study", root / "first", min_score=lowest, **settings)  # loads every library
        totals: dict[str, list[float]] = {way: [] for way in WAYS}
        networks: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(repetitions):
            for i, (way, (forms, sheet)) in enumerate(WAYS.items()):
                network = Stopwatch(WholeVolumeInferer, "detect_slices")
                start = time.perf_counter()
                with network:
                    out = root / f"turn{turn}_{i}"
                    report = report_study(root / "study", out, min_score=lowest, forms=forms, sheet=sheet, **settings)
                totals[way].append(time.perf_counter() - start)
                networks[way].append(network.seconds)
    return {
        "slices": slices,
        "findings": len(report.document["lesions"]),
        "ways": {
            way: {
                "seconds": summary(totals[way]),
                "network_seconds": summary(networks[way]),
                "share_besides_network": summary([(t - n) / n for t, n in zip(totals[way], networks[way])]),
            }
            for way in WAYS
        },
    }


class Stopwatch:
    """Adds up the time spent in a method of a class while it is entered."""

    def __init__(self, owner: type, method: str) -> None:
        self.owner, self.method = owner, method
        self.seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self.original = original = getattr(self.owner, self.method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        setattr(self.owner, self.method, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.owner, self.method, self.original)


def write_series(folder: Path, slices: int, size: int) -> None:
    """A classic axial CT series of one file a slice."""
    folder.mkdir()
    volume = body_volume(slices, size).numpy()
    for k in range(slices):
        head = Dataset()
        head.file_meta = FileMetaDataset()
        head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        head.SOPClassUID, head.SOPInstanceUID = CTImageStorage, f"{SERIES}.1.{k + 1}"
        head.StudyInstanceUID, head.SeriesInstanceUID, head.FrameOfReferenceUID = (
            f"{SERIES}.2",
            f"{SERIES}.3",
            f"{SERIES}.4",
        )
        head.PatientName, head.PatientID, head.PatientBirthDate, head.PatientSex = "Made^Up", "BENCH", "19500101", "O"
        head.StudyDate, head.StudyTime, head.StudyID, head.AccessionNumber = "20260101", "101010", "1", "1"
        head.ReferringPhysicianName, head.PositionReferenceIndicator = "", ""
        head.Modality, head.SeriesNumber, head.InstanceNumber = "CT", 1, k + 1
        head.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        head.Rows, head.Columns, head.SamplesPerPixel, head.PhotometricInterpretation = size, size, 1, "MONOCHROME2"
        head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 12, 11, 0
        head.ImagePositionPatient, head.ImageOrientationPatient = [-200.0, -200.0, 2.0 * k], [1, 0, 0, 0, 1, 0]
        head.PixelSpacing, head.SliceThickness = [0.75, 0.75], 2.0
        head.RescaleSlope, head.RescaleIntercept = 1, -1024
        head.PixelData = np.clip(volume[k] + 1024, 0, 4095).astype(np.uint16).tobytes()
        head.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
