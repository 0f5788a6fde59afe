"""Pictures of key slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings
from lesion_app.visualize.palette import PREDICTED

BLUE = np.array([int(PREDICTED.color[i : i + 2], 16) for i in (1, 3, 5)])


def is_blue(pixels: np.ndarray) -> np.ndarray:
    return (np.abs(pixels.astype(int) - BLUE) < 40).all(axis=-1)


@pytest.mark.parametrize("case", [{}, {"orientation": (-1, 0, 0, 0, -1, 0)}, {"multi_frame": True, "step": -2.0}])
def test_the_box_is_drawn_where_the_patient_has_it(
    case: dict[str, Any], make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(pixel=(1.0, 1.0), **case)
    document = make_document(series, [(20, 12, 3, 36, 28, 4)])
    [file] = write_findings(document, series.files, tmp_path / "out", forms=["key_images"])
    image = pydicom.dcmread(file)
    assert image.PhotometricInterpretation == "RGB"
    assert image.BurnedInAnnotation == "NO"
    assert list(image.PatientOrientation) == ["L", "P"]
    pixels = image.pixel_array
    assert pixels.shape == (32 * 1024 // 40 + 64, 1024, 3)
    scale = 1024 / 40
    x1, y1, x2, y2 = np.array(document["lesions"][0]["slices"][0]["box"]) * scale
    left = is_blue(pixels[round(y1) : round(y2), round(x1) - 4 : round(x1) + 5]).any(axis=1)
    top = is_blue(pixels[round(y1) - 4 : round(y1) + 5, round(x1) : round(x2)]).any(axis=0)
    assert left.mean() > 0.95
    assert top.mean() > 0.95
    assert float(image.PixelSpacing[0]) == pytest.approx(40 / 1024, abs=1e-5)


def test_square_pixels_for_anisotropic_scans(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(pixel=(2.0, 1.0))  # 40 mm wide, 64 mm high
    [file] = write_findings(
        make_document(series, [(5, 5, 3, 15, 15, 4)]), series.files, tmp_path / "out", forms=["key_images"]
    )
    image = pydicom.dcmread(file)
    assert (image.Rows - 64, image.Columns) == (1024, 640)


def test_one_picture_for_each_key_slice(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    boxes = [(5, 5, 3, 15, 15, 4), (20, 5, 3, 30, 15, 4), (5, 20, 7, 15, 30, 8)]
    files = write_findings(make_document(series, boxes), series.files, tmp_path / "out", forms=["key_images"])
    sources = [pydicom.dcmread(file).SourceImageSequence[0].ReferencedSOPInstanceUID for file in files]
    assert sources == [pydicom.dcmread(series.files[k]).SOPInstanceUID for k in (3, 7)]


def test_no_patient_is_burnt_in(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, [(5, 5, 3, 15, 15, 4)])
    pictures = []
    for name in ("Doe^Jane", "Mustermann^Erika"):
        for file in series.files:
            dataset = pydicom.dcmread(file)
            dataset.PatientName, dataset.PatientID, dataset.StudyDate = name, name[:3], f"2020010{len(name) % 9}"
            dataset.save_as(file)
        [file] = write_findings(document, series.files, tmp_path / name[:3], forms=["key_images"])
        pictures.append(pydicom.dcmread(file).PixelData)
    assert pictures[0] == pictures[1]


def test_a_picture_of_a_lossy_image_says_so(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(LossyImageCompression="01", LossyImageCompressionRatio=12.5)
    [file] = write_findings(
        make_document(series, [(5, 5, 3, 15, 15, 4)]), series.files, tmp_path / "out", forms=["key_images"]
    )
    assert pydicom.dcmread(file).LossyImageCompression == "01"
