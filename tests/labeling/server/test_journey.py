"""What 3D Slicer and OHIF ask of the label server, sent to a running one."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesion_app.labeling.roi_markups import LesionRoi, markups_document

pytestmark = [pytest.mark.label]

# voxels x 10..17, y 10..17, z 1..2 of the CT: outer faces in LPS mm
DRAWN = LesionRoi((-41 + 20.0, -31 + 20.0, -102.5 + 5.0, -41 + 36.0, -31 + 36.0, -102.5 + 15.0))


@pytest.fixture(scope="module")
def local(start_server: Callable[[str], Any], nifti_folder: Path) -> Any:
    return start_server(str(nifti_folder))


@pytest.fixture(scope="module")
def remote(start_server: Callable[[str], Any], orthanc: str) -> Any:
    return start_server(orthanc)


def save(server: Any, image: str, markups: dict[str, Any], **params: Any) -> Any:
    return server.call(
        "PUT",
        f"/datastore/label?image={image}&tag=final",
        data={"params": json.dumps({"client_id": "dr-a", **params})},
        files={"label": ("label.json", json.dumps(markups), "application/json")},
    )


def series_of(server: Any, modality: str) -> list[Any]:
    request = urllib.request.Request(
        f"{server.studies}/series?Modality={modality}", headers={"Accept": "application/dicom+json"}
    )
    return json.loads(urllib.request.urlopen(request, timeout=20).read() or b"[]")


def test_local_journey(local: Any, nifti_folder: Path) -> None:
    """Info, next sample, infer, save, train, infer again."""
    info = local.call("GET", "/info/")
    assert info["labels"] == ["lesion"]
    assert info["models"]["lesion_detection"]["type"] == "detection"
    assert info["models"]["lesion_segments"]["type"] == "segmentation"
    assert next(iter(info["strategies"])) == "most_suspected"

    scores = local.call("POST", "/scoring/missing_lesions?run_sync=true", json={})
    assert len(scores) == 3
    sample = local.call("POST", "/activelearning/most_suspected", json={})
    assert scores[sample["id"]] == max(scores.values())
    image = sample["id"]

    answer = local.call("POST", f"/infer/lesion_detection?image={image}&output=json", data={"params": "{}"})
    assert answer["annotations"]
    assert answer["coordinate_system"] == "LPS"
    assert "lesions" not in answer
    markups = local.call("POST", f"/infer/lesion_detection?image={image}&output=image", data={"params": "{}"})
    first = markups["markups"][0]
    assert [*first["center"], *first["size"]] == pytest.approx(answer["annotations"][0]["box"], abs=1e-3)

    told = save(local, image, markups_document([DRAWN]))
    assert told["answers"]["lesion"] == 2
    back = local.call("GET", f"/datastore/label?label={image}&tag=record")["training"][0]
    drawn = [a for a in back["annotations"] if a["kind"] == "lesion"]
    assert [a["slice"] for a in drawn] == [1, 2]
    for annotation in drawn:
        assert np.abs(np.subtract(annotation["box"], [10, 10, 18, 18])).max() <= 0.5
        assert annotation["reviews"][0]["by"] == "dr-a"

    local.call("POST", "/train/lesion_detection", json={"max_epochs": 1, "epoch_length": 1, "batch_size": 1})
    told = local.finished("train")
    assert told["status"] == "DONE", told
    (trained,) = json.loads((local.base / "work" / "models" / "history.json").read_text())
    again = local.call("POST", f"/infer/lesion_detection?image={image}&output=json", data={"params": "{}"})
    assert again["model_version"] == trained["model"] != answer["model_version"]
    assert (nifti_folder / "labels" / "final" / f"{image}.json").is_file()


def test_batch_pre_annotation(local: Any, nifti_folder: Path) -> None:
    local.call("POST", "/batch/infer/lesion_detection?images=all&run_sync=true", json={})
    assert len(list((nifti_folder / "labels" / "original").glob("*.json"))) == 3
    assert local.call("GET", "/datastore/label?label=ct_0&tag=original")["markups"]


def test_segmentation_twin_lies_on_the_ct(local: Any, nifti_folder: Path, tmp_path: Path) -> None:
    import nibabel
    import requests

    answer = requests.post(
        f"{local.url}/infer/lesion_segments?image=ct_1&output=image", data={"params": "{}"}, timeout=300
    )
    (tmp_path / "mask.nii.gz").write_bytes(answer.content)
    mask, ct = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(nifti_folder / "ct_1.nii.gz")
    assert mask.shape == ct.shape
    assert np.allclose(mask.affine, ct.affine, atol=1e-3)
    assert np.asarray(mask.dataobj).any()


def test_replaced_label_is_kept(local: Any, nifti_folder: Path) -> None:
    for boxes in ([DRAWN], []):
        save(local, "ct_2", markups_document(boxes))
    kept = list((nifti_folder / "label_history" / "final" / "ct_2").glob("*.json"))
    assert [len(json.loads(path.read_text())["markups"]) for path in kept] == [1]


def test_doors_are_shut(local: Any, nifti_folder: Path) -> None:
    label = {"label": ("x.json", json.dumps(markups_document([])), "application/json")}
    assert local.status("PUT", "/datastore/label?image=ct_0&tag=..%2F..%2Fevil", files=label) == 400
    assert local.status("PUT", "/datastore/label?image=ct_0", files={"label": ("x.json", "no markups")}) == 400
    assert local.status("PUT", "/datastore/label?image=ct_0", files={"label": ("x.py", "pass")}) == 400
    assert local.status("PUT", "/datastore/image?image=evil", files={"file": ("usercustomize.py", "pass")}) == 400
    assert local.status("POST", "/infer/lesion_detection?image=/etc/passwd") == 400
    elsewhere = {"params": json.dumps({"image": "/etc/hostname"})}
    assert local.status("POST", "/infer/lesion_detection?image=ct_0", data=elsewhere) == 400
    expression = {"params": json.dumps({"device": "cpu') or exit('"})}
    assert local.status("POST", "/infer/lesion_detection?image=ct_0&output=json", data=expression) == 400
    assert local.status("POST", "/infer/lesion_detection?image=ct_0", data={"params": "{no json"}) == 400
    assert local.status("GET", "/info/", headers={"Origin": "http://evil.example"}) == 403
    assert local.status("PUT", "/model/lesion_detection", files={"file": ("m.pt", "x")}) == 403
    assert not list(nifti_folder.parent.rglob("evil*"))


def test_pacs_journey(remote: Any) -> None:
    """Boxes go to Orthanc as SR and come back from there; no listing removes a label."""
    images = remote.call("POST", "/activelearning/first", json={})
    image = images["id"]
    answer = remote.call("POST", f"/infer/lesion_detection?image={image}&output=json", data={"params": "{}"})
    assert answer["annotations"]
    told = save(remote, image, markups_document([DRAWN]))
    assert told["answers"]["lesion"] == 2
    assert len(series_of(remote, "SR")) == 1

    for _ in range(2):  # upstream's listing deletes labels that are no segmentation
        assert remote.call("GET", "/datastore/?output=train")[0]["label"].endswith(".json")
    assert remote.call("GET", f"/datastore/label?label={image}&tag=final")["markups"]

    save(remote, image, markups_document([DRAWN, DRAWN]))
    assert len(series_of(remote, "SR")) == 2
    remote.call("POST", "/train/lesion_detection", json={"max_epochs": 1, "epoch_length": 1, "batch_size": 1})
    assert remote.finished("train")["status"] == "DONE"


def test_label_that_only_the_pacs_has_is_read_back(remote: Any, start_server: Callable[[str], Any]) -> None:
    other = start_server(remote.studies)
    (pair,) = other.call("GET", "/datastore/?output=train")
    rois = json.loads(Path(pair["label"]).read_text())["markups"]
    centre, size = np.array(rois[0]["center"]), np.array(rois[0]["size"])
    found = np.concatenate([centre - size / 2, centre + size / 2])
    assert (np.abs(found - np.array(DRAWN.box)) <= np.array([1.0, 1.0, 2.5] * 2)).all()  # half a voxel


def test_mask_of_ohif_is_stored_as_segmentation(remote: Any) -> None:
    image = remote.call("POST", "/activelearning/first", json={}).get("id") or remote.call(
        "GET", "/datastore/?output=train"
    )[0]["image"].rsplit("/", 1)[-1].removesuffix(".nii.gz")
    mask = np.zeros((48, 40, 6), np.uint8)
    mask[10:18, 10:18, 1:3] = 1
    remote.call(
        "PUT",
        f"/datastore/label?image={image}&tag=final",
        data={"params": json.dumps({"client_id": "dr-b", "label_info": [{"name": "lesion"}]})},
        files={"label": ("label.bin", mask.tobytes(order="F"))},
    )
    assert len(series_of(remote, "SEG")) == 1
    record = remote.call("GET", f"/datastore/label?label={image}&tag=record")["training"][0]
    drawn = [a["box"] for a in record["annotations"] if a["kind"] == "lesion"]
    assert all(np.abs(np.subtract(box, [10, 10, 18, 18])).max() <= 0.5 for box in drawn)
    assert len(drawn) == 2
