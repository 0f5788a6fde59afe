"""Data sets: every mistake of the user is one line on stderr, code 2, and nothing left behind."""

from __future__ import annotations

import csv
import re
import shutil

import pytest


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
