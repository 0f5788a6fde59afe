"""HU to intensities."""

from __future__ import annotations

import pytest
import torch

from transforms import ScaleHU, ScaleHUd


def test_literal_values_and_clamp():
    hu = torch.tensor([-32768, -1024, 0, 3071, 32767], dtype=torch.int16)
    scaled = ScaleHU()(hu)
    assert scaled.dtype == torch.float32
    assert scaled.tolist() == pytest.approx([0.0, 0.0, 1024 * 255 / 4095, 255.0, 255.0])


def test_input_is_left_alone():
    image = torch.tensor([[-2000.0, 40.0]])
    ScaleHUd()({"image": image})
    assert image.tolist() == [[-2000.0, 40.0]]


def test_empty_range_is_refused():
    with pytest.raises(ValueError, match="below"):
        ScaleHU(100, 100)
