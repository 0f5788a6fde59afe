"""Lesion Harvester and LENS files, JSON and pickle, become completely annotated records."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter

import numpy as np
import pytest

from lesion_app.data.complete_annotations import complete_records, read_complete_annotations
from lesion_app.data.datalist import split_counts
from lesion_app.data.deeplesion_csv import read_deeplesion_csv
from lesion_app.data.record import parse_sub_volume, validate_record
from lesion_app.errors import InputError

NAME = "000001_01_01_103-115"
HARVESTER = {NAME: [[6, 226.169, 90.02, 241.252, 111.977], [0, 1, 2, 11, 12]], "000002_01_01_001-009": []}
LENS = {"val": {NAME: [[220, 88, 108, 246, 116, 111]]}, "test": {"000002_01_01_001-009": []}}


def _write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2) if path.suffix == ".pkl" else json.dumps(content).encode())
    return path


def _as_published_harvester(content):
    """The layout of the published pickle: names with .annot, {z: [[x1, y1, x2, y2, z, z]]} of NumPy scalars."""
    published: dict = {}
    for name, boxes in content.items():
        slices = published.setdefault(f"{name}.annot", {})
        for z, *box in boxes:
            slices.setdefault(z, []).append([np.float64(v) for v in (*box, z, z)])
    return published


def _as_published_lens(content):
    return {s: {n: np.array(b, dtype=np.float64).reshape(-1, 6) for n, b in v.items()} for s, v in content.items()}


@pytest.fixture
def rows(deeplesion_layout, tmp_path):
    row = deeplesion_layout.row
    return read_deeplesion_csv(
        deeplesion_layout.write_table(
            tmp_path / "DL_info.csv",
            [
                row("000001_01_01_109.png", "226.169, 90.0204, 241.252, 111.977", "103, 115", 3, "0.5, 0.5, 2"),
                row("000002_01_01_030.png", slices="20, 40", split=3, spacing="0.7, 0.7, -1", size="768, 768"),
            ],
        )
    )


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_harvester_boxes_become_half_open_in_file_numbers(tmp_path, suffix):
    content = HARVESTER if suffix == "json" else _as_published_harvester(HARVESTER)
    read = read_complete_annotations(_write(tmp_path / f"file.{suffix}", content))
    assert read.source == "Lesion Harvester"
    assert [str(name) for name in read.boxes] == list(HARVESTER)
    np.testing.assert_allclose(
        read.boxes[parse_sub_volume(NAME)], [[225.169, 89.02, 109, 241.252, 111.977, 110], [0, 1, 103, 11, 12, 104]]
    )
    assert read.boxes[parse_sub_volume("000002_01_01_001-009")].shape == (0, 6)


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_lens_boxes_become_half_open_and_the_split_chooses_the_set(tmp_path, suffix):
    path = _write(tmp_path / f"file.{suffix}", LENS if suffix == "json" else _as_published_lens(LENS))
    read = read_complete_annotations(path, "validation")
    assert read.source == "LENS"
    np.testing.assert_array_equal(read.boxes[parse_sub_volume(NAME)], [[219, 87, 108, 246, 116, 112]])
    assert [str(n) for n in read_complete_annotations(path, "test").boxes] == ["000002_01_01_001-009"]


def test_records_take_spacing_by_series_and_type_from_the_original_mark(tmp_path, rows):
    complete = read_complete_annotations(_write(tmp_path / "file.json", HARVESTER))
    (first, second), warnings = complete_records(complete, rows)
    assert warnings == []
    assert first["spacing_mm"] == [0.5, 0.5, 2.0]
    # the row with a published mark gives its type, the added lesion has none
    assert [(a["slice"], a["lesion_type"]) for a in first["annotations"]] == [(109, 5), (103, -1)]
    # its slice run is not in the table, its series is
    assert (second["id"], second["spacing_mm"], second["size"]) == (
        "000002_01_01_001-009",
        [0.7, 0.7, 1.0],
        [768, 768],
    )
    assert second["annotations"] == []
    validate_record(first)
    validate_record(second)


def test_lens_record_has_the_middle_slice_and_the_extent(tmp_path, rows):
    complete = read_complete_annotations(_write(tmp_path / "file.json", LENS), "validation")
    ((record,), _) = complete_records(complete, rows)
    (annotation,) = record["annotations"]
    assert annotation["slice"] == 109
    assert annotation["box"] == [219, 87, 246, 116]
    assert annotation["extent"] == [219, 87, 108, 246, 116, 112]
    validate_record(record)


def test_sub_volume_of_an_unknown_series_is_told_or_left_out(tmp_path, rows):
    complete = read_complete_annotations(_write(tmp_path / "f.json", {**HARVESTER, "000009_01_01_001-005": []}))
    with pytest.raises(InputError, match=r"1 of 3 .*000009_01_01_001-005.*--allow-missing"):
        complete_records(complete, rows)
    records, warnings = complete_records(complete, rows, allow_missing=True)
    assert len(records) == 2
    assert len(warnings) == 1


def test_box_wholly_outside_the_image_is_refused(tmp_path, rows):
    complete = read_complete_annotations(_write(tmp_path / "f.json", {NAME: [[6, 600, 90, 640, 111]]}))
    with pytest.raises(InputError, match=f"{NAME} lies wholly outside"):
        complete_records(complete, rows)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"some": 1},
        {"some name": [[1, 2, 3, 4, 5]]},
        {NAME: [[1, 2, 3, 4]]},
        {NAME: [[224.1, 92.5, 241.9, 113.9, 5.0, 6.0]]},  # 3D-Box: another file of Lesion Harvester
        {NAME: [[13, 226, 90, 241, 111]]},
        {NAME: [[-1, 226, 90, 241, 111]]},
        {NAME: [[1.5, 226, 90, 241, 111]]},
        {NAME: [[6, 241, 90, 226, 111]]},
        {NAME: [[6, "a", 90, 226, 111]]},
        {NAME: {"6": [[1, 2, 30, 40, 6, 7]]}},
        {"val": {NAME: []}},
        {"test": {NAME: [[1, 1, 102, 9, 9, 110]]}},
        {"test": {NAME: [[1, 1, 110, 9, 9, 108]]}},
    ],
    ids=str,
)
def test_other_layouts_and_slices_are_refused_in_one_sentence(tmp_path, content):
    with pytest.raises(InputError) as caught:
        read_complete_annotations(_write(tmp_path / "file.json", content))
    assert "\n" not in str(caught.value)


def test_file_without_sub_volumes_is_an_empty_set(tmp_path):
    assert read_complete_annotations(_write(tmp_path / "file.json", {})).boxes == {}


def test_unreadable_files_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_complete_annotations(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"a": [')
    with pytest.raises(InputError, match="not valid JSON"):
        read_complete_annotations(tmp_path / "cut.json")


def test_malicious_pickle_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    (tmp_path / "file.pkl").write_bytes(pickle.dumps({NAME: Harm()}))
    with pytest.raises(InputError, match="was not opened"):
        read_complete_annotations(tmp_path / "file.pkl")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "sub_volumes", "key_slices", "boxes", "patients", "slices"),
    [("1071", 1071, 3184, 3665, 596, 46094), ("val", 200, None, 1292, 99, 9181), ("test", 800, None, 4155, 519, 34114)],
)
def test_real_files_have_the_published_numbers(real_data, name, sub_volumes, key_slices, boxes, patients, slices):
    folder = real_data / "deeplesion"
    rows = read_deeplesion_csv(folder / "dl_info" / "DL_info_niftiID_test.csv")
    if name == "1071":
        complete = read_complete_annotations(folder / "lesion_harvester" / "Revised-Test1071.json")
    else:
        split = "validation" if name == "val" else "test"
        complete = read_complete_annotations(folder / "lens" / "DeepLesion_manual_1K.json", split)
    records, warnings = complete_records(complete, rows)
    counts = split_counts(records)
    assert warnings == []
    assert (counts.sub_volumes, counts.boxes, counts.patients, counts.slices) == (sub_volumes, boxes, patients, slices)
    for record in records:
        validate_record(record)
    if name == "1071":
        assert counts.key_slices == key_slices
        # 1,640 of the 3,665 are original marks, and only those have a type
        types = Counter(a["lesion_type"] != -1 for r in records for a in r["annotations"])
        assert types == {True: 1640, False: 2025}
        assert [r["id"] for r in records if not r["annotations"]] == ["001347_01_01_017-029"]


@pytest.mark.parametrize(
    ("name", "sub_volumes", "boxes", "patients"),
    [("Revised-Train744", 744, 3033, 743), ("Revised-Train100", 100, 420, 100)],
)
def test_real_training_annotations_have_the_published_numbers(real_data, name, sub_volumes, boxes, patients):
    read = read_complete_annotations(real_data / "deeplesion" / "lesion_harvester" / f"{name}.json")
    assert len(read.boxes) == sub_volumes
    assert sum(map(len, read.boxes.values())) == boxes
    assert len({n.patient_id for n in read.boxes}) == patients


def test_real_original_marks_are_the_rows_of_the_table(real_data):
    """Lesion Harvester's copy of the official test set and ours, box by box: same slices, same convention."""
    folder = real_data / "deeplesion"
    rows = read_deeplesion_csv(folder / "dl_info" / "DL_info_niftiID_test.csv")
    copy = read_complete_annotations(folder / "lesion_harvester" / "RECIST-Box-Test.json")
    records, _ = complete_records(copy, rows)
    assert sum(a["lesion_type"] != -1 for r in records for a in r["annotations"]) == 4912
