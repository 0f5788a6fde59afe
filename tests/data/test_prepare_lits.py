"""LiTS in its published format becomes slices and records, quirks and all (see ``lits_files``)."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from tests.data.lits_files import write_lits
from tests.data.marked_volume import SHAPE, marked_volume
from tests.data.prepared_slices import only


class TestLiTS:
    def mask(self) -> np.ndarray:
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[2:9, 3:8, 1:7] = 1
        mask[3:6, 4, 2:4] = 2
        mask[6, 5, 4] = 2  # touches the first tumour over a corner only: 26-connected
        mask[8, 7, 6] = 2
        return mask

    def test_tumours_are_26_connected_parts_with_their_boxes_on_every_slice(self, tmp_path):
        write_lits(tmp_path / "lits", 5, marked_volume(), self.mask(), ".nii.gz")
        prepare_volumes("lits", tmp_path / "lits", tmp_path / "out", validation_share=0)
        record = only(tmp_path / "out")
        assert record["id"] == "lits-005_001-012"
        first = [a for a in record["annotations"] if a["lesion"] == 0]
        assert [a["slice"] for a in first] == [12 - 6, 12 - 5, 12 - 4, 12 - 3]
        assert [a["box"] for a in first] == [[4.0, 5.0, 5.0, 6.0]] + [[2.0, 4.0, 4.0, 5.0]] * 3
        assert first[0]["extent"] == [2.0, 4.0, 6, 5.0, 6.0, 10]
        (second,) = [a for a in record["annotations"] if a["lesion"] == 1]
        assert (second["slice"], second["box"]) == (4, [6.0, 7.0, 7.0, 8.0])
        assert {a["lesion_type"] for a in record["annotations"]} == {4}

    def expected(self, tmp_path) -> list:
        write_lits(tmp_path / "plain", 0, marked_volume(), self.mask())
        prepare_volumes("lits", tmp_path / "plain", tmp_path / "plain_out", validation_share=0)
        return only(tmp_path / "plain_out")["annotations"]

    def test_mask_stored_along_other_axes_than_its_volume(self, tmp_path):
        folder = write_lits(tmp_path / "lits", 0, marked_volume(), self.mask())
        path = folder / "segmentation-0.nii"
        turned = nibabel.load(path).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        # a copy: the array is a map of the file that is about to be replaced
        nibabel.save(nibabel.Nifti1Image(np.array(turned.dataobj), turned.affine), path)
        summary = prepare_volumes("lits", folder, tmp_path / "out", validation_share=0)
        assert only(tmp_path / "out")["annotations"] == self.expected(tmp_path)
        assert not any("index by index" in text for text in summary.warnings)

    @pytest.mark.parametrize("stand_in", ["segmentation", "volume"])
    def test_identity_header_of_mask_or_volume_is_a_stand_in(self, tmp_path, stand_in):
        folder = write_lits(tmp_path / "lits", 0, marked_volume(), self.mask(), **{f"{stand_in}_affine": np.eye(4)})
        summary = prepare_volumes("lits", folder, tmp_path / "out", validation_share=0)
        assert any("index by index" in text for text in summary.warnings)
        record = only(tmp_path / "out")
        marked = {(a["slice"], *a["box"]) for a in record["annotations"]}
        if stand_in == "segmentation":
            assert record["annotations"] == self.expected(tmp_path)
        else:
            # identity means RAS: x and y of the slices turn round, and the boxes with them
            assert record["spacing_mm"] == [1.0, 1.0, 1.0]
            assert marked == {
                (a["slice"], 8 - a["box"][2], 10 - a["box"][3], 8 - a["box"][0], 10 - a["box"][1])
                for a in self.expected(tmp_path)
            }

    def test_volume_without_tumour_is_kept_and_test_volumes_are_passed_over(self, tmp_path):
        folder = write_lits(tmp_path / "lits", 0, marked_volume(), np.ones(SHAPE, dtype=np.uint8))
        (folder / "test-volume-3.nii").write_bytes(b"")
        prepare_volumes("lits", folder, tmp_path / "out", validation_share=0)
        assert only(tmp_path / "out")["annotations"] == []

    def test_mask_of_another_scan_is_told(self, tmp_path):
        write_lits(tmp_path / "lits", 0, marked_volume(), self.mask()[:-1])
        with pytest.raises(InputError, match="8 x 10 x 11 voxels where its CT has 8 x 10 x 12"):
            prepare_volumes("lits", tmp_path / "lits", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_missing_segmentation_is_told(self, tmp_path):
        folder = write_lits(tmp_path / "lits", 0, marked_volume(), self.mask())
        (folder / "segmentation-0.nii").unlink()
        with pytest.raises(InputError, match=r"volume-0\.nii"):
            prepare_volumes("lits", folder, tmp_path / "out")

    def test_probability_map_instead_of_a_mask_is_told(self, tmp_path):
        write_lits(tmp_path / "lits", 0, marked_volume(), self.mask().astype(np.float32) + 0.25)
        with pytest.raises(InputError, match="no whole numbers"):
            prepare_volumes("lits", tmp_path / "lits", tmp_path / "out")

    def test_padding_widens_boxes_and_clips_them(self, tmp_path):
        write_lits(tmp_path / "lits", 0, marked_volume(), self.mask())
        prepare_volumes("lits", tmp_path / "lits", tmp_path / "out", validation_share=0, padding_px=2)
        first = only(tmp_path / "out")["annotations"][1]
        assert first["box"] == [0.0, 2.0, 6.0, 7.0]
