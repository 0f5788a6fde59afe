"""Preparing volumes of whatever collection: split, taken up again, told what is wrong, and fit to train on."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.data.datalist import load_records
from lesion_app.data.key_slices import key_slice_items, volume_items
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from tests.data.lits_files import write_lits
from tests.data.marked_volume import SHAPE, marked_volume
from tests.data.prepared_slices import only, read_png
from transforms.load_slab import LoadSlabd


def test_prepared_slices_are_trained_and_evaluated_on_like_deeplesion(tmp_path):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[3:6, 4:6, 2:5] = 2
    mask[4, 3:7, 2:6] = 2
    write_lits(tmp_path / "lits", 0, marked_volume((4, 4, 3, 333)), mask)
    prepare_volumes("lits", tmp_path / "lits", tmp_path / "out", validation_share=0)
    records = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
    items = key_slice_items(records)
    assert [item["slice"] for item in items] == [7, 8, 9]
    slab = LoadSlabd("image", num_slices=3, interval_mm=2.5)(items[1])
    assert slab["image"][1, 4, 3] == 333
    (volume,) = volume_items(records)
    (lesion,) = volume["annotations"]  # one lesion, though it has three boxes
    assert lesion["slice"] == 7
    assert lesion["extent"] == [2.0, 3.0, 6, 6.0, 7.0, 9]


def test_split_is_by_seed_and_repeatable(tmp_path):
    for number in range(10):
        write_lits(tmp_path / "lits", number, marked_volume(), np.zeros(SHAPE, dtype=np.uint8))
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        summary = prepare_volumes("lits", tmp_path / "lits", tmp_path / name, seed=seed)
        assert summary.counts["validation"].patients == 2
        assert summary.counts["training"].patients == 8
        drawn.append((tmp_path / name / "datalist.json").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_interrupted_conversion_goes_on_where_it_stopped(tmp_path):
    for number in range(2):
        write_lits(tmp_path / "lits", number, marked_volume(), np.zeros(SHAPE, dtype=np.uint8))
    prepare_volumes("lits", tmp_path / "lits", tmp_path / "out")
    kept = tmp_path / "out" / "Images_png" / "lits-000" / "001.png"
    (tmp_path / "out" / "Images_png" / "lits-001" / "003.png").unlink()
    (tmp_path / "out" / "datalist.json").unlink()
    before = kept.stat().st_mtime_ns
    prepare_volumes("lits", tmp_path / "lits", tmp_path / "out", workers=2)
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "Images_png" / "lits-001" / "003.png").is_file()


@pytest.mark.parametrize("interrupted", [True, False])
def test_slices_of_an_earlier_scan_of_the_same_name_never_stay(tmp_path, interrupted):
    for hu in (100, 200):
        write_lits(tmp_path / "lits", 0, marked_volume((11, 3, 2, hu)), np.zeros(SHAPE, dtype=np.uint8))
        prepare_volumes("lits", tmp_path / "lits", tmp_path / "out", validation_share=0)
        assert read_png(tmp_path / "out", only(tmp_path / "out"), 1)[3, 2] == hu
        if interrupted:
            (tmp_path / "out" / "datalist.json").unlink()


def test_wrong_folder_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    for kind, told in (("luna16", "no scan"), ("lits", "volume-<n>"), ("nih-ln", "ABD_LYMPH_001")):
        with pytest.raises(InputError, match=told):
            prepare_volumes(kind, tmp_path / "empty", tmp_path / "out")
        with pytest.raises(InputError, match=told):
            prepare_volumes(kind, tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="luna16, lits, nih-ln"):
        prepare_volumes("kits", tmp_path / "empty", tmp_path / "out")  # type: ignore[arg-type]
