"""What an answer does to the detector's gradient."""

from __future__ import annotations

import pytest
import torch

from lesion_app.data.batches import prepare_student_batch, sum_losses
from lesion_app.data.key_slices import key_slice_items
from lesion_app.labeling.decisions import apply_decisions, decide
from lesion_app.labeling.review_queue import review_queue
from transforms.boxes_to_tensor import BoxesToTensord

FIND = (8.0, 8.0, 24.0, 26.0)


@pytest.fixture
def reviewed(record, annotation):
    """``reviewed(verdict)``: items to train on after the only find of a slice without a lesion got this answer."""

    def make(verdict, join="reviewed", **options):
        records = [record("000001", annotation(5, FIND, scores=(0.7,)))]
        if verdict is not None:
            records = apply_decisions(records, [decide(review_queue(records)[0], verdict, "A")], **options).records
        return key_slice_items(records, mined="ignore", join=join)

    return make


def item_of(items):
    (item,) = items
    image = torch.rand(9, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    return {**BoxesToTensord()(item), "image": image}


def gradient(detector, items):
    """Losses, and the gradient of every parameter, of a batch of one item."""
    torch.manual_seed(0)
    slabs, targets, _, _ = prepare_student_batch([item_of(items)], "cpu")
    losses = detector(slabs, targets)
    detector.zero_grad()
    sum_losses(losses).backward()
    return losses, torch.cat([p.grad.flatten() for p in detector.parameters() if p.grad is not None])


def test_confirmed_find_is_trained_as_a_lesion(reviewed, make_tiny_detector, record, annotation):
    items = reviewed("confirmed")
    assert items[0]["boxes"] == [list(FIND)]
    losses, found = gradient(make_tiny_detector(), items)
    assert losses["loss_box_reg"] > 0
    labelled = key_slice_items([record("000001", annotation(5, FIND, "lesion"))])
    _, expected = gradient(make_tiny_detector(), labelled)
    assert torch.equal(found, expected)


def test_rejected_find_is_always_trained_as_background(reviewed, make_tiny_detector):
    items = reviewed("rejected")
    assert (items[0]["boxes"], items[0]["negatives"]) == ([], [list(FIND)])
    detector = make_tiny_detector(box_samples_per_image=4)
    targets = [{key: item_of(items)[key] for key in ("boxes", "labels", "ignore", "negatives")}]
    proposals, labels, _ = detector.roi_heads._sample([torch.tensor([[40.0, 40, 60, 60]])], targets)
    assert proposals[0].tolist()[-1] == list(FIND)
    assert labels.tolist() == [0, 0]
    losses, _ = gradient(make_tiny_detector(), items)
    assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0


@pytest.mark.parametrize("verdict", ["unknown", None])
def test_find_that_nobody_decided_gives_no_gradient(reviewed, make_tiny_detector, verdict):
    """A proposal in it is neither a lesion nor background; one elsewhere is background."""
    (item,) = reviewed(verdict, join="all")[4:5]
    assert (item["slice"], item["boxes"], item["ignore"]) == (5, [], [list(FIND)])
    assert "negatives" not in item
    detector = make_tiny_detector(box_samples_per_image=8)
    targets = [{key: item_of([item])[key] for key in ("boxes", "labels", "ignore")}]
    inside, outside = [9.0, 9.0, 23.0, 25.0], [40.0, 40.0, 60.0, 60.0]
    proposals, labels, _ = detector.roi_heads._sample([torch.tensor([inside, outside])], targets)
    assert proposals[0].tolist() == [outside]
    assert labels.tolist() == [0]


def test_unknown_find_that_fills_the_image_leaves_nothing_to_learn(record, annotation, make_tiny_detector):
    records = [record("000001", annotation(5, (0.0, 0.0, 64.0, 64.0)))]
    answered = apply_decisions(records, [decide(review_queue(records)[0], "unknown", "A")]).records
    losses, found = gradient(make_tiny_detector(), key_slice_items(answered, join="all")[4:5])
    assert sum(losses.values()) == 0
    assert not found.any()


def test_slice_with_answers_joins_the_training_also_without_a_lesion(reviewed):
    assert [i["slice"] for i in reviewed("rejected")] == [5]
    assert [i["slice"] for i in reviewed("confirmed")] == [5]
    assert reviewed("rejected", join="labelled") == []
    assert reviewed("unknown") == []
    assert reviewed(None) == []
