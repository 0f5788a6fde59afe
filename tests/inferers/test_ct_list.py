from __future__ import annotations

from pathlib import Path

import pytest

from lesion_app.errors import InputError
from lesion_app.inferers.ct_list import ct_item, list_cts


def names(items) -> list[str]:
    return [Path(item["image"]).name for item in items]


def test_item_holds_what_was_given_only():
    assert ct_item("a.nii") == {"image": "a.nii"}
    wanted = {"image": "s", "spacing_mm": [0.5, 0.5, 5.0], "slices": [3, 15]}
    assert ct_item(Path("s"), (0.5, 0.5, 5), (3, 15)) == wanted


def test_files_of_every_format_and_folders_are_listed_in_order(tmp_path):
    for name in ("b.nii.gz", "a.NII", "c.nrrd", "d.mha", "e.mhd", "notes.txt", ".hidden.nii", "e.raw"):
        (tmp_path / name).touch()
    for name in ("series", ".cache"):
        (tmp_path / name).mkdir()
    assert names(list_cts(tmp_path)) == ["a.NII", "b.nii.gz", "c.nrrd", "d.mha", "e.mhd", "series"]


def test_dicom_files_of_a_folder_are_one_ct(tmp_path):
    for name in ("1.dcm", "2.dcm", "3.DCM"):
        (tmp_path / name).touch()
    assert list_cts(tmp_path) == [{"image": str(tmp_path)}]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.touch()])
def test_place_without_a_ct_is_refused(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(InputError, match="expected"):
        list_cts(tmp_path / "x")
