"""What a finished model of the missing-labels study finds, and the check that knows the truth."""

from __future__ import annotations

import json

import pytest
import torch

pytestmark = pytest.mark.usefixtures("scripts")

SMALL, LARGE, LABELLED, BESIDE = [10, 10, 20, 20], [40, 40, 70, 80], [100, 100, 120, 120], [150, 10, 170, 30]


def finds(scored: list[tuple[list[float], float]]):
    from missing_labels.reach import Finds

    boxes = torch.tensor([box for box, _ in scored], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor([score for _, score in scored])
    truth, labelled = torch.tensor([SMALL, LARGE, LABELLED]).float(), torch.tensor([LABELLED]).float()
    return Finds([boxes], [scores], [truth], [labelled], [0.5])


def test_finds_are_counted_from_tau_on_against_lesions_without_a_label():
    found = finds([(LARGE, 0.9), (SMALL, 0.6), (BESIDE, 0.5), (LABELLED, 0.4)])
    assert [(c.mined, c.right, c.hidden) for c in map(found.counts, (0.95, 0.7, 0.55, 0.5, 0.3))] == [
        (0, 0, 2),
        (1, 1, 2),
        (2, 2, 2),
        (3, 2, 2),
        (4, 2, 2),
    ]


def test_recall_at_a_precision_takes_the_best_tau_that_reaches_it_even_below_one_that_does_not():
    found = finds([(BESIDE, 0.95), (LARGE, 0.9), (SMALL, 0.8)])
    assert found.recall_at(0.9) == 0.0
    assert found.recall_at(0.6) == 1.0
    assert found.recall_at(0.5) == 1.0
    assert finds([]).recall_at(0.5) == 0.0


def test_classes_of_size_are_in_mm_of_the_longer_side():
    found = finds([(LARGE, 0.9), (BESIDE, 0.8)])
    small, large = found.of_sides(5, 20, 0.5), found.of_sides(20, 32, 0.5)  # sides of 5 and 20 mm
    assert (small.hidden, small.found) == (1, 0)
    assert (large.hidden, large.found) == (1, 1)


def test_only_slices_with_a_label_are_read_and_finds_keep_their_last_score(tmp_path):
    from missing_labels.reach import read_finds

    def annotation(number: int, box: list[float], kind: str, *scores: float) -> dict:
        return {"slice": number, "box": box, "kind": kind, "sightings": [{"model": "", "score": s} for s in scores]}

    record = {
        "annotations": [
            annotation(3, LABELLED, "lesion"),
            annotation(3, LARGE, "mined", 0.4, 0.7),
            annotation(4, SMALL, "mined", 0.9),
        ],
        "truth": [{"slice": 3, "box": LARGE}, {"slice": 3, "box": LABELLED}, {"slice": 4, "box": SMALL}],
        "spacing_mm": [0.8, 0.8, 5.0],
    }
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": [record]}))
    found = read_finds(path)
    assert [s.tolist() for s in found.scores] == [pytest.approx([0.7])]
    assert found.counts(0.5).recall == 1.0
    assert found.spacing_mm == [0.8]


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
