from __future__ import annotations

import pytest
import torch

from lesion_app.mining.merging import merge_with_ground_truth
from lesion_app.mining.selection import Detections


def mined(boxes: list[list[float]]) -> Detections:
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "scores": torch.full((len(boxes),), 0.95),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }


def labels() -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[0.0, 0, 5, 5]]),
        "labels": torch.tensor([1]),
        "ignore": torch.tensor([[9.0, 9, 12, 12]]),
    }


def test_add_makes_mined_boxes_positives() -> None:
    merged = merge_with_ground_truth(labels(), mined([[20, 20, 30, 30]]), "add")
    assert merged["boxes"].tolist() == [[0, 0, 5, 5], [20, 20, 30, 30]]
    assert merged["labels"].tolist() == [1, 1]
    assert merged["ignore"].tolist() == [[9, 9, 12, 12]]


def test_ignore_leaves_labels_and_joins_the_ignore_regions() -> None:
    merged = merge_with_ground_truth(labels(), mined([[20, 20, 30, 30]]), "ignore")
    assert merged["boxes"].tolist() == [[0, 0, 5, 5]]
    assert merged["ignore"].tolist() == [[9, 9, 12, 12], [20, 20, 30, 30]]


def test_ignore_works_for_a_target_without_regions() -> None:
    target = {k: v for k, v in labels().items() if k != "ignore"}
    assert merge_with_ground_truth(target, mined([[1, 1, 2, 2]]), "ignore")["ignore"].tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("policy", ["add", "ignore"])
def test_nothing_mined_changes_nothing_and_the_input_is_never_touched(policy: str) -> None:
    before = labels()
    merged = merge_with_ground_truth(before, mined([]), policy)  # type: ignore[arg-type]
    for key, value in labels().items():
        assert torch.equal(merged[key], value)
    merge_with_ground_truth(before, mined([[1, 1, 2, 2]]), policy)  # type: ignore[arg-type]
    assert torch.equal(before["boxes"], labels()["boxes"])
    assert torch.equal(before["ignore"], labels()["ignore"])


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="'forget'"):
        merge_with_ground_truth(labels(), mined([]), "forget")  # type: ignore[arg-type]
