"""Other people's programs take whatever is written about a CT."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings
from tests.clinical.dicom_programs import tool, validate
from tests.clinical.finding_cases import ALL_FORMS, CASES, PLANTED
from tests.clinical.report_items import groups


@pytest.mark.parametrize("case", ["ascending", "turned in plane", "enhanced"])
@pytest.mark.parametrize("head", [{}, {"BodyPartExamined": None}, {"BodyPartExamined": "BREAST", "Laterality": "L"}])
def test_every_form_is_valid(
    case: str,
    head: dict[str, Any],
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
) -> None:
    series = make_ct_series(**CASES[case], **head)
    files = write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS)
    files += write_findings(make_document(series, []), series.files, tmp_path / "none")
    for file in files:
        validate(file)


def test_other_peoples_readers_take_the_reports(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    reader, dump = tool("tid1500reader"), tool("dsrdump")
    series = make_ct_series()
    for name, planted in (("some", PLANTED), ("none", [])):
        [file] = write_findings(make_document(series, planted), series.files, tmp_path / name, forms=["sr"])
        subprocess.run([dump, str(file)], check=True, capture_output=True)
        told = tmp_path / f"{name}.json"
        subprocess.run(
            [reader, "--inputDICOM", str(file), "--outputMetadata", str(told)], check=True, capture_output=True
        )
        measured = json.loads(told.read_text())["Measurements"]
        assert [group["TrackingIdentifier"] for group in measured] == (
            [f"Lesion {n}" for n in range(1, len(planted) + 1)] or ["No lesion found"]
        )
        assert all(group["measurementAlgorithmIdentification"]["AlgorithmVersion"] for group in measured)


def test_many_lesions(make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path) -> None:
    series = make_ct_series()
    boxes = [(x, y, z, x + 3, y + 3, z + 1) for z in (0, 9) for y in range(0, 30, 6) for x in range(0, 38, 6)]
    files = write_findings(
        make_document(series, boxes, [0.5] * len(boxes)), series.files, tmp_path / "out", forms=["sr", "seg"]
    )
    assert len(groups(pydicom.dcmread(files[0]))) == len(boxes) == 70
    assert len(pydicom.dcmread(files[1]).SegmentSequence) == len(boxes)
    for file in files:
        validate(file)
