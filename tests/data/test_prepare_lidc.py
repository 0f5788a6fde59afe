"""``lesion-app prepare lidc``: slices, masks and a datalist, from TCIA's files (see ``lidc_files``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner, Result

from lesion_app.data.datalist import load_records
from lesion_app.data.key_slices import key_slice_items, volume_items
from lesion_app.data.lidc_command import prepare_lidc_command
from lesion_app.data.mask_series import write_mask_series
from lesion_app.errors import InputError
from tests.data.lidc_files import DEPTH, SIDE, write_lidc


@pytest.fixture
def lidc(tmp_path: Path) -> Path:
    return write_lidc(tmp_path / "tcia")


def prepare(source: Path, out: Path, *options: str) -> Result:
    app = Typer()
    app.command()(prepare_lidc_command)
    arguments = [str(source), str(out), "--workers", "1", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def test_verb_writes_slices_masks_and_classes(lidc, tmp_path):
    out = tmp_path / "out"
    done = prepare(lidc, out, "--validation-share", "0", "--test-share", "0")
    assert done.exit_code == 0, done.output
    assert "2 of 3 scans have no nodule" in done.output.replace("\n", " ")
    records = load_records(out / "datalist.json", "training", out)
    assert [record["patient_id"] for record in records] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132", "LIDC-IDRI-0132"]
    first = records[0]
    assert json.loads((out / "datalist.json").read_text())["training"][0]["masks"] == "Masks_png/LIDC-IDRI-0001"
    found = {(a["lesion"], a["kind"], a["label"]) for a in first["annotations"]}
    assert found == {(0, "ignore", 1), (1, "lesion", 2), (2, "lesion", 1)}
    # z = 1, 2, 3 from the feet are file numbers 5, 4, 3 from the head
    assert sorted(a["slice"] for a in first["annotations"] if a["lesion"] == 1) == [3, 4, 5]
    assert len(list((out / "Images_png" / "LIDC-IDRI-0001").iterdir())) == DEPTH
    assert list((out / "Masks_png" / "LIDC-IDRI-0132").iterdir()) == []
    for annotation in first["annotations"]:
        if annotation["kind"] == "lesion":
            mask = np.asarray(Image.open(out / first["masks"] / f"{annotation['slice']:03d}.png"))
            assert mask.shape == (SIDE, SIDE)
            rows, columns = np.nonzero(mask == annotation["lesion"] + 1)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == annotation["box"]


def test_prepared_records_train_and_evaluate(lidc, tmp_path):
    prepare(lidc, tmp_path / "out", "--validation-share", "0", "--test-share", "0")
    records = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
    items = key_slice_items(records)
    assert {label for item in items for label in item["labels"]} == {1, 2}
    (ignored,) = [item for item in key_slice_items(records, join="all") if item["ignore"]]
    assert ignored["ignore"] == [[5, 30, 7, 32]]
    assert sorted(a["label"] for a in volume_items(records)[0]["annotations"]) == [1, 2]


def test_patients_are_split_whole_and_options_reach_the_reader(lidc, tmp_path):
    done = prepare(lidc, tmp_path / "a", "--validation-share", "0", "--test-share", "0.5", "--no-masks")
    assert done.exit_code == 0, done.output
    split = json.loads((tmp_path / "a" / "datalist.json").read_text())
    patients = [{record["patient_id"] for record in split[name]} for name in ("training", "validation", "test")]
    assert [len(of_split) for of_split in patients] == [1, 0, 1]
    assert not patients[0] & patients[2]
    assert not (tmp_path / "a" / "Masks_png").exists()
    assert "masks" not in split["training"][0]
    strict = prepare(lidc, tmp_path / "b", "--test-share", "0", "--validation-share", "0", "--agreement", "0.2")
    assert strict.exit_code == 0, strict.output
    kinds = {
        a["kind"] for a in json.loads((tmp_path / "b" / "datalist.json").read_text())["training"][0]["annotations"]
    }
    assert kinds == {"lesion"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--rating", "mode"), "mean, median, published"),
        (("--agreement", "0"), "a share above 0"),
        (("--validation-share", "0.5", "--test-share", "0.5"), "sum is below 1"),
    ],
)
def test_options_out_of_range_are_told_and_leave_nothing(lidc, tmp_path, options, told):
    failed = prepare(lidc, tmp_path / "out", *options)
    assert isinstance(failed.exception, InputError)
    assert told in str(failed.exception)
    assert not (tmp_path / "out").exists()


def test_scan_that_cannot_be_written_leaves_nothing(lidc, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lesion_app.data.prepare_volumes.write_mask_series", full_disk)
    failed = prepare(lidc, tmp_path / "out")
    assert isinstance(failed.exception, InputError)
    assert not (tmp_path / "out").exists()


def test_masks_are_numbered_from_the_head_and_empty_slices_have_no_file(tmp_path):
    mask = np.zeros((4, 2, 3), dtype=np.uint16)
    mask[0, 1, 2], mask[2, 0, 0] = 300, 1
    write_mask_series(mask, tmp_path / "m" / "a")
    assert sorted(path.name for path in (tmp_path / "m" / "a").iterdir()) == ["002.png", "004.png"]
    assert np.asarray(Image.open(tmp_path / "m" / "a" / "004.png"))[1, 2] == 300
    write_mask_series(np.zeros_like(mask), tmp_path / "m" / "a")
    assert list((tmp_path / "m" / "a").iterdir()) == []
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(ValueError, match="from 0 to 65535"):
        write_mask_series(mask.astype(np.int64) - 1, tmp_path / "m" / "a")
    assert not (tmp_path / "m").exists()
