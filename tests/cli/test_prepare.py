"""Data sets: every mistake of the user is one line on stderr, code 2, and nothing left behind."""

from __future__ import annotations

import csv
import re
import shutil

import pytest

from lesion_app.data.datalist import load_records


def test_missing_label_table_is_told(refused, tmp_path):
    assert "DL_info.csv" in refused("prepare", "deeplesion", tmp_path, tmp_path / "out")


def test_label_table_with_wrong_columns_is_told(refused, damaged, tmp_path):
    table = damaged / "DL_info.csv"
    table.write_text(table.read_text().replace("Bounding_boxes", "Boxes", 1))
    told = refused("prepare", "deeplesion", damaged, tmp_path / "out")
    assert "lacks the column(s) Bounding_boxes" in told


def test_box_outside_its_image_is_told_with_its_line(refused, damaged, tmp_path):
    header, row, rest = (damaged / "DL_info.csv").read_text().split("\n", 2)
    cells = next(csv.reader([row]))
    cells[header.split(",").index("Bounding_boxes")] = "900, 900, 950, 950"
    row = ",".join(f'"{cell}"' for cell in cells)
    (damaged / "DL_info.csv").write_text("\n".join([header, row, rest]))
    assert re.search(
        r"DL_info\.csv.* line 2 .*inside the image", refused("prepare", "deeplesion", damaged, tmp_path / "out")
    )


def test_missing_images_are_told(refused, damaged, tmp_path):
    shutil.rmtree(next((damaged / "Images_png").iterdir()))
    assert "Images_png" in refused("prepare", "deeplesion", damaged, tmp_path / "out")


def test_folder_in_use_is_not_overwritten_by_a_phantom(refused, tmp_path):
    (tmp_path / "mine.txt").touch()
    assert "not an empty folder" in refused("phantom", tmp_path, "--patients", 1)


@pytest.mark.parametrize("option", [("--missing-law", "cointoss"), ("--missing-rate", "2"), ("--thickness", "thick")])
def test_options_of_the_phantom_out_of_range_are_told(refused, tmp_path, option):
    refused("phantom", tmp_path / "new", "--patients", 1, *option)


@pytest.mark.parametrize("kind", ["luna16", "lits", "nih-ln"])
def test_made_up_collection_is_prepared_from_its_published_layout(run, tmp_path, kind):
    settings = ("--patients", 3, "--size", 96, "--thickness", "30-30", "--z-spacings", 5, "--workers", 1)
    code, told, err = run("phantom", tmp_path / "raw", "--collection", kind, *settings)
    assert (code, err) == (0, "")
    assert f"next: lesion-app prepare {kind}" in told
    code, told, err = run("prepare", kind, tmp_path / "raw", tmp_path / "out", "--workers", 1, "--padding", 5)
    assert (code, err) == (0, "")
    assert "truth.json was found" in told
    records = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
    assert all(record["dataset"] == kind for record in records)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 18


@pytest.mark.parametrize("kind", ["luna16", "lits", "nih-ln"])
def test_folder_without_the_data_set_is_told(refused, tmp_path, kind):
    assert "expected" in refused("prepare", kind, tmp_path, tmp_path / "out")
    assert "expected" in refused("prepare", kind, tmp_path, tmp_path / "out", "--validation-share", 2)


def test_missing_labels_of_a_collection_are_its_own(refused, tmp_path):
    refused("phantom", tmp_path / "new", "--collection", "lits", "--missing-rate", "0.3")
    assert "nih-ln" in refused("phantom", tmp_path / "new", "--collection", "kits")
