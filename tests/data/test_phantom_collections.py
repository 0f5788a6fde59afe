"""Phantom collections: the published layouts, one lesion type labelled, the whole truth beside it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesion_app.boxes.overlap import box_iou
from lesion_app.data.datalist import load_records, prepare_deeplesion
from lesion_app.data.phantom_collections import write_collection
from lesion_app.data.prepare_volumes import prepare_volumes
from lesion_app.errors import InputError
from transforms.ct_reader import open_ct

SETTINGS: dict[str, Any] = {
    "size": 128,
    "thickness_mm": (40.0, 45.0),
    "z_spacings": (5.0,),
    "lesions_per_volume": (4, 6),
}
TYPES = {"luna16": {5}, "lits": {4}, "nih-ln": {2, 3}}


@pytest.fixture(scope="module", params=list(TYPES))
def collection(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    folder = tmp_path_factory.mktemp("collection")
    write_collection(request.param, folder / "raw", 4, seed=4, **SETTINGS)
    prepare_volumes(request.param, folder / "raw", folder / "out")
    return request.param, folder / "raw", folder / "out"


def all_records(out: Path) -> list[dict[str, Any]]:
    return [r for split in ("training", "validation") for r in load_records(out / "datalist.json", split, out)]  # type: ignore[misc]


def test_exactly_the_lesions_of_the_one_type_are_labelled(collection):
    kind, raw, out = collection
    truth = json.loads((raw / "truth.json").read_text())["sub_volumes"]
    records = {r["id"]: r for r in all_records(out)}
    assert set(records) == set(truth)
    others = 0
    for name, volume in truth.items():
        wanted = [lesion for lesion in volume["lesions"] if lesion["type"] in TYPES[kind] and lesion["labelled"]]
        assert [lesion["labelled"] for lesion in volume["lesions"]] == [
            lesion["type"] in labelled_types(kind, name) for lesion in volume["lesions"]
        ]
        others += sum(not lesion["labelled"] for lesion in volume["lesions"])
        marks = defaultdict(list)
        for a in records[name]["annotations"]:
            marks[a["lesion"]].append(a)
        # A mask of a lesion thinner than a voxel may fall apart, never vanish.
        assert len(marks) >= len(wanted)
        extents = torch.tensor([a[0]["extent"] for a in marks.values()], dtype=torch.float64).reshape(-1, 6)
        for lesion in wanted:
            x1, y1, z1, x2, y2, z2 = lesion["extent"]
            plane = box_iou(torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64), extents[:, [0, 1, 3, 4]])[0]
            meets = (extents[:, 2] < z2) & (extents[:, 5] > z1)
            assert float((plane * meets).max()) > 0.35
    assert others > 0


def labelled_types(kind: str, name: str) -> set[int]:
    return {2} if name.startswith("ABD") else {3} if name.startswith("MED") else TYPES[kind]


def test_images_are_those_of_the_body_and_truth_is_attached(collection):
    _, raw, out = collection
    truth = json.loads((raw / "truth.json").read_text())["sub_volumes"]
    for record in all_records(out):
        volume = truth[record["id"]]
        assert record["slices"] == volume["slices"]
        np.testing.assert_allclose(record["spacing_mm"], volume["spacing_mm"], rtol=1e-4)
        places = {(t["slice"], *t["box"]) for t in record["truth"]}
        assert len(places) == sum(len(lesion["slice_boxes"]) for lesion in volume["lesions"])


def test_labels_lie_on_the_lesions_of_the_image(tmp_path):
    """With lesions that stand out the mean inside a label's middle differs from its surroundings."""
    settings = {**SETTINGS, "conspicuity_hu": 400.0}
    for kind in TYPES:
        write_collection(kind, tmp_path / kind, 3, seed=5, **settings)  # type: ignore[arg-type]
        prepare_volumes(kind, tmp_path / kind, tmp_path / f"{kind}-out", validation_share=0)  # type: ignore[arg-type]
        seen = 0
        for record in all_records(tmp_path / f"{kind}-out"):
            volume = open_ct(record["image"], spacing_mm=record["spacing_mm"]).read().numpy().astype(float)
            for a in record["annotations"]:
                x1, y1, x2, y2 = a["box"]
                if min(x2 - x1, y2 - y1) < 6 or a["slice"] in (1, record["slices"][1]):
                    continue
                plane = volume[a["slice"] - 1]
                cx, cy = int((x1 + x2) / 2), int((y1 + y2) / 2)
                middle = np.median(plane[cy - 1 : cy + 2, cx - 1 : cx + 2])
                half = (a["extent"][2] + a["extent"][5] - 1) / 2
                if abs(a["slice"] - half) > 0.6:
                    continue
                around = np.concatenate([plane[int(y1), int(x1) : int(x2)], plane[int(y2) - 1, int(x1) : int(x2)]])
                seen += abs(middle - np.median(around)) > 60
        assert seen >= 3, kind


def test_same_seed_gives_the_same_bytes_for_any_worker_count(tmp_path):
    def fingerprint(folder: Path) -> dict[str, str]:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    for name, workers in (("a", 1), ("b", 2)):
        write_collection("nih-ln", tmp_path / name, 2, seed=1, workers=workers, **SETTINGS)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_deeplesion_patients_come_twice_with_the_same_lesions_labelled_each_time_anew(tmp_path):
    summary = write_collection("deeplesion", tmp_path / "raw", 5, seed=2, **SETTINGS)
    prepare_deeplesion(tmp_path / "raw", tmp_path / "raw")
    assert summary.scans == 10
    volumes = json.loads((tmp_path / "raw" / "truth.json").read_text())["sub_volumes"]
    patients = defaultdict(list)
    for volume in volumes.values():
        patients[volume["patient_id"]].append(volume)
    missed_once = 0
    for first, second in patients.values():
        assert first["split"] == second["split"]
        assert first["series_id"] != second["series_id"]
        for a, b in zip(first["lesions"], second["lesions"], strict=True):
            assert (a["lesion_id"], a["type"]) == (b["lesion_id"], b["type"])
            assert 0.3 < b["volume_mm3"] / a["volume_mm3"] < 3
            middle = [(a["extent"][i] + a["extent"][i + 3]) / 2 for i in (0, 1)]
            place = [(v - 64) * first["spacing_mm"][0] for v in middle]
            other = [((b["extent"][i] + b["extent"][i + 3]) / 2 - 64) * second["spacing_mm"][0] for i in (0, 1)]
            np.testing.assert_allclose(place, other, atol=4)
            missed_once += a["labelled"] != b["labelled"]
    assert missed_once > 0
    assert summary.labels < summary.lesions


def test_arguments_out_of_range_are_told(tmp_path):
    with pytest.raises(InputError, match="deeplesion, luna16, lits, nih-ln"):
        write_collection("kits", tmp_path / "x", 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="visits"):
        write_collection("deeplesion", tmp_path / "x", 1, visits=0)
    with pytest.raises(InputError, match="patients"):
        write_collection("lits", tmp_path / "x", 0)
    assert not (tmp_path / "x").exists()
