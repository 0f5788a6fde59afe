"""``lesion-app prepare typed``: DeepLesion's typed rows become a datalist of their own."""

from __future__ import annotations

from pathlib import Path

from lesion_app.data.datalist import load_records
from lesion_app.data.typed_key_slices import typed_key_slice_items


def test_phantom_becomes_typed_slices_split_by_patient(run, phantom_data: Path, tmp_path: Path) -> None:
    code, printed, err = run("prepare", "typed", phantom_data, tmp_path / "typed", "--shares", "0.5,0.25,0.25")
    assert code == 0, err
    path = tmp_path / "typed" / "datalist.json"
    assert f"next: lesion-app train --config typed_detection --set dataset_dir={phantom_data}" in printed
    assert f"--set datalist={path}" in printed
    records = {split: load_records(path, split, phantom_data) for split in ("training", "validation", "test")}
    patients = [{r["patient_id"] for r in part} for part in records.values()]
    assert sum(len(part) for part in patients) == len(set.union(*patients))
    items = [item for part in records.values() if part for item in typed_key_slice_items(part)]
    assert items
    assert all(1 <= label <= 8 for item in items for label in item["labels"])


def test_shares_that_do_not_add_up_are_refused(refused, phantom_data: Path, tmp_path: Path) -> None:
    assert "add up to 1" in refused("prepare", "typed", phantom_data, tmp_path / "typed", "--shares", "0.5,0.5,0.5")
    assert "--shares" in refused("prepare", "typed", phantom_data, tmp_path / "typed", "--shares", "most,some")
