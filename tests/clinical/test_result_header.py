"""What every file written about a CT takes from it: names byte for byte, and its gaps and faults as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings
from tests.clinical.finding_cases import ALL_FORMS, PLANTED


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1")),
        ("ISO_IR 192", "Παπαδοπούλου^Μαρία=山田^太郎".encode()),
        (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
        ("GB18030", "王^小东".encode("gb18030")),
        ("ISO_IR 192", "Müller^Jörg".encode("latin-1")),  # wrongly declared: must not get worse
        (None, "Müller^Jörg".encode("cp1252")),  # not declared at all
    ],
)
def test_names_are_copied_byte_for_byte(
    charset: Any, name: bytes, make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(PatientName="@" * len(name), SpecificCharacterSet=charset)
    for file in series.files:
        file.write_bytes(file.read_bytes().replace(b"@" * len(name), name))
    for file in write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS):
        written = pydicom.dcmread(file)
        assert written.get_item("PatientName").value.rstrip(b" ") == name
        assert written.get("SpecificCharacterSet") == charset


def test_what_the_scanner_left_out_or_wrote_amiss_stops_nothing(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    gone = ("PatientName", "PatientBirthDate", "StudyDate", "StudyID", "ReferringPhysicianName", "SeriesNumber")
    series = make_ct_series(**dict.fromkeys(gone), PatientSex="UNKNOWN", StudyTime="10:11:12", AccessionNumber=None)
    for file in write_findings(make_document(series, PLANTED), series.files, tmp_path / "out", forms=ALL_FORMS):
        written = pydicom.dcmread(file)
        assert all(not written[keyword].value for keyword in gone[:-1])
        assert written.PatientSex == "UNKNOWN"
        assert written.SeriesNumber


def test_implicit_vr_sources_are_read_alike(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series(PatientName="M\u00fcller^J\u00f6rg", SpecificCharacterSet="ISO_IR 100")
    document = make_document(series, PLANTED)
    explicit = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    for file in series.files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(file, implicit_vr=True)
    implicit = write_findings(document, series.files, tmp_path / "b", forms=ALL_FORMS)
    for one, other in zip(explicit, implicit):
        assert one.read_bytes() == other.read_bytes()
