from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lesion_app.data.batches import item_target, prepare_student_batch
from lesion_app.data.one_dataset_batches import OneDatasetSampler, joined_slice_items
from lesion_app.data.seeded_sampling import SeededDataset
from lesion_app.errors import InputError


def slice_items(lesions: list[int], empty: list[int]) -> list[dict[str, Any]]:
    """For data set d ``lesions[d]`` slices with a lesion each and ``empty[d]`` without, as ``joined_slice_items``."""
    items = []
    for dataset, (full, without) in enumerate(zip(lesions, empty)):
        for number in range(full + without):
            boxes = [[1.0, 1.0, 5.0, 5.0]] if number < full else []
            items.append({"id": f"{dataset}-{number}", "slice": 1, "boxes": boxes, "dataset": dataset})
    return items


def drawn(sampler: OneDatasetSampler, count: int) -> list[tuple[int, int]]:
    return [(draw.index, draw.number) for draw in islice(sampler, count)]


ITEMS = slice_items([12, 5, 3], [20, 40, 1])


def test_every_batch_is_of_one_data_set_and_every_data_set_comes_by_its_size() -> None:
    sampler = OneDatasetSampler(ITEMS, batch_size=4, seed=3)
    # 12 + 6, 5 + 2 and 3 + 2 draws (2:1) fill 5, 2 and 2 batches
    assert sampler.batches_per_epoch == 9
    for epoch in range(3):
        draws = drawn(sampler, 36 * (epoch + 1))[36 * epoch :]
        batches = [{ITEMS[i]["dataset"] for i, _ in draws[n : n + 4]} for n in range(0, 36, 4)]
        assert all(len(batch) == 1 for batch in batches)
        assert Counter(next(iter(batch)) for batch in batches) == {0: 5, 1: 2, 2: 2}


def test_positive_slices_are_to_negative_ones_as_two_to_one() -> None:
    items = slice_items([40, 20], [100, 100])
    sampler = OneDatasetSampler(items, batch_size=6, seed=0)
    draws = [items[i] for i, _ in drawn(sampler, sampler.batches_per_epoch * 6)]
    for dataset, lesions in ((0, 40), (1, 20)):
        of_set = [item for item in draws if item["dataset"] == dataset]
        assert len(of_set) == lesions * 1.5
        assert sum(bool(item["boxes"]) for item in of_set) == lesions


def test_draws_are_numbered_repeatable_and_follow_from_the_seed() -> None:
    one, again, other = (drawn(OneDatasetSampler(ITEMS, 4, seed), 100) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert [number for _, number in one] == list(range(100))


def test_data_sets_of_one_size_are_not_drawn_alike() -> None:
    items = slice_items([16, 16], [0, 0])
    draws = [i for i, _ in drawn(OneDatasetSampler(items, 4, 0), 32)]
    assert [i for i in draws if i < 16] != [i - 16 for i in draws if i >= 16]


@pytest.mark.parametrize("start", [0, 4, 20, 36, 48, 144, 7])
def test_started_in_the_middle_it_goes_on_as_if_never_stopped(start: int) -> None:
    whole = drawn(OneDatasetSampler(ITEMS, 4, 5), start + 80)
    resumed = OneDatasetSampler(ITEMS, 4, 5)
    resumed.start = start
    assert drawn(resumed, 80) == whole[start:]
    assert drawn(resumed, 80) == whole[start:]  # and again, as a data loader that is asked for a second epoch


@pytest.mark.parametrize("start", [0, 8, 40])
def test_processes_share_each_batch(start: int) -> None:
    whole = drawn(OneDatasetSampler(ITEMS, 4, 5, start=start), 80)
    parts = [drawn(OneDatasetSampler(ITEMS, 4, 5, start=start, num_replicas=2, rank=r), 40) for r in (0, 1)]
    assert parts[0] == whole[0::2]
    assert parts[1] == whole[1::2]


def test_data_loader_gives_batches_of_one_data_set_that_name_it() -> None:
    items = [{**i, "image": torch.zeros(3, 8, 8), "labels": [1] * len(i["boxes"]), "ignore": []} for i in ITEMS]
    dataset = SeededDataset(items, [], seed=0)
    loader = DataLoader(dataset, batch_size=4, sampler=OneDatasetSampler(items, 4, 0), collate_fn=list)
    for batch in islice(loader, 9):
        assert len(batch) == 4
        assert len({item["dataset"] for item in batch}) == 1


def test_target_names_the_data_set_on_the_student_s_side_too() -> None:
    item = {
        "image": torch.zeros(3, 8, 8),
        "boxes": torch.tensor([[1.0, 1, 5, 5]]),
        "labels": torch.ones(1, dtype=torch.int64),
        "ignore": torch.zeros(0, 4),
        "dataset": 2,
    }
    _, targets, _, _ = prepare_student_batch([item, {**item, "target": item_target(item)}], "cpu")
    for target in targets:
        assert target["dataset"].dtype == torch.int64
        assert target["dataset"].item() == 2
    del item["dataset"]
    assert "dataset" not in item_target(item)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 3, "num_replicas": 2}, "2 processes"),
        ({"start": -1}, "start"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneDatasetSampler(ITEMS, **{"batch_size": 4, "seed": 0, **arguments})


def test_nothing_to_draw_is_the_user_s_mistake() -> None:
    with pytest.raises(InputError, match="no training item"):
        OneDatasetSampler([], 4, 0)
    with pytest.raises(InputError, match="no slice with a lesion"):
        OneDatasetSampler(slice_items([2, 0], [2, 4]), 4, 0)


# joining


def write_datalist(root: Path, dataset: str, boxes: dict[int, str], slices: int = 5) -> Path:
    """A datalist with one record whose slices 1... have a box of a kind each."""
    kinds = [
        {"slice": n, "box": [1, 1, 9, 9], "label": 1, "kind": kind, "lesion_type": -1, "noisy": False}
        for n, kind in boxes.items()
    ]
    record = {
        "id": "000001_01_01_001-005",
        "image": "Images_png/000001_01_01",
        "series_id": "000001_01_01",
        "patient_id": "000001",
        "dataset": dataset,
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [16, 16],
        "slices": [1, slices],
        "annotations": kinds,
    }
    root.mkdir(parents=True, exist_ok=True)
    path = root / "datalist.json"
    path.write_text(json.dumps({"training": [record], "validation": [], "test": []}))
    return path


@pytest.fixture
def two_sets(tmp_path: Path) -> dict[str, dict[str, Any]]:
    write_datalist(tmp_path / "dl", "phantom", {2: "lesion", 3: "mined"})
    write_datalist(tmp_path / "luna", "luna16", {1: "lesion"})
    return {"deeplesion": {"root": tmp_path / "dl", "join": "labelled"}, "luna16": {"root": str(tmp_path / "luna")}}


def test_items_of_all_data_sets_are_joined_and_say_whose_they_are(two_sets) -> None:
    items = joined_slice_items(["luna16", "deeplesion"], two_sets)
    places = [(item["dataset"], item["slice"], len(item["boxes"])) for item in items]
    assert places == [(1, 2, 1), (0, 1, 1), (0, 2, 0), (0, 3, 0), (0, 4, 0), (0, 5, 0)]
    assert len({item["id"] for item in items}) == 2


def test_unlabelled_slices_and_mined_boxes_join_as_told(two_sets) -> None:
    two_sets["deeplesion"] |= {"mined": "ignore", "join": "all"}
    items = [item for item in joined_slice_items(["deeplesion", "luna16"], two_sets) if item["dataset"] == 0]
    assert [(len(i["boxes"]), len(i["ignore"])) for i in items] == [(0, 0), (1, 0), (0, 1), (0, 0), (0, 0)]


def test_collections_may_share_an_expert_or_stay_out(two_sets) -> None:
    alone = joined_slice_items(["deeplesion"], two_sets)
    assert {item["dataset"] for item in alone} == {0}
    assert len(alone) == 1
    two_sets["luna16"]["expert"] = "deeplesion"  # Table IV, "data pooling"
    pooled = joined_slice_items(["deeplesion"], two_sets)
    assert len(pooled) == 6
    assert {item["dataset"] for item in pooled} == {0}
    assert len({item["id"] for item in pooled}) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lits": {"root": "x", "rot": 1}}, "unknown key"),
        ({"lits": {"datalist": "x"}}, "no root"),
        ({}, "data set\\(s\\) lits"),
    ],
)
def test_collections_that_do_not_fit_are_refused(two_sets, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        joined_slice_items(["deeplesion", "lits"], {**two_sets, **change})
