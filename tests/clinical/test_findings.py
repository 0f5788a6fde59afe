"""Writing the findings: the same files for the same document, all of them or none, and none that refer to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

pytest.importorskip("highdicom", reason="highdicom is not installed (lesion-app[deploy])")

from lesion_app.clinical.findings import write_findings
from lesion_app.errors import InputError
from tests.clinical.finding_cases import ALL_FORMS, PLANTED


def test_the_same_document_makes_the_same_bytes(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    first = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    second = write_findings(document, series.files[::-1], tmp_path / "b", forms=ALL_FORMS)
    assert [file.name for file in first] == [file.name for file in second]
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()


def test_a_second_detection_changes_nothing_but_dates(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    later = {**document, "created": "2031-05-06T07:08:09Z"}
    first = write_findings(document, series.files, tmp_path / "a", forms=ALL_FORMS)
    second = write_findings(later, series.files, tmp_path / "b", forms=ALL_FORMS)
    for one, other in zip(map(pydicom.dcmread, first), map(pydicom.dcmread, second)):
        assert one.SOPInstanceUID == other.SOPInstanceUID
        changed = [line for line, new in zip(str(one).splitlines(), str(other).splitlines()) if line != new]
        assert len(str(one).splitlines()) == len(str(other).splitlines())
        assert changed
        assert all(re.search(r"\b(DA|TM|DT): ", line) for line in changed)
        assert one.SeriesDate != other.SeriesDate


def test_another_model_makes_other_files_beside_the_first(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    newer = {**document, "model": {**document["model"], "sha256": "ef" * 32}}
    uids = [
        {pydicom.dcmread(file).SOPInstanceUID for file in write_findings(one, series.files, tmp_path / name)}
        for name, one in (("a", document), ("b", newer))
    ]
    assert not uids[0] & uids[1]


def test_all_files_or_none(
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    series = make_ct_series()
    saved = Dataset.save_as

    def fail_on_third(self: Dataset, name: Any, *more: Any, **settings: Any) -> None:
        if Path(name).name.startswith("key_image"):
            raise OSError(28, "No space left on device")
        saved(self, name, *more, **settings)

    monkeypatch.setattr(Dataset, "save_as", fail_on_third)
    with pytest.raises(InputError, match="No space left"):
        write_findings(make_document(series, PLANTED), series.files, tmp_path / "results" / "out")
    assert os.listdir(tmp_path / "results") == []


def test_an_empty_folder_is_filled_and_a_full_one_refused(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    (tmp_path / "out").mkdir()
    assert all(file.is_file() for file in write_findings(document, series.files, tmp_path / "out"))
    before = sorted(os.listdir(tmp_path / "out"))
    with pytest.raises(InputError, match="not empty"):
        write_findings(document, series.files, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == before


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "another series"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "no CT image"),
        ({"FrameOfReferenceUID": None}, "no FrameOfReferenceUID"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
    ],
)
def test_files_the_findings_cannot_refer_to_are_refused(
    head: dict[str, Any],
    sentence: str,
    make_ct_series: Callable[..., Any],
    make_document: Callable[..., Any],
    tmp_path: Path,
) -> None:
    series = make_ct_series(**head)
    with pytest.raises(InputError, match=sentence) as told:
        write_findings(make_document(series, PLANTED), series.files, tmp_path / "out")
    assert "Doe" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_missing_slices_and_unknown_forms_are_refused(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any], tmp_path: Path
) -> None:
    series = make_ct_series()
    document = make_document(series, PLANTED)
    with pytest.raises(InputError, match="slices with lesions"):
        write_findings(document, series.files[:3], tmp_path / "out")
    with pytest.raises(InputError, match="no form 'pdf'"):
        write_findings(document, series.files, tmp_path / "out", forms=["pdf"])
    with pytest.raises(InputError, match="need a DICOM series"):
        write_findings({**document, "source": {"kind": "nifti", "name": "a"}}, series.files, tmp_path / "out")
