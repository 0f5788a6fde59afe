"""The student's view: drawn reproducibly, mapped exactly."""

from __future__ import annotations

import pytest
import torch

from transforms import RandStudentView, RandStudentViewd, View

TEACHER = View(0.9, 0.9, -20.0, -10.0)


def item(image):
    return {"image": image, "view": TEACHER, "boxes": torch.tensor([[50.0, 40.0, 60.0, 52.0]])}


def square(height=120, width=150):
    image = torch.zeros(9, height, width)
    image[:, 40:52, 50:60] = 200
    return image


@pytest.mark.parametrize("seed", range(20))
def test_bright_square_lands_where_the_views_say(seed):
    out = RandStudentViewd().set_random_state(seed)(item(square()))
    student = out["student_image"][4]
    ys, xs = torch.arange(student.shape[0]) + 0.5, torch.arange(student.shape[1]) + 0.5
    found = torch.stack([(student.sum(0) * xs).sum(), (student.sum(1) * ys).sum()]) / student.sum()
    expected = out["student_view"].apply(out["view"].invert(out["boxes"]))[0]
    assert torch.allclose(found, (expected[:2] + expected[2:]) / 2, atol=0.1)
    back = out["view"].apply(out["student_view"].invert(expected[None]))
    torch.testing.assert_close(back, out["boxes"], atol=1e-3, rtol=0)


def test_teacher_image_view_and_boxes_stay():
    image = square()
    out = RandStudentViewd().set_random_state(3)(item(image))
    assert out["image"] is image
    assert torch.equal(image, square())
    assert out["view"] == TEACHER
    assert out["boxes"].tolist() == [[50.0, 40.0, 60.0, 52.0]]


def test_scale_and_shift_cover_their_ranges():
    draw = RandStudentView().set_random_state(0)
    image = torch.ones(1, 100, 200)
    views = [draw(image)[1] for _ in range(400)]
    heights = [view.scale_y for view in views]
    assert min(heights) < 0.83
    assert max(heights) > 1.17
    assert all(0.8 <= s <= 1.2 for s in heights)
    assert all(abs(view.scale_x - view.scale_y) <= 0.5 / 100 + 0.5 / 200 for view in views)
    assert {view.shift_x for view in views} == {view.shift_y for view in views} == set(range(-8, 9))


def test_uncovered_area_is_air():
    draw = RandStudentView(scale_range=(1.0, 1.0), fill_value=3.0).set_random_state(1)
    image = torch.full((2, 30, 40), 9.0)
    student, view = draw(image)
    assert (view.shift_x, view.shift_y) != (0, 0)
    dx, dy = int(view.shift_x), int(view.shift_y)
    covered = torch.zeros(30, 40, dtype=torch.bool)
    covered[max(0, dy) : 30 + min(0, dy), max(0, dx) : 40 + min(0, dx)] = True
    assert (student[:, covered] == 9).all()
    assert (student[:, ~covered] == 3).all()


def test_same_seed_same_view_bit_for_bit():
    image = torch.rand(9, 64, 80, generator=torch.Generator().manual_seed(0))
    first, second = (RandStudentViewd().set_random_state(7) for _ in range(2))
    for _ in range(3):
        a, b = first(item(image)), second(item(image))
        assert a["student_view"] == b["student_view"]
        assert torch.equal(a["student_image"], b["student_image"])
    assert RandStudentViewd().set_random_state(8)(item(image))["student_view"] != a["student_view"]


def test_without_drawing_the_student_sees_the_teachers_view():
    out = RandStudentViewd(prob=0.0)(item(square()))
    assert out["student_view"] == TEACHER
    assert torch.equal(out["student_image"], out["image"])


def test_last_draw_can_be_repeated():
    draw = RandStudentView().set_random_state(5)
    _, view = draw(square())
    assert draw(square(), randomize=False)[1] == view


def test_tiny_image_survives_a_shift_larger_than_itself():
    draw = RandStudentView(max_shift_px=50).set_random_state(0)
    for _ in range(20):
        student, _ = draw(torch.ones(1, 3, 3))
        assert student.shape[1] >= 2


@pytest.mark.parametrize("wrong", [{"scale_range": (0.0, 1.0)}, {"scale_range": (1.2, 0.8)}, {"max_shift_px": -1}])
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(ValueError, match="scales must be positive"):
        RandStudentView(**wrong)
