"""The label server's bookkeeping, on a store in memory and a model that finds what it is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.datalist import load_records
from lesion_app.data.key_slices import key_slice_items
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import lesions_document
from lesion_app.labeling.decisions import decisions_in
from lesion_app.labeling.labelled_volumes import LabelledVolumes, dicom_behind, most_suspected
from lesion_app.labeling.roi_markups import LesionRoi, write_markups
from transforms.ct_reader import open_ct


class Store:
    """Files in a folder, infos in dicts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info: dict[str, dict[str, Any]] = {p.name.split(".")[0]: {} for p in folder.glob("*.nii")}
        self.labels: dict[str, dict[str, tuple[Path, dict[str, Any]]]] = {name: {} for name in self.info}

    def list_images(self) -> list[str]:
        return list(self.info)

    def get_image_uri(self, image_id: str) -> str:
        return str(self.folder / f"{image_id}.nii") if image_id in self.info else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        return dict(self.info[image_id])

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        self.info[image_id].update(info)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        return dict.fromkeys(self.labels[image_id], image_id)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        return str(self.labels[label_id][label_tag][0]) if label_tag in self.labels[label_id] else ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        return self.labels[label_id][label_tag][1] if label_tag in self.labels[label_id] else {}

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        path = self.folder / f"{image_id}.{label_tag}{Path(label_filename).suffix}"
        shutil.copy(label_filename, path)
        self.labels[image_id][label_tag] = (path, label_info)
        return image_id


class Finder:
    """Finds ``boxes[name]`` = ((z, box, score), ...) in the volume of that name."""

    def __init__(self, boxes: dict[str, list[tuple[int, tuple[float, ...], float]]]) -> None:
        self.boxes = boxes
        self.version = "a" * 64
        self.looks: list[str] = []

    def model_version(self) -> str:
        return self.version

    def label_of(self, type_name: str) -> int:
        return 1

    def find(self, ct: Path, min_score: float | None = None, device: str = "cpu") -> dict[str, Any]:
        name = ct.name.split(".")[0]
        self.looks.append(name)
        lesions = [Tracklet((z,), (box,), (score,)) for z, box, score in self.boxes.get(name, [])]  # type: ignore[arg-type]
        return lesions_document(
            lesions,
            open_ct(ct).geometry,
            model={"network": "n", "file": "f", "sha256": self.version},
            config={"files": [{"file": "c", "sha256": "c" * 64}]},
            source={"kind": "nifti", "name": ct.name},
            score_threshold=0.1,
        )


BOXES: dict[str, list[tuple[int, tuple[float, ...], float]]] = {
    "one": [(1, (4, 4, 12, 12), 0.9)],
    "two": [(1, (4, 4, 12, 12), 0.8), (3, (20, 6, 26, 14), 0.7)],
    "three": [(2, (6, 6, 12, 12), 0.3)],
}


@pytest.fixture
def volumes(tmp_path: Path) -> LabelledVolumes:
    for name in BOXES:
        values = np.full((32, 24, 5), 40, np.int16)
        values[0] = -1000
        nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / f"{name}.nii")
    return LabelledVolumes(Store(tmp_path), Finder(BOXES))  # type: ignore[arg-type]


def save(volumes: LabelledVolumes, image_id: str, boxes: list[LesionRoi], **info: Any) -> None:
    path = write_markups(Path(volumes.store.folder) / "label.json", boxes)  # type: ignore[attr-defined]
    volumes.store.save_label(image_id, str(path), "final", {"client_id": "dr-a", "ts": 1_770_000_000, **info})


def shown(volumes: LabelledVolumes, image_id: str) -> list[LesionRoi]:
    """A reader is shown what the model finds."""
    document = volumes.finder.find(volumes.ct_path(image_id))
    volumes.keep_finds(image_id, document, shown=True)
    return [LesionRoi(tuple(one["box_lps_mm"]), score=one["score"]) for one in document["lesions"]]


def test_suspicion_decides_who_is_offered_next(volumes: LabelledVolumes) -> None:
    for name in BOXES:
        volumes.look(name)
    assert volumes.store.get_image_info("two")["missing_score"] == pytest.approx(1.5)
    names = list(BOXES)
    assert most_suspected(volumes, {}, names) == "two"
    assert most_suspected(volumes, {"two": 5.0}, names) == "one"
    assert most_suspected(volumes, {"two": 5.0, "one": 3.0, "three": 4.0}, names) == "one"
    rois = shown(volumes, "two")
    save(volumes, "two", rois[:1])
    volumes.take_up_label("two")
    assert volumes.store.get_image_info("two")["missing_score"] == 0.0
    save(volumes, "one", [], complete=True)
    assert most_suspected(volumes, {}, names) == "three"


def test_nothing_is_offered_when_all_are_complete(volumes: LabelledVolumes) -> None:
    for name in BOXES:
        save(volumes, name, [], complete=True)
    assert most_suspected(volumes, {}, list(BOXES)) is None


def test_volume_is_looked_at_once_per_model(volumes: LabelledVolumes) -> None:
    finder: Any = volumes.finder
    volumes.look("one")
    volumes.look("one")
    assert finder.looks == ["one"]
    finder.version = "b" * 64
    assert volumes.look("one")["model"]["sha256"] == "b" * 64
    assert finder.looks == ["one", "one"]


def test_saved_label_answers_what_was_shown(volumes: LabelledVolumes) -> None:
    save(volumes, "two", shown(volumes, "two")[:1])
    record = volumes.take_up_label("two")
    assert [a["kind"] for a in record["annotations"]] == ["lesion", "negative"]
    assert {d.by for d in decisions_in([record])} == {"dr-a"}
    assert volumes.record("two") == {**record, "image": str(volumes.ct_path("two"))}


@pytest.mark.parametrize("info", [{"absent": "unknown"}, None])
def test_absent_boxes_stay_unknown_where_nobody_looked(volumes: LabelledVolumes, info: dict[str, str] | None) -> None:
    if info is None:
        volumes.look("two")  # a scoring looked; no reader was shown anything
    else:
        shown(volumes, "two")
    save(volumes, "two", [], **(info or {}))
    assert [a["kind"] for a in volumes.take_up_label("two")["annotations"]] == ["mined", "mined"]


def test_scoring_does_not_undo_what_a_reader_was_shown(volumes: LabelledVolumes) -> None:
    shown(volumes, "two")
    volumes.look("two", anew=True)
    save(volumes, "two", [])
    assert [a["kind"] for a in volumes.take_up_label("two")["annotations"]] == ["negative", "negative"]


def test_training_datalist_holds_all_three_kinds(volumes: LabelledVolumes, tmp_path: Path) -> None:
    save(volumes, "two", shown(volumes, "two")[:1])
    volumes.take_up_label("two")
    finder: Any = volumes.finder
    finder.version = "b" * 64
    finder.boxes = {**BOXES, "two": [*BOXES["two"], (1, (24, 16, 30, 22), 0.6)]}
    volumes.look("two")
    path = tmp_path / "datalist.json"
    counts = volumes.write_training_datalist(path)
    assert {kind: counts[kind] for kind in ("lesion", "negative", "mined")} == {"lesion": 1, "negative": 1, "mined": 1}
    items = key_slice_items(load_records(path, "training", tmp_path), mined="ignore", join="reviewed")
    assert [(i["slice"], len(i["boxes"]), len(i["ignore"]), len(i.get("negatives", []))) for i in items] == [
        (1, 1, 1, 0),
        (3, 0, 0, 1),
    ]


def test_validation_has_other_patients_where_there_are_some(volumes: LabelledVolumes, tmp_path: Path) -> None:
    path = tmp_path / "datalist.json"
    for name in ("one", "two"):
        save(volumes, name, shown(volumes, name))
    volumes.store.update_image_info("one", {"PatientID": "P"})
    volumes.write_training_datalist(path)
    training, validation = (load_records(path, split, tmp_path) for split in ("training", "validation"))
    assert len(training) == len(validation) == 1
    assert "P" not in {r["patient_id"] for r in [*training, *validation]}
    volumes.store.update_image_info("two", {"PatientID": "P"})
    for name in ("one", "two"):
        volumes.take_up_label(name)
    volumes.write_training_datalist(path)  # one patient alone does both
    assert len(load_records(path, "training", tmp_path)) == len(load_records(path, "validation", tmp_path)) == 2


def test_label_without_any_lesion_cannot_be_trained_on(volumes: LabelledVolumes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no volume has a saved label"):
        volumes.write_training_datalist(tmp_path / "d.json")
    save(volumes, "one", [])
    with pytest.raises(InputError, match="no label has a confirmed lesion"):
        volumes.write_training_datalist(tmp_path / "d.json")
    with pytest.raises(InputError, match="share"):
        volumes.write_training_datalist(tmp_path / "d.json", val_split=1.0)


def test_unknown_image_is_refused(volumes: LabelledVolumes) -> None:
    with pytest.raises(InputError, match="no image of that id"):
        volumes.ct_path("nobody")


def test_dicom_behind_a_converted_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "1.2.3.nii.gz"
    assert dicom_behind(file) == file
    (tmp_path / "1.2.3").mkdir()
    assert dicom_behind(file) == file
    (tmp_path / "1.2.3" / "a.dcm").write_text("")
    assert dicom_behind(file) == tmp_path / "1.2.3"
    assert json.dumps(str(dicom_behind(Path("x.nrrd")))) == '"x.nrrd"'
