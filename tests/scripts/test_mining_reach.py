"""What a finished model of the missing-labels study finds, and the check that knows the truth."""

from __future__ import annotations

import json

import pytest
import torch

pytestmark = pytest.mark.usefixtures("scripts")

SMALL, LARGE, LABELLED, BESIDE = [10, 10, 20, 20], [40, 40, 70, 80], [100, 100, 120, 120], [150, 10, 170, 30]


@pytest.fixture
def finds(tmp_path, scripts):
    """Reads a datalist with finds ``(slice, box, score, ...)``; LABELLED has a label, on slice 3."""
    from missing_labels.reach import read_finds

    def annotation(number: int, box: list[float], kind: str, *scores: float) -> dict:
        return {
            "slice": number,
            "box": box,
            "label": 1,
            "kind": kind,
            "sightings": [{"model": "", "score": s} for s in scores],
        }

    def read(*found: tuple):
        record = {
            **dict.fromkeys(("image", "id", "series_id", "patient_id"), "a"),
            "slices": [3, 4],
            "annotations": [
                annotation(3, LABELLED, "lesion"),
                *(annotation(number, box, "mined", *scores) for number, box, *scores in found),
            ],
            "truth": [
                *({"slice": 3, "box": box} for box in (SMALL, LARGE, LABELLED)),
                {"slice": 4, "box": SMALL},
            ],
            "spacing_mm": [0.5, 0.5, 5.0],
        }
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps({"training": [record]}))
        return read_finds(path)

    return read


def test_finds_are_counted_from_tau_on_as_mining_is(finds):
    from lesion_app.metrics.mining import mined_precision_recall

    scored = [(LARGE, 0.9), ([40, 42, 70, 80], 0.7), (SMALL, 0.6), (BESIDE, 0.5), (LABELLED, 0.4)]
    found = finds(*((3, box, score) for box, score in scored))
    truth, labelled = torch.tensor([SMALL, LARGE, LABELLED]).float(), torch.tensor([LABELLED]).float()
    for tau in (0.95, 0.8, 0.65, 0.55, 0.45, 0.3):
        boxes = torch.tensor([box for box, score in scored if score >= tau]).float().reshape(-1, 4)
        assert found.counts(tau) == mined_precision_recall([boxes], [truth], [labelled])


def test_recall_at_a_precision_takes_the_best_tau_that_reaches_it_even_below_one_that_does_not(finds):
    found = finds((3, BESIDE, 0.95), (3, LARGE, 0.9), (3, SMALL, 0.8))
    assert found.recall_at(0.9) == 0.0
    assert found.recall_at(0.6) == 1.0
    assert finds().recall_at(0.5) == 0.0


def test_classes_of_size_are_in_mm_of_the_longer_side(finds):
    found = finds((3, LARGE, 0.9), (3, BESIDE, 0.8))  # sides of 5 and 20 mm are hidden
    assert found.found_of_sides(5, 20, 0.5) == (0, 1)
    assert found.found_of_sides(20, 32, 0.5) == (1, 1)
    assert found.found_of_sides(20, 32, 0.95) == (0, 1)


def test_only_slices_with_a_label_are_read_and_finds_keep_their_last_score(finds):
    found = finds((3, LARGE, 0.4, 0.7), (4, SMALL, 0.9))
    assert found.scores.tolist() == pytest.approx([0.7])
    assert len(found.best) == 2


def test_the_check_that_knows_the_truth_keeps_boxes_on_hidden_lesions_alone():
    from missing_labels.truth_check import OnlyRight

    truth, labelled = torch.tensor([SMALL, LARGE, LABELLED]).float(), torch.tensor([LABELLED]).float()
    boxes = torch.tensor([BESIDE, [42, 40, 70, 80], LABELLED, SMALL]).float()
    item = {"truth_boxes": truth, "boxes": labelled}
    mined = {"boxes": boxes, "scores": torch.tensor([0.9, 0.8, 0.7, 0.6]), "labels": torch.ones(4, dtype=torch.long)}
    empty = {"boxes": boxes[:0], "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    kept = OnlyRight().confirm([item, {**item, "truth_boxes": truth[:0]}, item], [mined, mined, empty], None)
    assert [len(one["boxes"]) for one in kept] == [2, 0, 0]
    assert kept[0]["scores"].tolist() == pytest.approx([0.8, 0.6])
    assert len(kept[0]["labels"]) == 2
