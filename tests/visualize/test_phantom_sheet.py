"""The data sheet: seeded choice, and what counts as unlabelled."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lesion_app.visualize.palette import IGNORED, LABELLED, UNLABELLED
from lesion_app.visualize.phantom_sheet import draw_data_sheet


def record(name: str = "a", truth=None, annotations=None):
    made = {
        "id": name,
        "patient_id": "PATIENT",
        "spacing_mm": [0.8, 0.8, 2.0],
        "annotations": annotations or [{"slice": 12, "box": [60, 30, 70, 38], "label": 1, "kind": "lesion"}],
    }
    return made if truth is None else {**made, "truth": truth}


def kinds(figure) -> list[tuple[str, tuple[float, float]]]:
    """Colour and top left corner of every box on the tiles."""
    return [
        (to_hex(p.get_edgecolor()).upper(), p.get_xy())
        for a in figure.axes
        if a.images
        for p in a.patches
        if p.get_linewidth() > 1
    ]


def test_labels_are_green_and_truth_without_a_label_is_orange(chest, tmp_path, drawn):
    truth = [
        {"slice": 12, "box": [62, 32, 67, 36]},  # the labelled one, drawn tightly
        {"slice": 12, "box": [90, 40, 98, 46]},
        {"slice": 13, "box": [30, 40, 38, 46]},
    ]
    draw_data_sheet([record(truth=truth)], lambda r, n: chest[0], tmp_path / "d.png")
    assert kinds(drawn[0]) == [(LABELLED.color, (60, 30)), (UNLABELLED.color, (90, 40))]


def test_ignored_regions_are_grey_and_the_legend_names_only_what_is_there(chest, tmp_path, drawn):
    boxes = [{"slice": 3, "box": [60, 30, 70, 38], "kind": k} for k in ("ignore", "lesion")]
    draw_data_sheet([record(annotations=boxes)], lambda r, n: chest[0], tmp_path / "d.png")
    assert {c for c, _ in kinds(drawn[0])} == {IGNORED.color, LABELLED.color}
    texts = [t.get_text() for t in drawn[0].texts]
    assert texts.index("labelled lesion") < texts.index("ignored region")
    assert "lesion without a label (truth)" not in texts


def test_the_same_seed_shows_the_same_slices_and_another_seed_others(chest, tmp_path):
    records = [record(str(i)) for i in range(30)]

    def shown(seed):
        asked = []
        draw_data_sheet(
            records, lambda r, n: asked.append((r["id"], n)) or chest[0], tmp_path / "d.png", tiles=5, seed=seed
        )
        return asked

    assert shown(3) == shown(3) != shown(4)
    assert len({name for name, _ in shown(3)}) == 5


def test_records_without_annotations_are_passed_over(chest, tmp_path, drawn):
    empty = {**record("b"), "annotations": []}
    draw_data_sheet([empty, record()], lambda r, n: chest[0], tmp_path / "d.png")
    assert len([a for a in drawn[0].axes if a.images]) == 1
    with pytest.raises(ValueError, match="1 records without any"):
        draw_data_sheet([empty], lambda r, n: chest[0], tmp_path / "e.png")


def test_no_patient_is_named(chest, tmp_path, drawn):
    draw_data_sheet([record("000001_01_01")], lambda r, n: chest[0], tmp_path / "d.png")
    assert not [t for t in drawn[0].texts if "PATIENT" in t.get_text() or "000001" in t.get_text()]


def test_a_box_beyond_the_image_is_shown(tmp_path, drawn):
    box = [{"slice": 1, "box": [50.0, 50, 70, 68], "kind": "lesion"}]
    draw_data_sheet([record(annotations=box)], lambda r, n: np.full((60, 64), 40, np.int16), tmp_path / "d.png")
    axes = next(a for a in drawn[0].axes if a.images)
    assert axes.get_xlim()[1] >= 70
    assert axes.get_ylim()[0] >= 68


def test_an_unknown_kind_or_window_is_refused(chest, tmp_path):
    wrong = record(annotations=[{"slice": 3, "box": [1, 1, 2, 2], "kind": "cyst"}])
    with pytest.raises(ValueError, match="'cyst'"):
        draw_data_sheet([wrong], lambda r, n: chest[0], tmp_path / "d.png")
    with pytest.raises(ValueError, match="'bone'"):
        draw_data_sheet([record()], lambda r, n: chest[0], tmp_path / "d.png", window="bone")
    assert not list(tmp_path.iterdir())
