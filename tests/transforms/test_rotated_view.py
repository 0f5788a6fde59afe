"""The benchmark's augmentation moves image and boxes together."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage

from lesion_app.data.seeded_sampling import SeededDataset
from transforms.rotated_view import RandRotatedView, RandRotatedViewd
from transforms.view import View

KEEP = {"padding_px": 0, "max_angle_deg": 0.0, "max_crop_px": 0}


def square(size, x1, y1, x2, y2):
    image = torch.zeros(1, size, size)
    image[0, y1:y2, x1:x2] = 100.0
    return image


def bright(view, at=None):
    """Box around what is at least half as bright as the square, of its mirror images the one amid ``at``."""
    parts, _ = ndimage.label(view[0].numpy() > 50)
    chosen = 1
    if at is not None:
        x1, y1, x2, y2 = at
        chosen = parts[int((y1 + y2) / 2), int((x1 + x2) / 2)]
        assert chosen
    rows, columns = ndimage.find_objects(parts)[chosen - 1]
    return [columns.start, rows.start, columns.stop, rows.stop]


def fixed(angle_deg, crop, **options):
    draw = RandRotatedView(**options)
    draw._angle, draw._crop = math.radians(angle_deg), crop
    return draw


def test_nothing_drawn_is_a_rescale():
    image = square(64, 10, 20, 30, 36)
    view, boxes = fixed(0, 0, **{**KEEP, "size_px": (128, 64)})(image, {"boxes": torch.tensor([[10.0, 20, 30, 36]])},
                                                               randomize=False)  # fmt: skip
    assert view.shape == (1, 128, 64)
    assert boxes["boxes"].tolist() == [[10, 40, 30, 72]]
    assert bright(view) == [10, 40, 30, 72]


def test_padding_and_crop_change_the_scale():
    box = torch.tensor([[40.0, 40, 60, 60]])
    image = square(100, 40, 40, 60, 60)
    view, boxes = fixed(0, 10, padding_px=60, size_px=(100, 100))(image, {"b": box}, randomize=False)
    # 100 + 2 * (60 - 10) = 200 px are shown on 100
    assert boxes["b"].tolist() == [[45, 45, 55, 55]]
    assert bright(view, [45, 45, 55, 55]) == [45, 45, 55, 55]


def test_padding_continues_the_image():
    image = torch.arange(20.0).expand(1, 20, 20).clone()
    view, _ = fixed(0, 0, padding_px=5, size_px=(30, 30))(image, randomize=False)
    assert view[0, 7].tolist() == pytest.approx([*range(4, -1, -1), *range(20), *range(19, 14, -1)], abs=1e-3)


@pytest.mark.parametrize("angle", [-30, -10, 20, 90])
def test_boxes_enclose_what_was_rotated(angle):
    box = (60, 20, 90, 60)
    image = square(120, *box)
    draw = fixed(angle, 0, padding_px=40, size_px=(200, 200))
    view, boxes = draw(image, {"boxes": torch.tensor([[float(v) for v in box]])}, randomize=False)
    found = boxes["boxes"][0].tolist()
    assert found == pytest.approx(bright(view, found), abs=1.6)


def test_positive_angles_turn_clockwise():
    draw = fixed(90, 0, padding_px=0, size_px=(100, 100))
    _, boxes = draw(torch.zeros(1, 100, 100), {"b": torch.tensor([[60.0, 45, 80, 55]])}, randomize=False)
    assert boxes["b"][0].tolist() == pytest.approx([45, 60, 55, 80])  # right of the centre comes below it


@pytest.mark.parametrize("angle", [-25, 15, 30])
def test_ellipse_stays_tight_around_a_round_lesion(angle):
    y, x = torch.meshgrid(torch.arange(160) + 0.5, torch.arange(160) + 0.5, indexing="ij")
    image = 100.0 * ((((x - 90) / 30) ** 2 + ((y - 70) / 14) ** 2) < 1)[None]
    box = {"b": torch.tensor([[60.0, 56, 120, 84]])}
    draw = fixed(angle, 0, padding_px=0, size_px=(160, 160), rotated_box="ellipse")
    view, tight = draw(image, box, randomize=False)
    found = tight["b"][0].tolist()
    assert found == pytest.approx(bright(view, found), abs=1.6)
    draw.rotated_box = "corners"
    _, wide = draw(image, box, randomize=False)
    assert (wide["b"][0, :2] < tight["b"][0, :2]).all()
    assert (wide["b"][0, 2:] > tight["b"][0, 2:]).all()


def test_a_square_grows_by_the_papers_angle_at_most():
    draw = fixed(30, 0, padding_px=0, size_px=(100, 100))
    _, boxes = draw(torch.zeros(1, 100, 100), {"b": torch.tensor([[40.0, 40, 60, 60]])}, randomize=False)
    side = (boxes["b"][0, 2] - boxes["b"][0, 0]) / 20
    assert float(side) == pytest.approx(math.cos(math.pi / 6) + math.sin(math.pi / 6), abs=1e-4)


def item(image, boxes, labels, ignore=()):
    return {
        "image": image,
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels),
        "ignore": torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4),
        "view": View(),
    }


def test_cut_lesions_become_ignored_regions_and_hidden_ones_vanish():
    step = RandRotatedViewd(size_px=(80, 80), **KEEP)
    step.draw = fixed(0, 10, padding_px=0, size_px=(80, 80))
    step.draw.randomize = lambda data=None: None
    boxes = [[2, 30, 12, 40], [30, 30, 50, 40], [0, 0, 9, 9], [84, 30, 96, 40]]
    out = step(item(torch.zeros(1, 100, 100), boxes, [1, 2, 3, 4], [[0, 50, 15, 60], [0, 0, 5, 5]]))
    # cut by 10 px on each side: 2 of 10 px are left of the first, all of the second, 6 of 12 px of the last
    assert out["boxes"].tolist() == [[20, 20, 40, 30], [74, 20, 80, 30]]
    assert out["labels"].tolist() == [2, 4]
    assert out["ignore"].tolist() == [[0, 40, 5, 50], [0, 20, 2, 30]]
    assert "view" not in out


def test_an_image_without_boxes_is_fine_and_seeds_decide():
    step = RandRotatedViewd()
    data = SeededDataset([item(torch.rand(3, 90, 110), [], [])], [step], seed=3)
    again = SeededDataset([data.data[0]], [RandRotatedViewd()], seed=3)
    other = SeededDataset([data.data[0]], [RandRotatedViewd()], seed=4)
    assert data[0]["image"].shape == (3, 240, 240)
    assert data[0]["boxes"].shape == (0, 4)
    assert torch.equal(data[0]["image"], again[0]["image"])
    assert not torch.equal(data[0]["image"], other[0]["image"])


def test_draws_stay_within_their_ranges():
    draw = RandRotatedView(max_angle_deg=30, max_crop_px=4)
    draw.set_random_state(seed=0)
    drawn = []
    for _ in range(200):
        draw.randomize()
        drawn.append((math.degrees(draw._angle), draw._crop))
    assert max(abs(a) for a, _ in drawn) <= 30
    assert min(a for a, _ in drawn) < -25
    assert {c for _, c in drawn} == {0, 1, 2, 3, 4}
    never = RandRotatedView(prob=0.0, size_px=(50, 50))
    view, _ = never(torch.full((1, 50, 50), 7.0))
    assert torch.allclose(view, torch.full((1, 50, 50), 7.0))


@pytest.mark.parametrize(
    "options", [{"padding_px": -1}, {"max_angle_deg": 200}, {"size_px": (0, 4)}, {"rotated_box": "hull"}]
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        RandRotatedView(**options)


def test_a_crop_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        fixed(0, 64, padding_px=0)(torch.zeros(1, 60, 60), randomize=False)
