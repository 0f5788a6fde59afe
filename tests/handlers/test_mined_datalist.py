from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine

from lesion_app.data.datalist import load_records, write_datalist
from lesion_app.errors import InputError
from lesion_app.handlers.mined_datalist import MinedDatalist
from transforms.view import View


def record(name: str) -> dict:
    label = {"slice": 5, "box": [20.0, 20.0, 40.0, 40.0], "label": 1, "kind": "lesion", "lesion_type": -1}
    return {
        "id": name,
        "image": "Images_png/000001_01_01",
        "series_id": "000001_01_01",
        "patient_id": "000001",
        "dataset": "phantom",
        "spacing_mm": [0.8, 0.8, 5.0],
        "size": [128, 100],
        "slices": [1, 9],
        "annotations": [{**label, "noisy": False}],
    }


@pytest.fixture
def datalist(tmp_path):
    path = tmp_path / "datalist.json"
    records = [record("000001_01_01_001-009")]
    write_datalist(path, {"dataset": "phantom"}, {"training": records, "validation": [], "test": records})
    return path


def look_through(said, item, handler, name="000001_01_01_001-009", **regions):
    # teacher's px = original / 2
    boxes = {key: torch.tensor(value, dtype=torch.float32) for key, value in regions.items()}
    one = item([(10, 10, 20, 20)], id=name, slice=5, view=View(0.5, 0.5, 0.0, 0.0), **boxes)

    def step(engine, batch):
        return {"pred": [said((30, 30, 40, 40, 0.9), (10, 10, 20, 20, 0.99), (45, 40, 80, 60, 0.8), (1, 1, 9, 9, 0.3))]}

    engine = Engine(step)
    handler.attach(engine)
    engine.run([[one]], max_epochs=1)
    return engine


def test_finds_without_a_label_are_added_in_px_of_the_slice_and_clipped(datalist, said, item):
    out = datalist.parent / "out" / "datalist.json"
    engine = look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7))
    (found,) = load_records(out, "training", out.parent)
    mined = [(a["slice"], a["box"]) for a in found["annotations"] if a["kind"] == "mined"]
    assert mined == [(5, [60, 60, 80, 80]), (5, [90, 80, 128, 100])]
    assert [a["kind"] for a in found["annotations"]] == ["lesion", "mined", "mined"]
    assert engine.state.metrics["boxes_added"] == 2
    assert json.loads(out.read_text())["dataset"] == "phantom"


def test_other_splits_and_the_old_file_stay(datalist, said, item):
    before = datalist.read_text()
    out = datalist.parent / "new.json"
    look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7, kind="negative"))
    assert datalist.read_text() == before
    content = json.loads(out.read_text())
    assert content["test"] == json.loads(before)["test"]
    assert [a["kind"] for a in content["training"][0]["annotations"]] == ["lesion", "negative", "negative"]


def test_find_that_touches_a_lesion_of_another_slice_is_no_hard_negative(datalist, said, item):
    out = datalist.parent / "new.json"
    # of the find (30, 30, 40, 40) a fifth, of (45, 40, 80, 60) a fiftieth
    regions = [(38, 30, 50, 40), (78, 40, 90, 50)]
    look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7, kind="negative"), ignore=regions)
    assert [
        a["box"] for a in load_records(out, "training", out.parent)[0]["annotations"] if a["kind"] == "negative"
    ] == [[90, 80, 128, 100]]


def test_slice_without_a_label_gets_the_lesions_known_there_as_regions_to_ignore_once(datalist, said, item):
    content = json.loads(datalist.read_text())
    content["training"][0]["annotations"][0]["slice"] = 7
    datalist.write_text(json.dumps(content))
    first, second = datalist.parent / "first.json", datalist.parent / "second.json"
    for known, new in ((datalist, first), (first, second)):
        look_through(said, item, MinedDatalist(known, new, 0.5, 0.7, kind="negative"), ignore=[(2, 2, 9, 30)])
    (found,) = load_records(second, "training", second.parent)
    kinds = [(a["slice"], a["kind"], a["box"]) for a in found["annotations"]]
    # (10, 10, 20, 20) is the label of the slice looked through, so the lesion of this slice, too
    assert kinds == [
        (7, "lesion", [20, 20, 40, 40]),
        (5, "ignore", [20, 20, 40, 40]),
        (5, "ignore", [4, 4, 18, 60]),
        (5, "negative", [60, 60, 80, 80]),
        (5, "negative", [90, 80, 128, 100]),
    ]


def test_slice_of_another_datalist_is_refused_and_nothing_written(datalist, said, item):
    out = datalist.parent / "new.json"
    with pytest.raises(InputError, match="000002_01_01_001-009"):
        look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7), name="000002_01_01_001-009")
    assert not out.exists()


def test_unknown_kind_is_refused(datalist):
    with pytest.raises(ValueError, match="kind"):
        MinedDatalist(datalist, datalist, 0.5, 0.7, kind="lesion")  # type: ignore[arg-type]


def test_scores_below_the_threshold_add_nothing(datalist, said, item):
    out = datalist.parent / "new.json"
    assert look_through(said, item, MinedDatalist(datalist, out, 1.0, 0.7)).state.metrics["boxes_added"] == 0
    assert len(load_records(out, "training", out.parent)[0]["annotations"]) == 1


def finds(path):
    (found,) = load_records(path, "training", path.parent)
    return [(a["kind"], [s["score"] for s in a["sightings"]]) for a in found["annotations"] if "sightings" in a]


def test_every_box_tells_which_model_found_it_with_which_score(datalist, said, item, tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"abc")
    out = tmp_path / "new.json"
    look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7, weights=weights))
    (found,) = load_records(out, "training", tmp_path)
    sightings = [a["sightings"] for a in found["annotations"] if a["kind"] == "mined"]
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sightings == [[{"model": abc, "score": 0.9}], [{"model": abc, "score": 0.8}]]


def test_second_round_adds_sightings_to_what_the_first_one_found(datalist, said, item, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    look_through(said, item, MinedDatalist(datalist, first, 0.5, 0.7))
    (tmp_path / "model.pt").write_bytes(b"abc")
    engine = look_through(said, item, MinedDatalist(first, second, 0.5, 0.7, weights=tmp_path / "model.pt"))
    assert finds(second) == [("mined", [0.9, 0.9]), ("mined", [0.8, 0.8])]
    assert engine.state.metrics["boxes_added"] == 0


@pytest.mark.parametrize("kind", ["negative", "ignore"])
def test_find_that_a_reader_answered_is_seen_again_and_not_added_again(datalist, said, item, tmp_path, kind):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    look_through(said, item, MinedDatalist(datalist, first, 0.5, 0.7))
    content = json.loads(first.read_text())
    for annotation in content["training"][0]["annotations"][1:]:
        annotation["kind"] = kind
    first.write_text(json.dumps(content))
    region = {"negatives" if kind == "negative" else "ignore": [(30, 30, 40, 40), (45, 40, 64, 50)]}
    engine = look_through(said, item, MinedDatalist(first, second, 0.5, 0.7), **region)
    assert [named for named, _ in finds(second)] == [kind, kind]
    assert engine.state.metrics["boxes_added"] == 0


def test_nothing_is_added_in_an_ignored_region_of_the_labels(datalist, said, item, tmp_path):
    out = tmp_path / "new.json"
    look_through(said, item, MinedDatalist(datalist, out, 0.5, 0.7), ignore=[(28, 28, 42, 42)])
    assert finds(out) == [("mined", [0.8])]
