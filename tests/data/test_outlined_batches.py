from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lesion_app.boxes.ellipsoid_masks import ellipsoid_masks
from lesion_app.data.outlined_batches import prepare_outlined_batch
from lesion_app.errors import InputError
from transforms.view import View


def item(**more: object) -> dict:
    return {
        "image": torch.zeros(1, 40, 50),
        "boxes": torch.tensor([[10.0, 10, 30, 26]]),
        "labels": torch.tensor([1]),
        "ignore": torch.zeros(0, 4),
        **more,
    }


def only(batch: list[dict], **settings: object) -> dict[str, Tensor]:
    _, (target,), ((same,),), options = prepare_outlined_batch(batch, "cpu", **settings)
    assert same is target
    assert options == {}
    return target


def test_label_is_outlined_by_its_ellipse() -> None:
    target = only([item()], padding_px=5.0)
    assert torch.equal(target["masks"], ellipsoid_masks(target["boxes"], (40, 50), 5.0))
    assert target["masks"].shape == (1, 40, 50)


def test_mined_box_gets_no_mask() -> None:
    merged = {"boxes": torch.tensor([[10.0, 10, 30, 26], [34, 4, 44, 14]]), "labels": torch.tensor([1, 1])}
    target = only([item(target=merged)])
    assert len(target["boxes"]) == 2
    assert len(target["masks"]) == 1


def test_label_out_of_the_students_view_leaves_the_masks_with_their_boxes() -> None:
    """The first label is shifted out: the one mask left is the second label's, the mined box behind it has none."""
    boxes = torch.tensor([[0.0, 0, 6, 6], [20, 10, 40, 30]])
    merged = {"boxes": torch.cat([boxes, torch.tensor([[30.0, 2, 40, 9]])]), "labels": torch.tensor([1, 2, 1])}
    one = item(
        boxes=boxes, labels=torch.tensor([1, 2]), target=merged, view=View(), student_image=torch.zeros(1, 40, 50),
        student_view=View(1.0, 1.0, -8.0, 0.0),
    )  # fmt: skip
    target = only([one])
    assert target["labels"].tolist() == [2, 1]
    assert torch.equal(target["masks"], ellipsoid_masks(torch.tensor([[12.0, 10, 32, 30]]), (40, 50)))


def test_padding_is_counted_in_original_pixels() -> None:
    one = item(view=View(0.5, 0.5), student_view=View(2.0, 1.0), student_image=torch.zeros(1, 60, 120))
    target = only([one], padding_px=2.0)
    assert torch.equal(target["masks"], ellipsoid_masks(target["boxes"], (60, 120), torch.tensor([4.0, 2.0])))


def test_without_masks() -> None:
    assert "masks" not in only([item()], masks="none")


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match="label_masks is 'recist'"):
        only([item()], masks="recist")
