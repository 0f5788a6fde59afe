"""Boxes for viewers that draw presentation states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings

BOXES = [(5, 7, 2, 17, 12, 5), (20, 0, 4, 40, 9, 6)]


@pytest.mark.parametrize("case", [{}, {"orientation": (-1, 0, 0, 0, 1, 0), "step": -2.0}, {"multi_frame": True}])
def test_every_touched_slice_carries_its_boxes(
    case: dict[str, Any], make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(**case)
    [file] = write_findings(make_document(series, BOXES), series.files, tmp_path / "out", forms=["gsps"])
    numbers = {pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID: k for k, f in enumerate(series.files)}
    drawn = set()
    for annotation in pydicom.dcmread(file).GraphicAnnotationSequence:
        [image] = annotation.ReferencedImageSequence
        frame = image.get("ReferencedFrameNumber")
        k = int(frame) - 1 if frame else numbers[image.ReferencedSOPInstanceUID]
        for graphic in annotation.GraphicObjectSequence:
            assert graphic.GraphicAnnotationUnits == "PIXEL"
            points = np.array(graphic.GraphicData).reshape(-1, 2)
            drawn.add((k, *np.r_[points.min(axis=0), points.max(axis=0)].round(2).tolist()))
        for text in annotation.TextObjectSequence:
            corners = np.r_[text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner]
            assert corners.min() >= 0
            assert (corners <= (40, 32, 40, 32)).all()
    assert drawn == {(k, box[0], box[1], box[3], box[4]) for box in BOXES for k in range(box[2], box[5])}


def test_the_images_own_window_is_kept(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(WindowCenter=[-600, 40], WindowWidth=[1500, 400])
    [file] = write_findings(make_document(series, BOXES), series.files, tmp_path / "out", forms=["gsps"])
    [window] = pydicom.dcmread(file).SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (-600, 1500)
