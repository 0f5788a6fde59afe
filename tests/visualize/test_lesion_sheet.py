"""The contact sheet: which slices, which boxes, which words."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.visualize.lesion_sheet import draw_lesion_sheet
from lesion_app.visualize.palette import PREDICTED, PREDICTED_ELSEWHERE, TRUTH

SPACING = (3.0, 3.0, 5.0)
BEST = Tracklet((5, 6), ((36.0, 40.0, 44.0, 48.0), (37.0, 41.0, 43.0, 47.0)), (0.6, 0.9))
SAME_SLICE = Tracklet((6,), ((80.0, 40.0, 88.0, 46.0),), (0.5,))
ELSEWHERE = Tracklet((1, 2), ((60.0, 30.0, 70.0, 38.0), (60.0, 30.0, 70.0, 38.0)), (0.7, 0.2))


def words(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.texts] + [t.get_text() for a in figure.axes for t in a.texts]


def tile_titles(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.texts if t.get_text().startswith("slice ")]


def boxes(figure: Figure, style, tile: int) -> list[tuple[float, float, float, float]]:
    """Boxes drawn in a style on the n-th tile (axes with an image, in the order of drawing)."""
    axes = [a for a in figure.axes if a.images][tile]
    width = style.width
    found = []
    for patch in axes.patches:
        if not isinstance(patch, Rectangle) or patch.get_linewidth() != width:
            continue
        if np.allclose(patch.get_edgecolor()[:3], [int(style.color[i : i + 2], 16) / 255 for i in (1, 3, 5)]):
            x, y = patch.get_xy()
            found.append((x, y, x + patch.get_width(), y + patch.get_height()))
    return found


def test_tiles_are_key_slices_best_first_and_lesions_of_one_slice_share_a_tile(chest, tmp_path, drawn):
    out = draw_lesion_sheet(chest, [SAME_SLICE, ELSEWHERE, BEST], tmp_path / "sheet.png", spacing_mm=SPACING)
    assert out.stat().st_size > 10_000
    assert tile_titles(drawn[0]) == ["slice 6", "slice 1"]
    assert boxes(drawn[0], PREDICTED, 0) == [BEST.boxes[1], SAME_SLICE.boxes[0]]
    assert boxes(drawn[0], PREDICTED, 1) == [ELSEWHERE.boxes[0]]
    assert "1  0.90" in words(drawn[0])
    assert "3  0.50" in words(drawn[0])


def test_each_tile_gets_the_window_of_its_lesion(chest, tmp_path, drawn):
    draw_lesion_sheet(chest, [BEST, ELSEWHERE], tmp_path / "a.png", spacing_mm=SPACING)
    assert [w for w in words(drawn[0]) if w in ("lung", "soft tissue")] == ["lung", "soft tissue"]
    draw_lesion_sheet(chest, [BEST], tmp_path / "b.png", spacing_mm=SPACING, window=(300, 1500))
    assert "C 300 W 1500" in words(drawn[1])


def test_a_lesion_whose_key_slice_is_elsewhere_is_thin(chest, tmp_path, drawn):
    other = Tracklet((5,), ((80.0, 40.0, 88.0, 46.0),), (0.8,))
    draw_lesion_sheet(chest, [BEST, other], tmp_path / "sheet.png", spacing_mm=SPACING)
    assert boxes(drawn[0], PREDICTED, 1) == [other.boxes[0]]
    assert boxes(drawn[0], PREDICTED_ELSEWHERE, 1) == [BEST.boxes[0]]


def test_truth_is_dashed_on_its_own_slice_only(chest, tmp_path, drawn):
    box = (35.0, 39.0, 45.0, 49.0)
    draw_lesion_sheet(chest, [BEST, ELSEWHERE], tmp_path / "s.png", spacing_mm=SPACING, truth=[(6, box), (3, box)])
    assert boxes(drawn[0], TRUTH, 0) == [box]
    assert boxes(drawn[0], TRUTH, 1) == []
    assert TRUTH.dashes is not None
    assert "truth (2 boxes)" in words(drawn[0])


def test_lesions_below_the_threshold_are_left_out_and_the_others_keep_their_numbers(chest, tmp_path, drawn):
    draw_lesion_sheet(chest, [SAME_SLICE, BEST, ELSEWHERE], tmp_path / "s.png", spacing_mm=SPACING, min_score=0.7)
    assert tile_titles(drawn[0]) == ["slice 6", "slice 1"]
    assert boxes(drawn[0], PREDICTED, 0) == [BEST.boxes[1]]
    assert "2 lesions with a score of 0.70 or more" in words(drawn[0])


def test_no_lesion_is_said_plainly_over_evenly_spaced_slices(chest, tmp_path, drawn):
    draw_lesion_sheet(chest, [SAME_SLICE], tmp_path / "s.png", spacing_mm=SPACING, min_score=0.55, max_tiles=4)
    assert tile_titles(drawn[0]) == ["slice 1", "slice 3", "slice 5", "slice 7"]
    assert "No lesion found above score 0.55: evenly spaced slices are shown" in words(drawn[0])


def test_more_key_slices_than_tiles_are_cut_and_counted(chest, tmp_path, drawn):
    lesions = [Tracklet((z,), ((60.0, 30.0, 70.0, 38.0),), (0.9 - z / 10,)) for z in range(8)]
    draw_lesion_sheet(chest, lesions, tmp_path / "s.png", spacing_mm=SPACING, max_tiles=3)
    assert tile_titles(drawn[0]) == ["slice 0", "slice 1", "slice 2"]
    assert any("3 of them with their key slice among those shown" in w for w in words(drawn[0]))


def test_slice_numbers_follow_the_files(chest, tmp_path, drawn):
    draw_lesion_sheet(chest, [BEST], tmp_path / "s.png", spacing_mm=SPACING, first_slice_number=100)
    assert tile_titles(drawn[0]) == ["slice 106"]


def test_head_is_up_when_slices_run_from_the_feet(chest, tmp_path, drawn):
    for name, axes in (("a.png", "LPS"), ("b.png", "LPI"), ("c.png", None)):
        draw_lesion_sheet(chest, [BEST], tmp_path / name, spacing_mm=SPACING, axes=axes)
    scouts = [[a for a in f.axes if a.images][-1] for f in drawn]
    assert [a.get_ylim() for a in scouts] == [(0, 8), (8, 0), (8, 0)]
    assert {"R", "L", "H", "F"} <= set(words(drawn[0]))
    assert not {"R", "L", "H", "F"} & set(words(drawn[2]))


def test_a_box_beyond_the_body_is_not_cropped_away(chest, tmp_path, drawn):
    outside = Tracklet((6,), ((2.0, 70.0, 12.0, 90.0),), (0.9,))
    draw_lesion_sheet(chest, [outside], tmp_path / "s.png", spacing_mm=SPACING)
    axes = next(a for a in drawn[0].axes if a.images)
    assert axes.get_xlim()[0] <= 2
    assert axes.get_ylim()[0] >= 90


@pytest.mark.parametrize("depth", [1, 2])
def test_a_volume_of_one_slice_works(chest, tmp_path, depth):
    lesion = Tracklet((0,), ((60.0, 30.0, 70.0, 38.0),), (0.9,))
    draw_lesion_sheet(chest[:depth], [lesion], tmp_path / "a.png", spacing_mm=SPACING)
    draw_lesion_sheet(chest[:depth], [], tmp_path / "b.png", spacing_mm=SPACING)


def test_an_extreme_shape_does_not_make_an_endless_page(tmp_path, drawn):
    volume = np.full((3, 400, 12), 40, np.int16)
    draw_lesion_sheet(volume, [], tmp_path / "s.png", spacing_mm=(1.0, 1.0, 1.0))
    assert drawn[0].get_size_inches().max() < 25


def test_a_volume_of_air_works(tmp_path):
    draw_lesion_sheet(np.full((4, 40, 40), -1024, np.int16), [], tmp_path / "s.png", spacing_mm=SPACING)


def test_nonsense_is_refused_before_anything_is_written(chest, tmp_path):
    late = Tracklet((8,), ((0.0, 0.0, 1.0, 1.0),), (0.9,))
    for arguments in (
        {"lesions": [late]},
        {"truth": [(-1, (0, 0, 1, 1))]},
        {"max_tiles": 0},
        {"window": "bone"},
        {"volume_hu": chest[0]},
        {"axes": "RAX"},
    ):
        settings = {"volume_hu": chest, "lesions": [BEST], "spacing_mm": SPACING, **arguments}
        with pytest.raises(ValueError, match=r"volume|max_tiles|window|three letters"):
            draw_lesion_sheet(out=tmp_path / "s.png", **settings)
    assert not list(tmp_path.iterdir())


def test_the_same_input_gives_the_same_file(chest, tmp_path):
    files = [
        draw_lesion_sheet(chest, [BEST, ELSEWHERE], tmp_path / n, spacing_mm=SPACING).read_bytes()
        for n in ("a.png", "b.png")
    ]
    assert files[0] == files[1]
