from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lesion_app.networks.matching_nd import match_candidates, overlap


def target(boxes: list, labels: list[int] | None = None, ignore: list | None = None, dim: int = 2) -> dict[str, Tensor]:
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2 * dim),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
    }
    if ignore is not None:
        found["ignore"] = torch.tensor(ignore, dtype=torch.float32).reshape(-1, 2 * dim)
    return found


def slow_match(candidates: Tensor, one: dict[str, Tensor], fg: float, bg: float) -> tuple[list[int], list[int]]:
    """The rules candidate by candidate, without the claims of best candidates."""
    labels, rows = [], []
    for candidate in candidates:
        ious = [float(overlap(candidate[None], box[None])) for box in one["boxes"]]
        best = max(ious)
        row = ious.index(best)
        label = int(one["labels"][row]) if best >= fg else (0 if best < bg else -1)
        if label == 0:
            for region in one["ignore"]:
                if float(overlap(candidate[None], region[None], "iobb")) >= 0.5:
                    label = -1
                if float(overlap(candidate[None], region[None])) >= bg:
                    label = -1
        labels.append(label)
        rows.append(row)
    return labels, rows


@pytest.mark.parametrize("dim", [2, 3])
def test_equal_to_the_slow_rules(dim: int) -> None:
    rng = torch.Generator().manual_seed(dim)
    low = torch.rand(200, dim, generator=rng) * 20
    candidates = torch.cat([low, low + 4 + torch.rand(200, dim, generator=rng) * 8], dim=1)
    one = {"boxes": candidates[:4] + 0.7, "labels": torch.tensor([1, 2, 3, 1]), "ignore": candidates[10:13]}
    labels, rows = match_candidates(candidates, one, 0.4, 0.15, best_is_positive=False)
    expected, of = slow_match(candidates, one, 0.4, 0.15)
    assert labels.tolist() == expected
    assert rows[labels > 0].tolist() == [r for r, label in zip(of, expected) if label > 0]
    assert {-1, 0, 1} <= set(expected)


def test_best_candidate_of_a_box_is_positive_however_far_off() -> None:
    candidates = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    labels, _ = match_candidates(candidates, target([[4, 4, 5, 5]], [2]), 0.5, 0.1)
    assert labels.tolist() == [2, 0]
    labels, _ = match_candidates(candidates, target([[4, 4, 5, 5]], [2]), 0.5, 0.1, best_is_positive=False)
    assert labels.tolist() == [0, 0]


def test_of_two_boxes_with_one_best_candidate_the_closer_one_gets_it() -> None:
    candidates = torch.tensor([[0.0, 0, 10, 10]])
    labels, rows = match_candidates(candidates, target([[0, 0, 3, 3], [0, 0, 9, 9]], [1, 2]), 0.95, 0.1)
    assert (labels.tolist(), rows.tolist()) == ([2], [1])


def test_positive_in_an_ignored_region_stays() -> None:
    candidates = torch.tensor([[0.0, 0, 10, 10], [1, 1, 4, 4]])
    labels, _ = match_candidates(candidates, target([[0, 0, 10, 10]], ignore=[[0, 0, 20, 20]]), 0.5, 0.1)
    assert labels.tolist() == [1, -1]


def test_beyond_the_image_only_the_part_within_counts() -> None:
    candidates = torch.tensor([[-8.0, -8, 10, 10], [26, 4, 34, 12], [31, 4, 43, 12], [12, 12, 20, 20]])
    one = target([], ignore=[[0, 0, 10, 10]])
    labels, _ = match_candidates(candidates, one, 0.5, 0.1, size=(32, 32))
    assert labels.tolist() == [-1, 0, -1, 0]  # ignored, partly outside, in the padding, background


def test_image_without_boxes_is_background() -> None:
    labels, rows = match_candidates(torch.rand(5, 6).sort(dim=1).values, target([], dim=3), 0.5, 0.1)
    assert labels.tolist() == rows.tolist() == [0] * 5
    labels, rows = match_candidates(torch.zeros(0, 6), target([], dim=3), 0.5, 0.1)
    assert len(labels) == len(rows) == 0
