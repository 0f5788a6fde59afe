"""One call writes the datalist that MONAI reads, splits by patient."""

from __future__ import annotations

import json
import os

import pytest
from monai.data import load_decathlon_datalist

from lesion_app.data.datalist import load_records, prepare_deeplesion
from lesion_app.data.record import validate_record
from lesion_app.errors import InputError


@pytest.fixture
def root(deeplesion_layout, tmp_path):
    """Training patients 1 and 2, validation 3, test 4."""
    row = deeplesion_layout.row
    return deeplesion_layout.write_folder(
        tmp_path / "data",
        [
            row("000001_01_01_005.png"),
            row("000001_01_01_005.png", "201, 51, 220, 80"),
            row("000001_02_01_005.png"),
            row("000002_01_01_006.png", Possibly_noisy=1),
            row("000003_01_01_007.png", split=2),
            row("000004_01_01_008.png", split=3),
        ],
    )


def _write(path, content):
    path.write_text(json.dumps(content))
    return path


def _ids(path, split):
    return [record["id"] for record in json.loads(path.read_text())[split]]


def test_official_splits_are_written_and_counted(root, tmp_path):
    summary = prepare_deeplesion(root, tmp_path / "new" / "out")
    assert summary.datalist == tmp_path / "new" / "out" / "datalist.json"
    training = summary.counts["training"]
    assert (training.sub_volumes, training.key_slices, training.boxes, training.ignored) == (3, 2, 3, 1)
    assert (training.patients, training.slices) == (2, 36)
    assert [summary.counts[s].boxes for s in ("validation", "test")] == [1, 1]
    content = json.loads(summary.datalist.read_text())
    assert set(content) == {"training", "validation", "test", "dataset", "source", "convention"}
    assert content["dataset"] == "deeplesion"
    for split in ("training", "validation", "test"):
        for record in content[split]:
            validate_record(record)


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_monai_reads_it_and_only_puts_the_root_before_the_image(root, tmp_path, split):
    path = prepare_deeplesion(root, tmp_path / "out").datalist
    read = load_decathlon_datalist(path, True, split, base_dir=root)
    for record, plain in zip(read, json.loads(path.read_text())[split], strict=True):
        assert record["image"] == str(root / plain["image"])
        assert os.path.isdir(record["image"])
        assert {k: v for k, v in record.items() if k != "image"} == {k: v for k, v in plain.items() if k != "image"}


def test_records_come_back_checked(root, tmp_path):
    path = prepare_deeplesion(root, tmp_path / "out").datalist
    assert [r["image"] for r in load_records(path, "test", root)] == [str(root / "Images_png/000004_01_01")]
    content = json.loads(path.read_text())
    content["test"] = []
    content["training"][0]["spacing_mm"] = [1, 1, 0]
    _write(path, content)
    assert load_records(path, "test", root) == []
    with pytest.raises(InputError, match="spacing_mm"):
        load_records(path, "training", root)
    with pytest.raises(InputError, match="no list 'tset'"):
        load_records(path, "tset", root)
    with pytest.raises(InputError, match="cannot be read"):
        load_records(tmp_path / "none.json", "test", root)
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_records(path, "test", root)


def test_patients_held_out_for_validation_leave_training_with_all_their_sub_volumes(root, tmp_path):
    val = _write(tmp_path / "val.json", {"000001_02_01_001-012": [[4, 101, 51, 120, 80]]})
    summary = prepare_deeplesion(root, tmp_path / "out", complete_val=val)
    assert _ids(summary.datalist, "validation") == ["000001_02_01_001-012"]
    assert _ids(summary.datalist, "training") == ["000002_01_01_001-012"]
    assert any(w.startswith("2 training sub-volume(s)") and "1 patient" in w for w in summary.warnings)


def test_complete_test_replaces_the_official_one(root, tmp_path):
    test = _write(tmp_path / "test.json", {"000004_01_01_001-012": [[0, 101, 51, 120, 80], [7, 1, 1, 9, 9]]})
    summary = prepare_deeplesion(root, tmp_path / "out", complete_test=test)
    (record,) = json.loads(summary.datalist.read_text())["test"]
    assert [a["slice"] for a in record["annotations"]] == [1, 8]
    assert summary.sources["complete_test"] == "test.json"


def test_validation_inside_the_test_set_is_told_and_left_out_on_request(root, tmp_path):
    lens = {
        "val": {"000003_01_01_001-012": [], "000004_01_01_001-012": []},
        "test": {"000004_01_01_001-012": [[1, 1, 1, 9, 9, 3]]},
    }
    file = _write(tmp_path / "lens.json", lens)
    summary = prepare_deeplesion(root, tmp_path / "out", complete_val=file, complete_test=file)
    (told,) = [w for w in summary.warnings if "--exclude-overlap" in w]
    assert told.startswith("1 of 2 validation sub-volumes belong to 1 patient(s)")
    assert "1 of them are test sub-volumes" in told
    assert len(_ids(summary.datalist, "validation")) == 2
    summary = prepare_deeplesion(root, tmp_path / "out", complete_val=file, complete_test=file, exclude_overlap=True)
    assert _ids(summary.datalist, "validation") == ["000003_01_01_001-012"]
    assert _ids(summary.datalist, "test") == ["000004_01_01_001-012"]


def test_extra_training_labels_replace_or_join_but_never_a_held_out_patient(root, deeplesion_layout, tmp_path):
    extra = {
        "000001_01_01_001-012": [[4, 101, 51, 120, 80], [4, 201, 51, 220, 80], [9, 5, 5, 30, 30]],
        "000002_01_01_001-004": [[0, 5, 5, 30, 30]],
        "000003_01_01_001-012": [[0, 5, 5, 30, 30]],
    }
    summary = prepare_deeplesion(root, tmp_path / "out", extra_train=_write(tmp_path / "extra.json", extra))
    training = {r["id"]: r for r in json.loads(summary.datalist.read_text())["training"]}
    assert list(training) == [
        "000001_01_01_001-012",
        "000001_02_01_001-012",
        "000002_01_01_001-012",
        "000002_01_01_001-004",
    ]
    assert len(training["000001_01_01_001-012"]["annotations"]) == 3
    assert any(w.startswith("1 training sub-volume(s)") for w in summary.warnings)


@pytest.fixture
def phantom(root):
    lesion = {"type": 4, "key_slice": 9, "key_box": [1, 2, 9, 9], "slice_boxes": {"9": [2, 3, 8, 8]}}
    names = [f"{s}_001-012" for s in ("000001_01_01", "000001_02_01", "000002_01_01", "000003_01_01", "000004_01_01")]
    _write(root / "truth.json", {"sub_volumes": {name: {"lesions": [lesion]} for name in names}})
    _write(root / "complete_val.json", {"000003_01_01_001-012": [[8, 2, 3, 9, 9]]})
    _write(root / "complete_test.json", {"000004_01_01_001-012": [[8, 2, 3, 9, 9]]})
    return root


def test_files_of_a_phantom_are_found_and_told(phantom, tmp_path):
    summary = prepare_deeplesion(phantom, tmp_path / "out")
    content = json.loads(summary.datalist.read_text())
    assert content["dataset"] == "phantom"
    assert set(summary.sources) == {"labels", "truth", "complete_val", "complete_test"}
    assert sum("was found beside" in w for w in summary.warnings) == 3
    assert [r["annotations"][0]["slice"] for r in content["validation"] + content["test"]] == [9, 9]
    for split in ("training", "validation", "test"):
        assert all(r["truth"] == [{"slice": 9, "box": [2.0, 3.0, 8.0, 8.0]}] for r in content[split])
    assert [a["slice"] for a in content["training"][0]["annotations"]] == [5, 5]


def test_named_file_wins_over_the_one_found(phantom, tmp_path):
    other = _write(tmp_path / "other.json", {"000004_01_01_001-012": []})
    summary = prepare_deeplesion(phantom, tmp_path / "out", complete_test=other)
    assert summary.sources["complete_test"] == "other.json"
    assert summary.counts["test"].boxes == 0


def test_complete_labels_are_for_training_only(phantom, tmp_path):
    summary = prepare_deeplesion(phantom, tmp_path / "out", labels="complete")
    content = json.loads(summary.datalist.read_text())
    assert [[a["slice"] for a in r["annotations"] if a["kind"] == "lesion"] for r in content["training"]] == [
        [9],
        [9],
        [9],
    ]


def test_complete_labels_without_truth_are_refused(root, tmp_path):
    with pytest.raises(InputError, match="truth"):
        prepare_deeplesion(root, tmp_path / "out", labels="complete")
    with pytest.raises(InputError, match="partial or complete"):
        prepare_deeplesion(root, tmp_path / "out", labels="half")  # type: ignore[arg-type]


def test_missing_images_stop_everything_or_are_left_out(root, tmp_path):
    (root / "Images_png/000001_01_01/005.png").unlink()
    with pytest.raises(InputError, match="1 annotated"):
        prepare_deeplesion(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary = prepare_deeplesion(root, tmp_path / "out", allow_missing=True)
    assert "000001_01_01_001-012" not in _ids(summary.datalist, "training")
    assert prepare_deeplesion(root, tmp_path / "out", check_images=False).counts["training"].sub_volumes == 3


def test_empty_sub_volume_without_any_image_is_missing(root, deeplesion_layout, tmp_path):
    test = _write(tmp_path / "test.json", {"000004_01_01_001-012": [], "000004_01_01_100-110": []})
    with pytest.raises(InputError, match=r"1 annotated.*000004_01_01/100\.png"):
        prepare_deeplesion(root, tmp_path / "out", complete_test=test)


def test_failure_leaves_the_former_datalist_as_it_was(root, tmp_path, monkeypatch):
    path = prepare_deeplesion(root, tmp_path / "out").datalist
    before = path.read_bytes()
    (root / "DL_info.csv").write_text("nothing")
    with pytest.raises(InputError):
        prepare_deeplesion(root, tmp_path / "out")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path / "out") == ["datalist.json"]


def test_folder_that_cannot_be_made_is_told(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        prepare_deeplesion(root, tmp_path / "file" / "out")


def test_same_input_gives_the_same_bytes(root, tmp_path):
    first = prepare_deeplesion(root, tmp_path / "a").datalist.read_bytes()
    assert prepare_deeplesion(root, tmp_path / "b").datalist.read_bytes() == first


def test_real_lens_validation_lies_inside_the_1071(real_data, tmp_path):
    folder = real_data / "deeplesion"
    root = tmp_path / "root"
    root.mkdir()
    (root / "DL_info.csv").symlink_to(folder / "dl_info" / "DL_info_niftiID_test.csv")
    options = {
        "complete_val": folder / "lens" / "DeepLesion_manual_1K.json",
        "complete_test": folder / "lesion_harvester" / "Revised-Test1071.json",
        "check_images": False,
    }
    summary = prepare_deeplesion(root, tmp_path / "out", **options)
    (told,) = [w for w in summary.warnings if "--exclude-overlap" in w]
    assert told.startswith("138 of 200 validation sub-volumes belong to 70 patient(s)")
    assert "79 of them are test sub-volumes" in told
    assert "The training split is empty." in summary.warnings
    left = prepare_deeplesion(root, tmp_path / "out", **options, exclude_overlap=True)
    assert left.counts["validation"].sub_volumes == 62
    assert left.counts["test"].boxes == 3665


def test_written_phantom_is_prepared_as_it_lies(tmp_path):
    from lesion_app.data.phantom import write_phantom

    root = tmp_path / "phantom"
    write_phantom(root, 3, seed=1, size=64, thickness_mm=(40.0, 60.0), z_spacings=(5.0,))
    summary = prepare_deeplesion(root, root)
    truth = json.loads((root / "truth.json").read_text())["sub_volumes"]
    for split, name in {"training": "train", "validation": "val", "test": "test"}.items():
        lesions = {k: v["lesions"] for k, v in truth.items() if v["split"] == name}
        expected = sum(x["labelled"] or name != "train" for v in lesions.values() for x in v)
        assert summary.counts[split].boxes == expected > 0
        assert [r["id"] for r in load_records(summary.datalist, split, root)] == sorted(lesions)
    complete = prepare_deeplesion(root, tmp_path / "upper", labels="complete").counts["training"].boxes
    assert complete == sum(len(v["lesions"]) for v in truth.values() if v["split"] == "train")
