"""Lesions as the writers take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lesion_app.clinical.lesion_boxes import lesion_boxes
from lesion_app.errors import InputError


def document(boxes: dict[int, tuple[float, ...]], key: int) -> dict[str, Any]:
    slices = [{"axial_slice": z, "box": list(box), "score": 0.5} for z, box in boxes.items()]
    entry = {"id": 1, "score": 0.5, "key_slice": key, "slices": slices}
    return {"grid": {"size_xyz": [100, 80, 20]}, "lesions": [entry]}


def test_a_skipped_slice_gets_the_box_between_its_neighbours() -> None:
    [lesion] = lesion_boxes(document({3: (10, 10, 20, 20), 5: (12, 14, 30, 24)}, 3))
    assert list(lesion.boxes) == [3, 4, 5]
    assert lesion.boxes[4] == (11, 12, 25, 22)


def test_boxes_end_at_the_border_of_the_image() -> None:
    [lesion] = lesion_boxes(document({0: (-2.5, 70, 8, 83)}, 0))
    assert lesion.key_box == (0, 70, 8, 80)


def test_sides_and_height_are_millimetres() -> None:
    [lesion] = lesion_boxes(document({0: (0, 0, 10, 20), 1: (0, 0, 50, 60)}, 0))
    assert lesion.key_sides_mm((2.0, 0.5, 3.0)) == (20.0, 10.0)
    assert lesion.height_mm((2.0, 0.5, 3.0)) == 6.0


def test_the_end_faces_hold_all_corners_of_all_boxes() -> None:
    [lesion] = lesion_boxes(document({3: (10, 10, 20, 20), 4: (12, 8, 30, 18)}, 3))
    faces = lesion.end_faces_lps(np.diag([2.0, 1.0, 3.0, 1.0]))
    assert faces.shape == (2, 5, 3)
    np.testing.assert_array_equal(faces[:, 0], faces[:, 4])
    np.testing.assert_allclose(faces.min(axis=(0, 1)), [19.0, 7.5, 7.5])
    np.testing.assert_allclose(faces.max(axis=(0, 1)), [59.0, 19.5, 13.5])


@pytest.mark.parametrize("boxes", [{3: (110, 10, 120, 20)}, {25: (10, 10, 20, 20)}])
def test_a_lesion_outside_its_own_grid_is_refused(boxes: dict[int, tuple[float, ...]]) -> None:
    with pytest.raises(InputError, match="lesion 1"):
        lesion_boxes(document(boxes, min(boxes)))
