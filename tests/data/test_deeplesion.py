"""Label table and PNG folders become records, one a sub-volume."""

from __future__ import annotations

import pytest

from lesion_app.data.datalist import split_counts
from lesion_app.data.deeplesion import deeplesion_records, read_deeplesion, sub_volume_geometry
from lesion_app.data.deeplesion_csv import read_deeplesion_csv
from lesion_app.data.record import validate_record
from lesion_app.errors import InputError


@pytest.fixture
def read(deeplesion_layout, tmp_path):
    def reader(*rows, **options):
        return read_deeplesion(deeplesion_layout.write_folder(tmp_path, list(rows)), **options)

    return reader


def test_record_holds_what_the_design_says(read, deeplesion_layout):
    splits = read(deeplesion_layout.row("000001_01_01_005.png", "0, 51, 120, 80", split=3))
    assert splits.test == [
        {
            "id": "000001_01_01_001-012",
            "image": "Images_png/000001_01_01",
            "series_id": "000001_01_01",
            "patient_id": "000001",
            "dataset": "deeplesion",
            "spacing_mm": [0.8, 0.8, 5.0],
            "size": [512, 512],
            "slices": [1, 12],
            "annotations": [
                {
                    "slice": 5,
                    "box": [0.0, 50.0, 120.0, 80.0],
                    "label": 1,
                    "kind": "lesion",
                    "lesion_type": 5,
                    "noisy": False,
                }
            ],
        }
    ]
    validate_record(splits.test[0])
    assert splits.training == splits.validation == []
    assert len(splits.warnings) == 1
    assert "clipped" in splits.warnings[0]


def test_disjoint_runs_of_a_series_are_sub_volumes_of_their_own(read, deeplesion_layout):
    row = deeplesion_layout.row
    splits = read(
        row("000001_01_01_005.png"),
        row("000001_01_01_040.png", slices="34, 46", spacing="0.8, 0.8, 1"),
        row("000001_01_01_005.png", "201, 51, 220, 80"),
    )
    assert [r["id"] for r in splits.training] == ["000001_01_01_001-012", "000001_01_01_034-046"]
    assert [len(r["annotations"]) for r in splits.training] == [2, 1]
    assert [r["spacing_mm"][2] for r in splits.training] == [5.0, 1.0]


@pytest.mark.parametrize(
    ("rule", "kinds"), [("ignore", ["lesion", "ignore"]), ("drop", ["lesion"]), ("keep", ["lesion"] * 2)]
)
def test_noisy_training_row_follows_the_rule(read, deeplesion_layout, rule, kinds):
    row = deeplesion_layout.row
    splits = read(row("000001_01_01_005.png"), row("000001_01_01_006.png", Possibly_noisy=1), noisy=rule)
    assert [a["kind"] for a in splits.training[0]["annotations"]] == kinds
    assert any(w.startswith("1 training lesion") for w in splits.warnings)


@pytest.mark.parametrize("rule", ["ignore", "drop", "keep"])
def test_noisy_evaluation_row_is_always_dropped(read, deeplesion_layout, rule):
    row = deeplesion_layout.row
    splits = read(
        row("000001_01_01_005.png", split=3),
        row("000001_01_01_006.png", split=3, Possibly_noisy=1),
        row("000002_01_01_006.png", split=2, Possibly_noisy=1),
        noisy=rule,
    )
    assert [a["slice"] for a in splits.test[0]["annotations"]] == [5]
    assert splits.validation == []


def test_unknown_rule_is_refused(read, deeplesion_layout):
    with pytest.raises(InputError, match="ignore, drop, keep"):
        read(deeplesion_layout.row("000001_01_01_005.png"), noisy="maybe")


def test_negative_interval_counts_by_its_size_and_no_interval_leaves_the_sub_volume_out(read, deeplesion_layout):
    row = deeplesion_layout.row
    splits = read(
        row("000001_01_01_005.png", spacing="0.8, 0.8, -2.5"),
        row("000002_01_01_005.png", spacing="0.8, 0.8, NaN"),
        row("000003_01_01_005.png", spacing="0.8, 0.8, 0"),
        # one usable row is enough for the sub-volume
        row("000004_01_01_005.png", spacing="0.8, 0.8, NaN"),
        row("000004_01_01_006.png", spacing="0.8, 0.8, 0.25"),
    )
    assert [r["patient_id"] for r in splits.training] == ["000001", "000004"]
    assert [r["spacing_mm"][2] for r in splits.training] == [2.5, 0.25]
    assert len(splits.training[1]["annotations"]) == 2
    assert [w for w in splits.warnings if w.startswith("2 sub-volume(s) were left out")]


def test_patient_in_two_splits_is_refused(read, deeplesion_layout):
    row = deeplesion_layout.row
    with pytest.raises(InputError, match="two splits"):
        read(row("000001_01_01_005.png", split=1), row("000001_02_01_005.png", split=3))


def test_missing_neighbour_is_no_fault(deeplesion_layout, tmp_path):
    root = deeplesion_layout.write_folder(tmp_path, [deeplesion_layout.row("000001_01_01_005.png")])
    (root / "Images_png/000001_01_01/006.png").unlink()
    assert len(read_deeplesion(root).training) == 1


def test_missing_key_slices_are_counted_and_the_first_named(deeplesion_layout, tmp_path):
    row = deeplesion_layout.row
    rows = [row("000001_01_01_005.png"), row("000001_01_01_007.png"), row("000002_01_01_003.png")]
    root = deeplesion_layout.write_folder(tmp_path, rows)
    (root / "Images_png/000001_01_01/005.png").unlink()
    for png in (root / "Images_png/000002_01_01").iterdir():
        png.unlink()
    (root / "Images_png/000002_01_01").rmdir()
    with pytest.raises(InputError, match=r"^2 annotated .*Images_png/000001_01_01/005\.png; .*--allow-missing"):
        read_deeplesion(root)
    splits = read_deeplesion(root, allow_missing=True)
    assert [r["patient_id"] for r in splits.training] == ["000001"]
    assert [a["slice"] for a in splits.training[0]["annotations"]] == [7]
    assert any("2 annotated slice(s)" in w and "1 whole sub-volume" in w for w in splits.warnings)


def test_numbers_beyond_three_digits_are_found(read, deeplesion_layout):
    splits = read(deeplesion_layout.row("000001_01_01_1002.png", slices="999, 1004"))
    assert splits.training[0]["id"] == "000001_01_01_999-1004"


def test_folder_without_images_or_table_is_told(deeplesion_layout, tmp_path):
    with pytest.raises(InputError, match=r"DL_info\.csv does not exist"):
        read_deeplesion(tmp_path)
    deeplesion_layout.write_table(tmp_path / "DL_info.csv", [deeplesion_layout.row("000001_01_01_005.png")])
    with pytest.raises(InputError, match="no folder Images_png"):
        read_deeplesion(tmp_path)


def test_table_alone_is_enough_when_images_are_not_checked(deeplesion_layout, tmp_path):
    table = deeplesion_layout.write_table(tmp_path / "rows.csv", [deeplesion_layout.row("000001_01_01_005.png")])
    assert len(read_deeplesion(table, check_images=False).training) == 1


def test_real_test_split_gives_the_published_sub_volumes(real_data):
    rows = read_deeplesion_csv(real_data / "deeplesion" / "dl_info" / "DL_info_niftiID_test.csv")
    assert len(sub_volume_geometry(rows)) == 3016
    splits = deeplesion_records(rows)
    counts = split_counts(splits.test)
    assert (counts.sub_volumes, counts.key_slices, counts.boxes) == (3005, 4817, 4912)
    for record in splits.test:
        validate_record(record)
    # the one published series whose runs differ in slice interval
    intervals = {r["spacing_mm"][2] for r in splits.test if r["series_id"] == "003247_02_01"}
    assert intervals == {1.0, 5.0}


def test_real_sub_volume_names_agree_with_the_published_ones(real_data):
    import csv

    table = real_data / "deeplesion" / "dl_info" / "DL_info_niftiID_test.csv"
    with table.open(newline="") as file:
        published = {row["Nifti_ct_name"].removesuffix(".nii.gz") for row in csv.DictReader(file)}
    assert {str(name) for name in sub_volume_geometry(read_deeplesion_csv(table))} == published


@pytest.mark.parametrize("name", ["Kaggle_DL_info.csv", "DL_info_patients89-100.csv"])
def test_real_excerpts_with_training_rows_are_read(real_data, name):
    splits = read_deeplesion(real_data / "deeplesion" / "dl_info" / name, check_images=False)
    assert split_counts(splits.training).boxes == {"Kaggle_DL_info.csv": 936, "DL_info_patients89-100.csv": 105}[name]
    for record in splits.training + splits.validation + splits.test:
        validate_record(record)
