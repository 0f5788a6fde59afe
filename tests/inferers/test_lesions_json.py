"""The result file: numbering, grids, rounding, identity, and what is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import (
    config_identity,
    lesions_document,
    model_identity,
    read_lesions_json,
    sha256_of,
    source_identity,
    write_lesions_json,
)
from transforms.geometry import VolumeGeometry

REPOSITORY = Path(__file__).resolve().parents[2]
CREATED = datetime(2025, 11, 20, 10, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
SHA = "0" * 64
MODEL = {"network": "FasterRCNN25D", "file": "model.pt", "sha256": SHA}
CONFIG = {"files": [{"file": "inference.json", "sha256": SHA}]}


@dataclass(frozen=True)
class PlainGrid:
    """A grid of 10 x 8 x 6 voxels (x, y, z); the file runs against it in x and starts 100 slices later."""

    shape_zyx: tuple[int, int, int] = (6, 8, 10)
    spacing_mm: tuple[float, float, float] = (0.5, 2.0, 3.0)
    first_slice_number: int = 7

    @property
    def affine_lps(self) -> np.ndarray:
        return np.array([[0.5, 0, 0, -20], [0, 2.0, 0, -0.0], [0, 0, 3.0, 40], [0, 0, 0, 1]])

    def boxes_to_lps(self, boxes3d: np.ndarray) -> np.ndarray:
        return (boxes3d - 0.5) * np.tile(self.spacing_mm, 2) + np.tile([-20, 0, 40], 2)

    def boxes_to_file_grid(self, boxes3d: np.ndarray) -> np.ndarray:
        x1, y1, z1, x2, y2, z2 = boxes3d.T
        return np.stack([10 - x2, y1, z1 + 100, 10 - x1, y2, z2 + 100], axis=1)


LOW = Tracklet((1,), ((0.0, 0.0, 2.0, 2.0),), (0.4,))
HIGH = Tracklet((2, 3), ((1.0, 2.0, 4.0, 5.0), (2.0, 1.0, 4.00049, 4.0)), (0.51234567, 0.9))


def document(lesions=(LOW, HIGH), geometry=None, **changes):
    settings = {
        "model": MODEL,
        "config": CONFIG,
        "source": {"kind": "nifti", "name": "ct.nii.gz", "series_uid": None},
        "score_threshold": 0.3,
        "created": CREATED,
    }
    return lesions_document(lesions, geometry or PlainGrid(), **{**settings, **changes})


def test_lesions_are_numbered_by_descending_score_and_equal_scores_keep_their_order():
    twin = Tracklet((0,), ((5.0, 5.0, 6.0, 6.0),), (0.4,))
    lesions = document([LOW, twin, HIGH])["lesions"]
    assert [(x["id"], x["score"], x["slices"][0]["axial_slice"]) for x in lesions] == [
        (1, 0.9, 2),
        (2, 0.4, 1),
        (3, 0.4, 0),
    ]


def test_a_lesion_is_told_on_the_file_grid_in_millimetres_and_slice_by_slice():
    lesion = document()["lesions"][0]
    assert lesion == {
        "id": 1,
        "label": 1,
        "score": 0.9,
        "box_voxel": [6.0, 1.0, 102.0, 9.0, 5.0, 104.0],
        "box_lps_mm": [-19.75, 1.0, 44.5, -18.25, 9.0, 50.5],
        "centre_lps_mm": [-19.0, 5.0, 47.5],
        "size_mm": [1.5, 8.0, 6.0],
        "key_slice": 3,
        "slices": [
            {"axial_slice": 2, "slice_number": 9, "box": [1.0, 2.0, 4.0, 5.0], "score": 0.512346},
            {"axial_slice": 3, "slice_number": 10, "box": [2.0, 1.0, 4.0, 4.0], "score": 0.9},
        ],
    }


def test_grid_time_and_threshold_are_written_plainly():
    made = document()
    assert made["created"] == "2025-11-20T09:30:00Z"
    assert made["score_threshold"] == 0.3
    assert made["grid"]["size_xyz"] == [10, 8, 6]
    assert made["grid"]["spacing_mm"] == [0.5, 2.0, 3.0]
    assert made["grid"]["first_slice_number"] == 7
    assert "-0.0" not in json.dumps(made)


def test_the_real_geometry_maps_a_flipped_file_to_patient_coordinates(tmp_path):
    # a NIfTI-like file whose first axis runs to the right and whose second runs to the front
    affine = np.array([[-0.8, 0, 0, 100.0], [0, -0.8, 0, 50.0], [0, 0, 2.0, -30.0], [0, 0, 0, 1]])
    geometry = VolumeGeometry.from_file_grid((20, 16, 6), affine)
    lesion = document([HIGH], geometry)["lesions"][0]
    x1, y1, z1, x2, y2, z2 = lesion["box_voxel"]
    assert (x1, y1, z1, x2, y2, z2) == pytest.approx((16, 11, 2, 19, 15, 4), abs=1e-3)
    centre = affine @ [(x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5, (z1 + z2) / 2 - 0.5, 1]
    assert lesion["centre_lps_mm"] == pytest.approx(centre[:3], abs=2e-3)


def test_no_lesion_is_a_valid_result(tmp_path):
    made = document([])
    assert made["lesions"] == []
    assert read_lesions_json(write_lesions_json(made, tmp_path / "lesions.json")) == made


def test_what_is_written_is_read_back_and_nothing_else_is_left(tmp_path):
    made = document()
    path = write_lesions_json(made, tmp_path / "new" / "lesions.json")
    assert read_lesions_json(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["lesions.json"]


def test_an_invalid_document_is_not_written_over_a_valid_one(tmp_path):
    path = write_lesions_json(document(), tmp_path / "lesions.json")
    before = path.read_bytes()
    broken = document()
    broken["lesions"][0]["score"] = 1.5
    with pytest.raises(ValueError, match=r"\$\.lesions\[0\]\.score"):
        write_lesions_json(broken, path)
    with pytest.raises(ValueError, match="JSON"):
        write_lesions_json({**document(), "score_threshold": 0.1, "grid": _nan_grid()}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["lesions.json"]


def _nan_grid():
    grid = copy.deepcopy(document()["grid"])
    grid["affine_lps"][0][0] = float("nan")
    return grid


def test_a_place_that_cannot_be_written_to_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_lesions_json(document(), tmp_path / "file" / "lesions.json")


def test_a_dicom_source_is_its_series_uid_and_never_a_folder_name():
    source = document(source={"kind": "dicom", "name": "DOE^JANE", "series_uid": "1.2.840.1"})["source"]
    assert source == {"kind": "dicom", "series_uid": "1.2.840.1"}


def test_other_sources_are_their_name_without_the_path():
    assert source_identity("png", Path("somewhere/000001_01_01")) == {"kind": "png", "name": "000001_01_01"}
    assert source_identity("metaimage", "a/b.mhd", "1.2") == {"kind": "mha", "name": "b.mhd"}


@pytest.mark.parametrize(("kind", "name", "uid"), [("dicom", "ct", None), ("nifti", None, "1.2"), ("jpeg", "a", None)])
def test_an_unidentified_source_is_refused(kind, name, uid):
    with pytest.raises(ValueError, match="source"):
        source_identity(kind, name, uid)


def test_files_are_identified_by_name_and_digest(tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"weights" * 300_000)
    digest = hashlib.sha256(b"weights" * 300_000).hexdigest()
    assert sha256_of(file) == digest
    assert model_identity("Net", file) == {"network": "Net", "file": "model.pt", "sha256": digest}
    assert config_identity([file]) == {"files": [{"file": "model.pt", "sha256": digest}]}
    with pytest.raises(InputError, match=r"missing\.pt cannot be read"):
        sha256_of(tmp_path / "missing.pt")


def test_a_slice_outside_the_grid_or_a_naive_time_is_refused():
    with pytest.raises(ValueError, match=r"slice 6 .* 0\.\.5"):
        document([Tracklet((6,), ((0.0, 0.0, 1.0, 1.0),), (0.5,))])
    with pytest.raises(ValueError, match="time zone"):
        document(created=datetime(2025, 1, 1))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[:-20], "not valid JSON"),
        (lambda text: text.replace("0.3", "NaN", 1), "not valid JSON"),
        (lambda text: "[1, 2]", "does not satisfy"),
        (lambda text: "[" * 400 + "]" * 400, "does not satisfy"),
        (lambda text: text.replace('"1.0"', '"9.0"'), "schema version '9.0'"),
        (lambda text: text.replace('"key_slice"', '"keyslice"'), "does not satisfy"),
        (lambda text: text.replace('"ct.nii.gz"', '"home/ct.nii.gz"'), "does not satisfy"),
    ],
)
def test_a_spoilt_file_is_one_sentence_of_input_error(tmp_path, spoil, told):
    path = write_lesions_json(document(), tmp_path / "lesions.json")
    text = path.read_text()
    path.write_text(spoil(text))
    assert path.read_text() != text
    with pytest.raises(InputError, match=told) as caught:
        read_lesions_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_complaint_about_a_file_does_not_quote_its_values(tmp_path):
    path = tmp_path / "lesions.json"
    path.write_text(json.dumps({**document(), "patient": "DOE^JANE", "source": {"kind": "nifti", "name": "DOE/JANE"}}))
    with pytest.raises(InputError) as caught:
        read_lesions_json(path)
    assert "JANE" not in str(caught.value)


def test_a_missing_or_binary_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_lesions_json(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        read_lesions_json(tmp_path / "binary.json")


def test_the_documented_example_and_schema_are_the_real_ones(tmp_path):
    docs = REPOSITORY / "bundle" / "docs"
    used = REPOSITORY / "lesion_app" / "inferers" / "lesions.schema.json"
    assert (docs / "lesions.schema.json").read_bytes() == used.read_bytes()
    block = re.search(r"```json\n(.*?)```", (docs / "lesions_json.md").read_text(), re.S)
    assert block is not None
    (tmp_path / "lesions.json").write_text(block[1])
    example = read_lesions_json(tmp_path / "lesions.json")

    grid, lesion = example["grid"], example["lesions"][0]
    width, height, depth = grid["size_xyz"]
    affine = np.array(grid["affine_lps"]) @ np.array(
        [[-1, 0, 0, width - 1], [0, -1, 0, height - 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    tracklet = Tracklet.from_arrays(
        [s["axial_slice"] for s in lesion["slices"]],
        np.array([s["box"] for s in lesion["slices"]]),
        [s["score"] for s in lesion["slices"]],
    )
    geometry = VolumeGeometry.from_file_grid((width, height, depth), affine)
    assert document([tracklet], geometry)["lesions"] == example["lesions"]
    assert document([], geometry)["grid"]["affine_lps"] == grid["affine_lps"]
