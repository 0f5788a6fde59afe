from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lesion_app.data.batches import (
    prepare_student_batch,
    prepare_volume_batch,
    student_slab,
    student_target,
    sum_losses,
)
from transforms.view import View


def make_item(boxes, size=(40, 60), **more):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "image": torch.zeros(9, *size),
        "boxes": boxes,
        "labels": torch.arange(1, len(boxes) + 1),
        "ignore": torch.zeros(0, 4),
        "view": View(0.5, 0.5, -4.0, -2.0),
        **more,
    }


def test_labels_alone_are_the_target_where_nothing_was_mined():
    target = student_target(make_item([(1, 2, 30, 40)]))
    assert target["boxes"].tolist() == [[1, 2, 30, 40]]
    assert target["labels"].tolist() == [1]
    assert target["ignore"].shape == (0, 4)


def test_merged_target_is_mapped_from_the_teachers_to_the_students_view():
    item = make_item([], student_image=torch.zeros(9, 100, 100), student_view=View(1.0, 0.25, 10.0, -1.0))
    item["target"] = {
        "boxes": torch.tensor([[6.0, 8.0, 16.0, 28.0]]),
        "labels": torch.tensor([1]),
        "ignore": torch.tensor([[0.0, 10.0, 6.0, 18.0]]),
    }
    target = student_target(item)
    # the box lies at (20, 20, 40, 60) in the original, the region at (8, 24, 20, 40)
    assert_close(target["boxes"], torch.tensor([[30.0, 4.0, 50.0, 14.0]]))
    assert_close(target["ignore"], torch.tensor([[18.0, 5.0, 30.0, 9.0]]))


def test_boxes_are_clipped_to_the_students_slab_and_slivers_are_dropped_with_their_labels():
    boxes = [(-5, -5, 10, 10), (55, 30, 80, 50), (59.5, 0, 70, 20), (70, 0, 80, 20), (0, 39, 20, 60)]
    target = student_target(make_item(boxes))  # the slab has 40 rows and 60 columns
    assert target["boxes"].tolist() == [[0, 0, 10, 10], [55, 30, 60, 40], [0, 39, 20, 40]]
    assert target["labels"].tolist() == [1, 2, 5]


def test_smallest_side_kept_is_the_callers_choice():
    assert len(student_target(make_item([(0, 0, 3, 20)]), min_side_px=4)["boxes"]) == 0
    assert len(student_target(make_item([(0, 0, 4, 20)]), min_side_px=4)["boxes"]) == 1


def test_items_are_not_changed():
    item = make_item([(-5, -5, 10, 10)], student_image=torch.zeros(9, 20, 20), student_view=View(2.0, 2.0))
    item["target"] = {"boxes": item["boxes"], "labels": item["labels"], "ignore": item["ignore"]}
    before = item["boxes"].clone()
    student_target(item)
    assert torch.equal(item["boxes"], before)
    assert torch.equal(item["target"]["boxes"], before)


def test_student_sees_its_own_slab_where_there_is_one():
    assert student_slab(make_item([])).shape == (9, 40, 60)
    assert student_slab(make_item([], student_image=torch.zeros(9, 20, 30))).shape == (9, 20, 30)


def test_trainer_gets_slabs_targets_and_the_targets_again_for_the_networks_call():
    batch = [make_item([(1, 2, 30, 40)]), make_item([], size=(16, 24))]
    slabs, targets, args, kwargs = prepare_student_batch(batch, "cpu", True, whatever=1)
    assert [tuple(s.shape) for s in slabs] == [(9, 40, 60), (9, 16, 24)]
    assert [len(t["boxes"]) for t in targets] == [1, 0]
    assert args[0] is targets
    assert kwargs == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trainer_gets_everything_on_its_device():
    slabs, targets, _, _ = prepare_student_batch([make_item([(1, 2, 30, 40)])], "cuda")
    assert {v.device.type for v in (*slabs, *targets[0].values())} == {"cuda"}


def test_evaluator_gets_items_and_targets_without_their_volumes():
    items = [{"image": torch.zeros(3, 4, 4), "id": "a", "annotations": []}]
    inputs, targets = prepare_volume_batch(items, "cpu")
    assert inputs[0] is items[0]
    assert targets == [{"id": "a", "annotations": []}]


def test_loss_is_the_sum_and_carries_the_gradient():
    weight = torch.tensor(2.0, requires_grad=True)
    loss = sum_losses({"a": weight * 3, "b": weight**2})
    loss.backward()
    assert loss.item() == 10.0
    assert weight.grad is not None
    assert weight.grad.item() == 7.0
