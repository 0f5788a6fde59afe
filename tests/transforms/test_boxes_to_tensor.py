"""Boxes and labels leave the record as tensors of fixed type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lesion_app.errors import InputError
from transforms import BoxesToTensor, BoxesToTensord


@pytest.mark.parametrize("empty", [[], [[]], np.empty((0, 4)), torch.empty(0)])
def test_no_boxes_become_zero_by_four(empty):
    boxes = BoxesToTensor()(empty)
    assert boxes.shape == (0, 4)
    assert boxes.dtype == torch.float32


def test_record_becomes_tensors_and_lacks_stay_lacks():
    item = BoxesToTensord()({"boxes": [[1, 2, 3, 4.5]], "ignore": [], "labels": [1]})
    assert item["boxes"].tolist() == [[1.0, 2.0, 3.0, 4.5]]
    assert item["ignore"].shape == (0, 4)
    assert item["labels"].dtype == torch.int64
    assert "truth_boxes" not in item
    assert BoxesToTensord()({"labels": []})["labels"].shape == (0,)


def test_lack_is_an_error_where_asked_for():
    with pytest.raises(KeyError):
        BoxesToTensord(keys="boxes", allow_missing_keys=False)({"labels": [1]})


@pytest.mark.parametrize("wrong", [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, float("nan")]], "box", None, [[1, 2], [3]]])
def test_what_is_no_box_is_an_input_error(wrong):
    with pytest.raises(InputError, match="four finite numbers"):
        BoxesToTensor()(wrong)
