"""LUNA16 in its published format becomes slices and records, quirks and all."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest

from lesion_app.data.datalist import load_records
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from tests.data.marked_volume import SHAPE, SPACING, marked_volume
from tests.data.prepared_slices import only, read_png


def write_mhd(path: Path, volume: np.ndarray, origin=(-100.0, -50.0, 30.0), flip=(False, False)) -> None:
    """[z, y, x] on the network grid -> mhd + raw, with flipped x and y axes as some scans of LUNA16 have."""
    stored, direction, start = volume, np.eye(3), np.array(origin)
    for axis, flipped in enumerate(flip):
        if flipped:
            stored = np.flip(stored, 2 - axis)
            direction[axis, axis] = -1
            start[axis] += (SHAPE[2 - axis] - 1) * SPACING[axis]
    image = itk.image_from_array(np.ascontiguousarray(stored))
    image.SetSpacing(SPACING)
    image.SetOrigin(start.tolist())
    image.SetDirection(itk.matrix_from_array(direction))
    path.parent.mkdir(parents=True, exist_ok=True)
    itk.imwrite(image, str(path))


def write_luna(folder: Path, rows: list[str], scans: dict[str, dict]) -> Path:
    for place, settings in scans.items():
        write_mhd(folder / f"{place}.mhd", **settings)
    (folder / "annotations.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *rows]) + "\n")
    return folder


def world(x: float, y: float, z: float, origin=(-100.0, -50.0, 30.0)) -> str:
    return ",".join(str(o + v * s) for o, v, s in zip(origin, (x, y, z), SPACING))


class TestLUNA16:
    UID = "1.3.6.1.4.1.14519.5.2.1"

    def test_scan_becomes_slices_from_head_to_feet_in_hu(self, tmp_path):
        volume = marked_volume((11, 3, 2, 500))
        write_luna(tmp_path / "luna", [], {f"subset0/{self.UID}": {"volume": volume}})
        prepare_volumes("luna16", tmp_path / "luna", tmp_path / "out", validation_share=0)
        record = only(tmp_path / "out")
        assert record["id"] == "1-3-6-1-4-1-14519-5-2-1_001-012"
        assert record["spacing_mm"] == [0.5, 0.8, 2.5]
        assert record["size"] == [8, 10]
        np.testing.assert_array_equal(read_png(tmp_path / "out", record, 1), volume[11])
        np.testing.assert_array_equal(read_png(tmp_path / "out", record, 12), volume[0])

    @pytest.mark.parametrize("flip", [(False, False), (True, True), (True, False)])
    def test_nodule_lies_where_the_world_says_whatever_the_direction_cosines(self, tmp_path, flip):
        volume = marked_volume((7, 4, 3, 700))
        write_luna(
            tmp_path / "luna",
            [f"{self.UID},{world(3, 4, 7)},4.0"],
            {f"subset0/{self.UID}": {"volume": volume, "flip": flip}},
        )
        prepare_volumes("luna16", tmp_path / "luna", tmp_path / "out", validation_share=0)
        record = only(tmp_path / "out")
        (here,) = record["annotations"]  # planes are 2.5 mm apart: a radius of 2 mm reaches one
        assert here["slice"] == 12 - 7
        assert here["lesion_type"] == 5
        # centre voxel (3, 4), so edges 3.5 - 4 and 3.5 + 4 (2 mm = 4 px along x), 4.5 -/+ 2.5 along y; x is clipped
        assert here["box"] == [0.0, 2.0, 7.5, 7.0]
        assert here["extent"] == [0.0, 2.0, 5, 7.5, 7.0, 6]
        plane = read_png(tmp_path / "out", record, here["slice"])
        assert plane[4, 3] == 700

    def test_sphere_shrinks_away_from_its_middle(self, tmp_path):
        write_luna(
            tmp_path / "luna",
            [f"{self.UID},{world(3, 4, 6)},6.0"],
            {f"subset0/{self.UID}": {"volume": marked_volume()}},
        )
        prepare_volumes("luna16", tmp_path / "luna", tmp_path / "out", validation_share=0)
        boxes = {a["slice"]: a["box"] for a in only(tmp_path / "out")["annotations"]}
        assert sorted(boxes) == [5, 6, 7]
        assert boxes[5] == boxes[7]
        half = (3.0**2 - 1.25**2) ** 0.5 / 0.8  # that slice begins 1.25 mm from the middle
        np.testing.assert_allclose([boxes[5][1], boxes[5][3]], [4.5 - half, 4.5 + half], atol=1e-3)
        np.testing.assert_allclose([boxes[6][1], boxes[6][3]], [4.5 - 3.75, 4.5 + 3.75])

    def test_small_nodule_between_two_slices_is_not_lost(self, tmp_path):
        write_luna(
            tmp_path / "luna",
            [f"{self.UID},{world(3, 4, 6.4)},1.5"],
            {f"subset0/{self.UID}": {"volume": marked_volume()}},
        )
        prepare_volumes("luna16", tmp_path / "luna", tmp_path / "out", validation_share=0)
        (here,) = only(tmp_path / "out")["annotations"]
        assert here["slice"] == 6
        np.testing.assert_allclose(here["box"], [3.5 - 1.5, 4.5 - 0.9375, 3.5 + 1.5, 4.5 + 0.9375], atol=1e-3)

    def test_several_nodules_and_scans_without_any(self, tmp_path):
        rows = [f"{self.UID},{world(3, 4, 2)},3.0", f"{self.UID},{world(5, 6, 9)},3.0"]
        scans = {f"subset{i}/{self.UID}{suffix}": {"volume": marked_volume()} for i, suffix in enumerate(("", ".7"))}
        summary = prepare_volumes(
            "luna16", write_luna(tmp_path / "luna", rows, scans), tmp_path / "out", validation_share=0
        )
        first, second = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
        assert {a["lesion"] for a in first["annotations"]} == {0, 1}
        assert second["annotations"] == []
        assert any("1 of 2 scans have no nodule" in text for text in summary.warnings)

    def test_lung_masks_of_the_same_name_are_passed_over_and_subsets_are_folds(self, tmp_path):
        scans = {f"subset{i}/{self.UID}.{i}": {"volume": marked_volume()} for i in range(3)}
        source = write_luna(tmp_path / "luna", [], scans)
        write_mhd(source / "seg-lungs-LUNA16" / f"{self.UID}.0.mhd", np.zeros(SHAPE, dtype=np.int16))
        prepare_volumes("luna16", source, tmp_path / "out", validation_fold=1)
        assert only(tmp_path / "out", "validation")["series_id"].endswith("-1")
        with pytest.raises(InputError, match="fold 7"):
            prepare_volumes("luna16", source, tmp_path / "other", validation_fold=7)
        assert not (tmp_path / "other").exists()

    def test_annotation_without_its_scan_is_told_or_left_out(self, tmp_path):
        source = write_luna(
            tmp_path / "luna", [f"{self.UID}.9,0,0,0,5"], {f"subset0/{self.UID}": {"volume": marked_volume()}}
        )
        with pytest.raises(InputError, match=r"1 of 1 scans named in annotations\.csv are not there"):
            prepare_volumes("luna16", source, tmp_path / "out")
        summary = prepare_volumes("luna16", source, tmp_path / "out", allow_missing=True)
        assert summary.counts["training"].boxes == 0

    @pytest.mark.parametrize(
        ("row", "told"),
        [("{uid},0,0,0,-3", "line 2"), ("{uid},0,zero,0,3", "line 2"), ("{uid},9999,0,0,3", "outside scan")],
    )
    def test_faulty_annotation_is_told_and_nothing_written(self, tmp_path, row, told):
        source = write_luna(
            tmp_path / "luna", [row.format(uid=self.UID)], {f"subset0/{self.UID}": {"volume": marked_volume()}}
        )
        with pytest.raises(InputError, match=told):
            prepare_volumes("luna16", source, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_truncated_raw_file_is_told_and_nothing_stays(self, tmp_path):
        scans = {f"subset0/{self.UID}.{i}": {"volume": marked_volume()} for i in range(2)}
        source = write_luna(tmp_path / "luna", [], scans)
        raw = source / "subset0" / f"{self.UID}.1.raw"
        raw.write_bytes(raw.read_bytes()[:100])
        with pytest.raises(InputError, match="could not be read"):
            prepare_volumes("luna16", source, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        summary = prepare_volumes("luna16", source, tmp_path / "out", allow_missing=True, validation_share=0)
        assert summary.counts["training"].sub_volumes == 1
