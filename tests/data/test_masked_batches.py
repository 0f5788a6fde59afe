"""The readers' masks reach the network with the boxes they belong to."""

from __future__ import annotations

from typing import Any

import torch

from lesion_app.data.masked_batches import prepare_masked_batch
from transforms.view import View

BOXES = torch.tensor([[1.0, 1.0, 4.0, 4.0], [10.0, 2.0, 14.0, 8.0], [5.0, 9.0, 9.0, 12.0]])


def outlined(boxes: torch.Tensor, height: int = 16, width: int = 16) -> torch.Tensor:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = 1
    return masks


def item(**more: Any) -> dict[str, Any]:
    return {
        "image": torch.zeros(1, 16, 16),
        "view": View(),
        "boxes": BOXES,
        "labels": torch.tensor([1, 2, 1]),
        "ignore": torch.empty(0, 4),
        "masks": outlined(BOXES),
        **more,
    }


def extents(masks: torch.Tensor) -> list[list[int]]:
    found = []
    for mask in masks:
        rows, columns = torch.nonzero(mask, as_tuple=True)
        found.append([int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1])
    return found


def test_masks_stand_in_the_order_of_the_boxes_in_the_students_view():
    moved = item(student_image=torch.zeros(1, 32, 32), student_view=View(2.0, 2.0, -4.0, 2.0))
    slabs, (target,), (again,), _ = prepare_masked_batch([moved], "cpu")
    # the first box is cut: only 4 of its 6 px stay
    assert slabs[0].shape == (1, 32, 32)
    assert target is again[0]
    assert extents(target["masks"]) == target["boxes"].int().tolist()


def test_box_that_leaves_the_view_takes_its_mask_along():
    away = item(student_image=torch.zeros(1, 16, 16), student_view=View(1.0, 1.0, -4.0, 0.0))
    _, (target,), _, _ = prepare_masked_batch([away], "cpu")
    assert target["labels"].tolist() == [2, 1]
    assert extents(target["masks"]) == target["boxes"].int().tolist()


def test_mined_boxes_stand_behind_and_have_no_mask():
    mined = torch.cat([BOXES, torch.tensor([[12.0, 12.0, 15.0, 15.0]])])
    merged = {"boxes": mined, "labels": torch.tensor([1, 2, 1, 1]), "ignore": torch.empty(0, 4)}
    _, (target,), _, _ = prepare_masked_batch([item(target=merged)], "cpu")
    assert target["boxes"].shape == (4, 4)
    assert target["masks"].shape == (3, 16, 16)


def test_item_without_masks_gives_a_target_without():
    plain = {k: v for k, v in item().items() if k != "masks"}
    _, targets, _, _ = prepare_masked_batch([plain, item()], "cpu")
    assert "masks" not in targets[0]
    assert targets[1]["masks"].dtype == torch.uint8
