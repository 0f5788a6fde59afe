"""Detections on the training split become candidates, whatever else lies in their folder."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.fp_candidates import candidate_items, prepare_candidate_batch
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import lesions_document, read_lesions_json, write_lesions_json
from lesion_app.mining.tp_fp_selection import select_tp_fp
from transforms.geometry import VolumeGeometry

A, B, C = (10.0, 10.0, 20.0, 20.0), (40.0, 10.0, 50.0, 22.0), (60.0, 60.0, 70.0, 71.0)


def record(name="000001_01_01_005-008", *marks):
    series = name.rsplit("_", 1)[0]
    low, high = map(int, name.rsplit("_", 1)[1].split("-"))
    return {
        "id": name,
        "image": f"/somewhere/Images_png/{series}",
        "series_id": series,
        "patient_id": series[:6],
        "dataset": "phantom",
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [100, 90],
        "slices": [low, high],
        "annotations": [
            {"slice": z, "box": list(box), "label": 1, "kind": kind, "lesion_type": 5, "noisy": False}
            for z, box, kind in marks
        ],
    }


def write(folder, name, lesions, size=(100, 90), kind="png"):
    """Detections of a sub-volume, as LesionWriter would write them."""
    series = name.rsplit("_", 1)[0]
    first, last = map(int, name.rsplit("_", 1)[1].split("-"))
    geometry = VolumeGeometry.from_file_grid((*size, last + 1), np.diag([1.0, 1.0, 2.0, 1.0]), (first, last))
    document = lesions_document(
        lesions,
        geometry,
        model={"network": "F", "file": "model.pt", "sha256": "0" * 64},
        config={"files": []},
        source={"kind": kind, "name": series},
        score_threshold=0.01,
    )
    write_lesions_json(document, folder / name / "lesions.json")


def items_of(folder, records, min_score=0.0, **thresholds):
    return candidate_items(folder, records, read_lesions_json, partial(select_tp_fp, **thresholds), min_score)


def test_finds_become_candidates_counted_from_the_sub_volumes_first_slice(tmp_path):
    lesion = Tracklet((1, 2), (A, (12.0, 10.0, 22.0, 20.0)), (0.9, 0.3))
    write(tmp_path, "000001_01_01_005-008", [lesion, Tracklet((3,), (B,), (0.2,)), Tracklet((0,), (C,), (0.1,))])
    of = record("000001_01_01_005-008", (6, A, "lesion"), (5, C, "ignore"))
    first, second = items_of(tmp_path, [of])
    assert first["kind"] == 1
    assert first["score"] == 0.9
    assert first["candidate"] == pytest.approx([10.5, 10, 1, 20.5, 20, 3])  # weighted by 0.9 and 0.3
    assert {k: first[k] for k in ("image", "id", "slices", "spacing_mm", "patient_id")} == {
        "image": "/somewhere/Images_png/000001_01_01",
        "id": "000001_01_01_005-008",
        "slices": [5, 8],
        "spacing_mm": [1.0, 1.0, 2.0],
        "patient_id": "000001",
    }
    assert second["kind"] == 0
    assert second["candidate"] == [*B[:2], 3, *B[2:], 4]
    assert len(items_of(tmp_path, [of], theta=0.4)) == 2


def test_mined_lesions_are_true_and_low_scores_are_left_out(tmp_path):
    write(
        tmp_path,
        "000001_01_01_005-008",
        [Tracklet((z,), (b,), (s,)) for z, b, s in ((1, A, 0.9), (1, B, 0.5), (2, C, 0.04))],
    )
    of = record("000001_01_01_005-008", (6, A, "mined"))
    assert [i["kind"] for i in items_of(tmp_path, [of])] == [1, 0, 0]
    assert [i["kind"] for i in items_of(tmp_path, [of], min_score=0.05)] == [1, 0]


def test_other_cts_and_other_runs_of_slices_are_passed_over(tmp_path):
    both = [Tracklet((1,), (A,), (0.9,)), Tracklet((1,), (B,), (0.5,))]
    for name in ("000001_01_01_005-008", "000001_01_01_020-023", "000009_01_01_005-008"):
        write(tmp_path / "deep" / "er", name, both)
    write(tmp_path / "nifti", "000001_01_01_005-009", both, kind="nifti")
    records = [record("000002_01_01_005-008"), record("000001_01_01_005-008", (6, A, "lesion"))]
    assert {i["id"] for i in items_of(tmp_path, records)} == {"000001_01_01_005-008"}


def test_folders_that_cannot_teach_are_told(tmp_path):
    known = record("000001_01_01_005-008", (6, A, "lesion"))
    with pytest.raises(InputError, match=r"no lesions\.json was found in .*run inference"):
        items_of(tmp_path, [known])
    with pytest.raises(InputError, match=r"no lesions\.json was found"):
        items_of(tmp_path / "nowhere", [known])
    write(tmp_path, "000001_01_01_005-008", [Tracklet((1,), (A,), (0.9,))])
    with pytest.raises(InputError, match=r"none of the 1 files .* of one of the 1 training"):
        items_of(tmp_path, [record("000002_01_01_005-008")])
    with pytest.raises(InputError, match="hold 1 true and 0 false positives"):
        items_of(tmp_path, [known])
    write(tmp_path / "again", "000001_01_01_005-008", [Tracklet((1,), (A,), (0.9,))])
    with pytest.raises(InputError, match="second file of detections of 000001_01_01_005-008"):
        items_of(tmp_path, [known])


def test_detections_on_images_of_another_size_are_told(tmp_path):
    write(tmp_path, "000001_01_01_005-008", [Tracklet((1,), (A,), (0.9,))], size=(128, 128))
    with pytest.raises(InputError, match="on slices of 128 x 128 px, the datalist says 100 x 90"):
        items_of(tmp_path, [record("000001_01_01_005-008", (6, A, "lesion"))])


def test_file_that_is_no_result_is_told(tmp_path):
    (tmp_path / "lesions.json").write_text(json.dumps({"lesions": []}))
    with pytest.raises(InputError, match="does not satisfy the lesion schema"):
        items_of(tmp_path, [record("000001_01_01_005-008", (6, A, "lesion"))])


def test_batch_is_patches_targets_and_boxes():
    batch = [{"patch": torch.full((1, 2, 3, 3), k), "roi": torch.arange(6.0) + k, "kind": k} for k in (1.0, 0.0)]
    patches, targets, (rois,), named = prepare_candidate_batch(batch, "cpu")
    assert patches.shape == (2, 1, 2, 3, 3)
    assert targets.tolist() == [[1.0], [0.0]]
    assert rois[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert named == {}
