from __future__ import annotations

import torch

from lesion_app.boxes.expert_fusion import fuse_experts


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }


def test_better_expert_keeps_a_lesion_that_both_found_and_each_keeps_its_own() -> None:
    fused = fuse_experts(
        detections(
            [[0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [60, 60, 70, 70]], [0.4, 0.8, 0.3, 0.9], [1, 2, 1, 3]
        )
    )
    assert fused["boxes"].tolist() == [[60, 60, 70, 70], [0, 0, 10, 9], [30, 30, 40, 40]]
    assert fused["experts"].tolist() == [3, 2, 1]
    assert fused["labels"].tolist() == [1, 1, 1]


def test_overlap_up_to_the_threshold_stays() -> None:
    two = detections([[0, 0, 10, 10], [0, 5, 10, 15]], [0.4, 0.8], [1, 2])  # IoU 1/3
    assert len(fuse_experts(two, 0.34)["boxes"]) == 2
    assert len(fuse_experts(two, 0.33)["boxes"]) == 1


def test_first_of_equals_is_kept_and_count_bounds_the_result() -> None:
    found = detections([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], [0.5, 0.5, 0.5], [2, 1, 3])
    assert fuse_experts(found)["experts"].tolist() == [2, 3]
    assert fuse_experts(found, count=1)["experts"].tolist() == [2]


def test_nothing_found_fuses_to_nothing() -> None:
    fused = fuse_experts(detections([], [], []))
    assert fused["boxes"].shape == (0, 4)
    assert len(fused["scores"]) == len(fused["labels"]) == len(fused["experts"]) == 0
