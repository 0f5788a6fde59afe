"""Typed rows become items; the rest is neither lesion nor background."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from lesion_app.data.datalist import load_records
from lesion_app.data.typed_datalist import prepare_typed, split_by_patient
from lesion_app.data.typed_key_slices import typed_key_slice_items
from lesion_app.errors import InputError


def mark(number, box, kind=1, role="lesion"):
    return {"slice": number, "box": box, "label": 1, "kind": role, "lesion_type": kind, "noisy": False}


A, B, C, D = ([10.0 * k, 5.0, 10.0 * k + 8, 15.0] for k in range(1, 5))


def record(patient="000001", *annotations):
    return {
        "id": f"{patient}_01_01_001-009",
        "image": "x",
        "series_id": f"{patient}_01_01",
        "patient_id": patient,
        "dataset": "deeplesion",
        "spacing_mm": [0.8, 0.8, 5.0],
        "size": [64, 64],
        "slices": [1, 9],
        "annotations": list(annotations),
    }


MIXED = record(
    "000001",
    mark(4, A, 5),
    mark(4, B, 2),
    mark(4, C, -1),
    mark(4, D, 3, "ignore"),
    mark(6, A, -1),
    mark(2, B, 8),
    mark(2, C, 4, "mined"),
)


def test_several_types_on_a_slice_and_untyped_ones_are_ignored():
    first, second = typed_key_slice_items([MIXED])
    assert (first["slice"], first["boxes"], first["labels"], first["ignore"]) == (2, [B], [8], [])
    assert (second["slice"], second["boxes"], second["labels"]) == (4, [A, B], [5, 2])
    assert second["ignore"] == [C, D]
    assert second["spacing_mm"] == [0.8, 0.8, 5.0]


def test_items_do_not_share_memory_with_their_record():
    before = deepcopy(MIXED)
    item = typed_key_slice_items([MIXED])[0]
    item["boxes"][0][0] = -1
    item["slices"][0] = -1
    assert before == MIXED


def test_untyped_lesions_are_one_class_when_asked_for():
    items = typed_key_slice_items([MIXED], typed=False)
    assert [(i["slice"], i["labels"]) for i in items] == [(2, [1]), (4, [1, 1, 1]), (6, [1])]
    assert items[1]["ignore"] == [D]


def test_no_type_at_all_is_told():
    with pytest.raises(InputError, match=r"none of the 1 lesions has a type.*prepare typed"):
        typed_key_slice_items([record("000002", mark(3, A, -1))])
    assert typed_key_slice_items([record("000002")]) == []


def test_a_limit_draws_by_seed_and_keeps_the_order():
    records = [record(f"{p:06d}", mark(3, A, 1)) for p in range(30)]
    drawn = [[i["id"] for i in typed_key_slice_items(records, limit=7, seed=seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 7
    assert drawn[0] == sorted(drawn[0])
    assert len(typed_key_slice_items(records, limit=100)) == 30
    with pytest.raises(ValueError, match="limit"):
        typed_key_slice_items(records, limit=0)


@pytest.mark.parametrize(
    ("patients", "shares", "counts"),
    [(10, (0.7, 0.1, 0.2), (7, 1, 2)), (8, (0.7, 0.1, 0.2), (5, 1, 2)), (3, (0.9, 0.05, 0.05), (1, 1, 1)),
     (2, (0.7, 0.1, 0.2), (1, 0, 1)), (20, (0.8, 0.2, 0.0), (16, 4, 0))],
)  # fmt: skip
def test_patients_are_divided_by_their_shares(patients, shares, counts):
    records = [record(f"{p:06d}", mark(3, A, 1)) for p in range(patients) for _ in range(2)]
    splits = split_by_patient(records, shares, seed=5)
    named = {name: {r["patient_id"] for r in part} for name, part in splits.items()}
    assert tuple(len(part) for part in named.values()) == counts
    assert sum(len(part) for part in splits.values()) == 2 * patients
    assert split_by_patient(records[::-1], shares, 5)["training"] == splits["training"][::-1]
    if patients == 20:
        assert split_by_patient(records, shares, 6) != splits


def test_a_datalist_of_typed_rows_can_be_trained_on(deeplesion_layout, tmp_path):
    rows = [deeplesion_layout.row("000009_01_01_005.png", split=1)]
    rows += [
        deeplesion_layout.row(f"{p:06d}_01_01_005.png", split=2 + p % 2, Coarse_lesion_type=1 + p) for p in range(5)
    ]
    rows.append(deeplesion_layout.row("000007_01_01_005.png", split=2, Possibly_noisy=1, Coarse_lesion_type=3))
    root = deeplesion_layout.write_folder(tmp_path / "in", rows)
    summary = prepare_typed(root, tmp_path / "out", shares=(0.6, 0.2, 0.2), seed=1)
    assert [c.patients for c in summary.counts.values()] == [3, 1, 1]
    items = [i for s in summary.counts for i in typed_key_slice_items(load_records(summary.datalist, s, root))]
    assert sorted(i["labels"] for i in items) == [[1], [2], [3], [4], [5]]
    assert any("has no lesion of the type" in text for text in summary.warnings)
    assert json.loads(summary.datalist.read_text())["typed"] == {"shares": [0.6, 0.2, 0.2], "seed": 1}


def test_wrong_shares_and_a_table_without_types_are_told(deeplesion_layout, tmp_path):
    root = deeplesion_layout.write_folder(tmp_path / "in", [deeplesion_layout.row("000009_01_01_005.png", split=1)])
    with pytest.raises(InputError, match="add up to 1"):
        prepare_typed(root, tmp_path / "out", shares=(0.7, 0.1, 0.1))
    with pytest.raises(InputError, match="no lesion of a known type"):
        prepare_typed(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
