from __future__ import annotations

import copy

import pytest
import torch

from lesion_app.data.volume_patches import prepare_patch_batch, volume_patch_items
from lesion_app.errors import InputError

RECORD = {
    "id": "lits-000_001-020", "image": "a", "series_id": "lits-000", "patient_id": "lits-000", "dataset": "lits",
    "spacing_mm": [1.0, 1.0, 2.0], "size": [64, 64], "slices": [3, 20],
    "annotations": [
        {"slice": 5, "box": [1, 2, 3, 4], "label": 2, "kind": "lesion", "lesion": 0, "extent": [1, 2, 5, 4, 5, 7]},
        {"slice": 6, "box": [1, 2, 4, 5], "label": 2, "kind": "lesion", "lesion": 0, "extent": [1, 2, 5, 4, 5, 7]},
        {"slice": 9, "box": [8, 8, 9, 9], "label": 1, "kind": "lesion", "extent": [8, 8, 9, 9, 9, 10]},
        {"slice": 4, "box": [8, 8, 9, 9], "label": 1, "kind": "ignore", "extent": [8, 8, 4, 9, 9, 5]},
        {"slice": 4, "box": [1, 1, 9, 9], "label": 1, "kind": "mined"},
    ],
}  # fmt: skip


def test_lesion_of_many_slices_is_one_box_counted_from_the_first_slice() -> None:
    (item,) = volume_patch_items([RECORD])
    assert item["boxes"] == [[1, 2, 2, 4, 5, 4], [8, 8, 6, 9, 9, 7]]
    assert item["labels"] == [2, 1]
    assert item["ignore"] == [[8, 8, 1, 9, 9, 2]]
    assert item["slices"] == [3, 20]


def test_record_without_lesion_stays() -> None:
    (item,) = volume_patch_items([{**RECORD, "annotations": []}])
    assert item["boxes"] == item["labels"] == item["ignore"] == []


def test_lesion_without_extent_is_refused() -> None:
    record = copy.deepcopy(RECORD)
    del record["annotations"][2]["extent"]
    with pytest.raises(InputError, match="lits-000_001-020 has a lesion without a 3D extent"):
        volume_patch_items([record])


def test_batch_is_what_the_network_takes() -> None:
    item = {"image": torch.zeros(1, 4, 8, 8), "boxes": torch.zeros(0, 6), "labels": torch.zeros(0), "id": "x"}
    images, targets, inputs, options = prepare_patch_batch([item], "cpu")
    assert images[0].shape == (1, 4, 8, 8)
    assert set(targets[0]) == {"boxes", "labels"}
    assert inputs == (targets,)
    assert options == {}
