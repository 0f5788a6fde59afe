"""LUNA16, LiTS and NIH lymph nodes in their published formats become slices and records, quirks and all."""

from __future__ import annotations

import json
from pathlib import Path

import itk
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lesion_app.data.datalist import load_records
from lesion_app.data.key_slices import key_slice_items, volume_items
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from transforms.load_slab import LoadSlabd

SHAPE = (12, 10, 8)  # slices, rows, columns
SPACING = (0.5, 0.8, 2.5)


def marked_volume(*spots: tuple[int, int, int, int]) -> np.ndarray:
    """HU [z, y, x] on the network grid (feet first) with single bright voxels (z, y, x, HU)."""
    volume = np.full(SHAPE, -900, dtype=np.int16)
    volume[:, 2:-2, 1:-1] = 40
    for z, y, x, hu in spots:
        volume[z, y, x] = hu
    return volume


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


def read_png(out: Path, record: dict, number: int) -> np.ndarray:
    return np.asarray(Image.open(out / record["image"] / f"{number:03d}.png")).astype(np.int32) - 32768


def only(out: Path, split: str = "training") -> dict:
    (record,) = json.loads((out / "datalist.json").read_text())[split]
    return record


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


def write_lits(
    folder: Path, number: int, volume: np.ndarray, mask: np.ndarray, suffix: str = ".nii", **affines
) -> Path:
    """Arrays [z, y, x] on the network grid; ``volume_affine`` and ``mask_affine`` pick the header (RAS)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("volume", volume), ("segmentation", mask)):
        affine = affines.get(f"{name}_affine", np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
        stored = data.transpose(2, 1, 0)  # x to the left, y posterior, z superior
        nibabel.save(nibabel.Nifti1Image(stored, affine), folder / f"{name}-{number}{suffix}")
    return folder


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


def write_dicom(folder: Path, volume: np.ndarray) -> None:
    """A CT series of [z, y, x] on the network grid; file names do not follow the order of the slices."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for z, plane in enumerate(volume):
        ds = pydicom.Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [-100.0, -50.0, 30.0 + z * SPACING[2]]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (plane + 1024).astype("<i2").tobytes()
        ds.save_as(folder / f"{len(volume) - z:06d}.dcm", enforce_file_format=True)


class TestNIHLymphNodes:
    def source(self, folder: Path, patient: str = "ABD_LYMPH_003") -> Path:
        study = f"09-14-2014-{patient}-abdominallymphnodes-39052/abdominallymphnodes-65663"
        write_dicom(folder / "CT Lymph Nodes" / patient / study, marked_volume((10, 4, 3, 600)))
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[9:11, 4, 2:5] = 7
        mask[9:11, 5, 2:5] = 2  # touches node 7 and is another node
        masks = folder / "MED_ABD_LYMPH_MASKS" / patient
        masks.mkdir(parents=True)
        # TCIA's masks count along L, P, S; their origin is not the series' one
        image = nibabel.Nifti1Image(mask.transpose(2, 1, 0), np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
        nibabel.save(image, masks / f"{patient}_mask.nii.gz")
        notes = folder / "MED_ABD_LYMPH_ANNOTATIONS" / patient
        notes.mkdir(parents=True)
        (notes / f"{patient}_lymphnodes_indices.txt").write_text("3 4 10\n")
        return folder

    def test_touching_nodes_stay_two_and_the_region_gives_the_type(self, tmp_path):
        source = self.source(self.source(tmp_path / "nih"), "MED_LYMPH_012")
        prepare_volumes("nih-ln", source, tmp_path / "out", validation_share=0)
        abdomen, mediastinum = load_records(tmp_path / "out" / "datalist.json", "training", tmp_path / "out")
        assert (abdomen["id"], mediastinum["id"]) == ("ABD-LYMPH-003_001-012", "MED-LYMPH-012_001-012")
        assert {a["lesion_type"] for a in abdomen["annotations"]} == {2}
        assert {a["lesion_type"] for a in mediastinum["annotations"]} == {3}
        assert [(a["lesion"], a["slice"], a["box"]) for a in abdomen["annotations"]] == [
            (0, 2, [2.0, 5.0, 5.0, 6.0]),
            (0, 3, [2.0, 5.0, 5.0, 6.0]),
            (1, 2, [2.0, 4.0, 5.0, 5.0]),
            (1, 3, [2.0, 4.0, 5.0, 5.0]),
        ]
        plane = np.asarray(Image.open(Path(abdomen["image"]) / "002.png")).astype(int) - 32768
        assert plane[4, 3] == 600

    def test_patient_without_mask_is_told_or_left_out(self, tmp_path):
        source = self.source(self.source(tmp_path / "nih"), "MED_LYMPH_012")
        (source / "MED_ABD_LYMPH_MASKS" / "MED_LYMPH_012" / "MED_LYMPH_012_mask.nii.gz").unlink()
        with pytest.raises(InputError, match="MED_LYMPH_012"):
            prepare_volumes("nih-ln", source, tmp_path / "out")
        prepare_volumes("nih-ln", source, tmp_path / "out", allow_missing=True, validation_share=0)
        assert only(tmp_path / "out")["patient_id"] == "ABD-LYMPH-003"


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
