"""Offline mining as a handler: what a detector found in whole sub-volumes becomes an enriched datalist."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.data.datalist import load_records, write_datalist
from lesion_app.errors import InputError
from lesion_app.handlers.offline_mining import OfflineMining
from transforms.view import View

FIRST, SECOND = "000001_01_01_005-010", "000001_02_01_005-010"
A, B, C, D = ([x, 20.0, x + 12.0, 32.0] for x in (20.0, 50.0, 80.0, 110.0))
CROP = {"num_slices": 1, "interval_mm": 2.0, "size_mm": 4.0, "size_px": 4}


class MeanHU(nn.Module):
    """A crop's mean as an angle: equal HU, equal vector of length 1."""

    def forward(self, crops: Tensor) -> Tensor:
        angle = crops.mean(dim=(1, 2, 3)) / 1000.0
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def record(name: str, *marks: tuple[int, list[float]], truth: tuple[tuple[int, list[float]], ...] = ()) -> dict:
    return {
        "id": name,
        "image": f"Images_png/{name[:12]}",
        "series_id": name[:12],
        "patient_id": name[:6],
        "dataset": "phantom",
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [160, 100],
        "slices": [5, 10],
        "annotations": [
            {"slice": z, "box": box, "label": 1, "kind": "lesion", "lesion_type": 5, "noisy": False} for z, box in marks
        ],
        "truth": [{"slice": z, "box": box} for z, box in truth],
    }


def chain(first: int, *boxes: list[float], score: float = 0.8) -> Tracklet:
    return Tracklet(tuple(range(first, first + len(boxes))), tuple(map(tuple, boxes)), (score,) * len(boxes))  # type: ignore[arg-type]


def seen(name: str, *spots: tuple[list[float], float], **experts: list[Tracklet]) -> dict[str, Any]:
    """An item in a view of half the pixels, cropped by 5 columns: ``spots`` are boxes of the original with their HU."""
    view = View(0.5, 0.5, -5.0, 0.0)
    image = torch.full((6, 50, 75), -1000.0)
    for box, hu in spots:
        x1, y1, x2, y2 = (round(v) for v in view.apply(torch.tensor([box]))[0].tolist())
        image[:, y1:y2, x1:x2] = hu
    return {"id": name, "image": image, "view": view, "spacing_mm": (1.0, 1.0, 2.0), "expert_lesions": experts}


@pytest.fixture
def datalist(tmp_path: Path) -> Path:
    path = tmp_path / "datalist.json"
    splits = {
        "training": [
            record(FIRST, (7, A), truth=((7, A), (8, A))),
            record(SECOND, truth=((6, B), (7, B), (7, C))),
        ],
        "validation": [record("000009_01_01_005-010", (6, A))],
        "test": [],
    }
    write_datalist(path, {"dataset": "phantom"}, splits)  # type: ignore[arg-type]
    return path


def look_through(handler: OfflineMining, *volumes: tuple[dict[str, Any], list[Tracklet]]) -> Engine:
    engine = Engine(lambda engine, batch: {"image": [batch[0]], "pred": [batch[1]]})
    handler.attach(engine)
    engine.run(list(volumes), max_epochs=1)
    return engine


def two_visits(**experts: list[Tracklet]) -> list[tuple[dict[str, Any], list[Tracklet]]]:
    """The lesion marked as A is found on slices 7 and 8; in the second visit it lies at B, beside a vessel D."""
    experts = experts or {
        "deeplesion": [chain(0, D, score=0.9)],
        "luna16": [chain(2, C, score=0.9), chain(3, D, score=0.5), chain(1, B, score=0.95)],
    }
    return [
        (seen(FIRST, (A, 100.0), **{name: [] for name in experts}), [chain(2, A, A)]),
        (seen(SECOND, (B, 150.0), (C, 900.0), (D, 400.0), **experts), [chain(1, B, B), chain(1, D)]),
    ]


def handler(datalist: Path, **more: Any) -> OfflineMining:
    settings: dict[str, Any] = {"embedding": MeanHU(), "crop": CROP, **more}
    return OfflineMining(datalist, datalist.parent / "out" / "datalist.json", **settings)


def mined(path: Path, split: str = "training") -> list[tuple[str, int, list[float], str, str]]:
    return [
        (r["id"], a["slice"], a["box"], a["kind"], a["origin"])
        for r in load_records(path, split, path.parent)
        for a in r["annotations"]
        if "origin" in a
    ]


def test_each_strategy_enters_its_boxes_with_their_origin(datalist):
    one = handler(datalist)
    engine = look_through(one, *two_visits())
    assert mined(one.out) == [
        (FIRST, 8, A, "mined", "cross-slice"),
        (SECOND, 6, B, "mined", "intra-patient"),
        (SECOND, 7, B, "mined", "intra-patient"),
        # not D, of which the expert is not sure enough, nor B, which has been mined
        (SECOND, 7, C, "ignore", "cross-dataset:luna16"),
    ]
    assert engine.state.metrics["intra-patient_boxes"] == 2
    found = json.loads((one.out.parent / "mining.json").read_text())
    assert found["sub_volumes"] == 2
    assert found["thresholds"] == {"theta": 0.5, "delta": 0.15, "sigma": 0.5, "false_share": None}
    assert found["strategies"]["all"] == {
        "boxes": 4, "slices": 3, "lesions": 1, "judged": 4, "hidden": 4, "precision": 1.0, "recall": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("off", "left"),
    [
        (("cross_slice",), {"intra-patient", "cross-dataset:luna16"}),
        (("intra_patient",), {"cross-slice", "cross-dataset:luna16"}),
        (("cross_dataset",), {"cross-slice", "intra-patient"}),
        (("intra_patient", "cross_dataset"), {"cross-slice"}),
        (("cross_slice", "intra_patient"), {"cross-dataset:luna16"}),
    ],
)
def test_strategies_can_be_left_out(datalist, off, left):
    one = handler(datalist, **dict.fromkeys(off, False))
    look_through(one, *two_visits())
    assert {origin for *_, origin in mined(one.out)} == left


def test_strategies_that_need_no_embedding_or_experts_run_without(datalist):
    one = handler(datalist, embedding=None, crop=None, intra_patient=False, cross_dataset=False)
    volumes = two_visits()
    for item, _ in volumes:
        del item["expert_lesions"]
    look_through(one, *volumes)
    assert [origin for *_, origin in mined(one.out)] == ["cross-slice"]


def test_lesion_is_embedded_where_it_lies_in_the_volume_seen(datalist):
    """Were px of the original taken for px of the view, all crops would show air and every find would match."""
    one = handler(datalist, cross_dataset=False)
    look_through(one, *two_visits())
    assert D not in [box for _, _, box, *_ in mined(one.out)]
    wider = handler(datalist, cross_dataset=False, delta=0.31)
    look_through(wider, *two_visits())
    assert D in [box for _, _, box, *_ in mined(wider.out)]  # 300 HU are 0.3 apart


def test_boxes_of_an_earlier_mining_are_replaced_unless_a_reader_answered(datalist):
    content = json.loads(datalist.read_text())
    old = {"slice": 9, "label": 1, "kind": "mined", "lesion_type": -1, "noisy": False, "origin": "cross-slice"}
    review = {"verdict": "rejected", "by": "R", "at": "2026-01-01T00:00:00Z", "model": ""}
    content["training"][0]["annotations"] += [
        {**old, "box": C},
        {**old, "box": D, "kind": "negative", "reviews": [review]},
    ]
    head = {"dataset": content.pop("dataset")}
    write_datalist(datalist, head, content)
    one = handler(datalist, intra_patient=False, cross_dataset=False)
    look_through(one, *two_visits())
    assert mined(one.out) == [(FIRST, 9, D, "negative", "cross-slice"), (FIRST, 8, A, "mined", "cross-slice")]


def test_other_splits_the_head_and_the_old_file_stay(datalist):
    before = datalist.read_text()
    one = handler(datalist)
    look_through(one, *two_visits())
    assert datalist.read_text() == before
    old, new = json.loads(before), json.loads(one.out.read_text())
    assert {k: new[k] for k in ("dataset", "validation", "test")} == {
        k: old[k] for k in ("dataset", "validation", "test")
    }
    marks = [[a for a in r["annotations"] if "origin" not in a] for r in new["training"]]
    assert [[(a["slice"], a["box"]) for a in here] for here in marks] == [[(7, A)], []]


def test_mined_boxes_tell_the_model_and_its_score(datalist, tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    one = handler(datalist, weights=weights, cross_dataset=False)
    look_through(one, *two_visits())
    boxes = [a for r in load_records(one.out, "training", one.out.parent) for a in r["annotations"] if "origin" in a]
    told = [{"model": hashlib.sha256(b"weights").hexdigest(), "score": 0.8}]
    assert [a["sightings"] for a in boxes] == [told] * 3


def test_delta_is_chosen_from_finds_known_to_be_other_lesions(datalist):
    """In the first scan a find lies 0.2 from the marked lesion, so all that is as near in another scan is refused."""
    volumes = two_visits()
    item = seen(FIRST, (A, 100.0), (C, 140.0), luna16=[])
    volumes[0] = (item, [chain(2, A, A), chain(0, C)])
    one = handler(datalist, cross_dataset=False, false_share=0.5)
    look_through(one, *volumes)
    assert one.summary["thresholds"]["delta"] == pytest.approx(0.04, abs=1e-3)  # 40 HU
    assert {origin for *_, origin in mined(one.out)} == {"cross-slice"}  # the lesion itself is 50 HU off


def test_delta_stays_where_nothing_can_be_compared(datalist, caplog):
    one = handler(datalist, cross_dataset=False, false_share=0.5)
    look_through(one, *two_visits())
    assert one.summary["thresholds"]["delta"] == 0.15
    assert "no two lesions of one scan" in caplog.text


def test_empty_volumes_add_nothing(datalist):
    one = handler(datalist)
    look_through(one, *((seen(name, deeplesion=[], luna16=[]), []) for name in (FIRST, SECOND)))
    assert mined(one.out) == []
    assert one.summary["strategies"] == {}


def test_detector_without_other_experts_is_told_and_nothing_written(datalist):
    one = handler(datalist)
    with pytest.raises(InputError, match=r"no expert of a single-type data set.*--no-cross-dataset"):
        look_through(one, *two_visits(deeplesion=[chain(0, D)]))
    assert not one.out.parent.exists()


def test_misspelt_expert_is_told(datalist):
    one = handler(datalist, partly_labelled=["deeplesoin"])
    with pytest.raises(InputError, match=r"'deeplesoin' is said .* the detector's are deeplesion, luna16; name one"):
        look_through(one, *two_visits())


def test_sub_volume_of_another_datalist_is_told(datalist):
    one = handler(datalist)
    with pytest.raises(InputError, match=r"000007_01_01_001-006 was looked through, but datalist\.json has no such"):
        look_through(one, (seen("000007_01_01_001-006", luna16=[]), []))
    assert not one.out.parent.exists()


def test_datalist_does_not_replace_itself(datalist):
    with pytest.raises(InputError, match=r"would replace datalist\.json"):
        OfflineMining(datalist, datalist.parent / "x" / ".." / "datalist.json", embedding=MeanHU(), crop=CROP)


@pytest.mark.parametrize(
    "wrong",
    [
        {"theta": 1.0},
        {"delta": 0.0},
        {"sigma": 1.1},
        {"false_share": 1.0},
        {"embedding": None},
        {"crop": {"num_slices": 3}},
    ],
)
def test_values_out_of_range_are_refused(datalist, wrong):
    with pytest.raises(ValueError, match=r"need theta|false_share|intra_patient needs"):
        handler(datalist, **wrong)
