"""What becomes of the model's boxes when a reader saves a label."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesion_app.data.record import Annotation, Record
from lesion_app.errors import InputError
from lesion_app.labeling.decisions import decisions_in
from lesion_app.labeling.reader_label import ReaderAnswer, answered_record, enter_finds, open_score, record_of_volume
from lesion_app.labeling.roi_markups import LesionRoi
from transforms.geometry import VolumeGeometry

# 100 x 80 x 12 voxels of 1 x 1 x 5 mm whose first voxel's centre lies at 0
GEOMETRY = VolumeGeometry.from_file_grid((100, 80, 12), np.diag([1.0, 1.0, 5.0, 1.0]))
AT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NEXT = datetime(2026, 2, 1, 12, tzinfo=timezone.utc)
SEEN = ReaderAnswer("dr-a", AT)


def found(*boxes: tuple[float, ...], model: str = "a" * 64, score: float = 0.8) -> dict[str, Any]:
    """``lesions.json`` of boxes (x1, y1, z1, x2, y2, z2)."""
    lesions = [
        {
            "label": 1,
            "score": score,
            "slices": [{"axial_slice": z, "box": [x1, y1, x2, y2], "score": score} for z in range(z1, z2)],
        }
        for x1, y1, z1, x2, y2, z2 in boxes
    ]
    return {"model": {"sha256": model}, "lesions": lesions}


def roi(*box: float) -> LesionRoi:
    return LesionRoi(tuple(GEOMETRY.boxes_to_lps([box])[0].tolist()))  # type: ignore[arg-type]


def base() -> Record:
    return record_of_volume("1.2.840.7", Path("/data/ct.nii.gz"), GEOMETRY)


def kinds(record: Record) -> list[tuple[str, int, list[float]]]:
    return [(a["kind"], a["slice"], a["box"]) for a in record["annotations"]]


A, B = (10, 10, 2, 20, 20, 4), (50, 40, 6, 58, 50, 7)


def test_kept_box_is_confirmed_and_missing_one_rejected() -> None:
    record = answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, SEEN)
    assert kinds(record) == [
        ("lesion", 2, [10, 10, 20, 20]),
        ("lesion", 3, [10, 10, 20, 20]),
        ("negative", 6, [50, 40, 58, 50]),
    ]
    assert record["annotations"][0]["sightings"] == [{"model": "a" * 64, "score": 0.8}]
    assert record["annotations"][2]["reviews"] == [
        {"verdict": "rejected", "by": "dr-a", "at": "2026-01-31T12:00:00Z", "model": "a" * 64}
    ]


def test_boxes_nobody_saw_stay_unknown() -> None:
    record = answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, ReaderAnswer("dr-a", AT, shown=False))
    assert [a["kind"] for a in record["annotations"]] == ["lesion", "lesion", "mined"]
    assert "reviews" not in record["annotations"][2]


def test_complete_label_rejects_also_what_nobody_saw() -> None:
    answer = ReaderAnswer("dr-a", AT, shown=False, complete=True)
    assert [a["kind"] for a in answered_record(base(), found(B), [], GEOMETRY, answer)["annotations"]] == ["negative"]


def test_shift_below_half_a_voxel_keeps_the_models_boxes() -> None:
    shifted = roi(10.4, 10, 2, 20.4, 20, 4)
    assert kinds(answered_record(base(), found(A), [shifted], GEOMETRY, SEEN))[0] == ("lesion", 2, [10, 10, 20, 20])


def test_corrected_box_is_the_readers_and_keeps_its_history() -> None:
    record = answered_record(base(), found(A), [roi(12, 11, 3, 19, 22, 5)], GEOMETRY, SEEN)
    assert kinds(record) == [("lesion", 3, [12, 11, 19, 22]), ("lesion", 4, [12, 11, 19, 22])]
    assert record["annotations"][0]["sightings"][0]["score"] == 0.8
    assert record["annotations"][0]["extent"] == [12, 11, 3, 19, 22, 5]


def test_added_box_is_a_lesion_that_no_model_saw() -> None:
    record = answered_record(base(), found(A), [roi(*A), roi(*B)], GEOMETRY, SEEN)
    added = record["annotations"][-1]
    assert (added["kind"], added["slice"]) == ("lesion", 6)
    assert "sightings" not in added
    assert added["reviews"][0]["model"] == ""
    assert len({a["lesion"] for a in record["annotations"]}) == 2


def test_second_box_on_a_confirmed_lesion_is_no_background() -> None:
    twin = (11, 11, 2, 21, 21, 4)
    record = answered_record(base(), found(A, twin), [roi(*A)], GEOMETRY, SEEN)
    assert {a["kind"] for a in record["annotations"]} == {"lesion"}
    assert len(record["annotations"]) == 2


def test_each_find_takes_one_box_the_best_overlap_first() -> None:
    near = (14, 14, 2, 24, 24, 4)
    record = answered_record(base(), found(A, near), [roi(*near), roi(*A)], GEOMETRY, SEEN)
    assert sorted({tuple(a["box"]) for a in record["annotations"]}) == [(10, 10, 20, 20), (14, 14, 24, 24)]
    assert {a["kind"] for a in record["annotations"]} == {"lesion"}


def test_rejection_outlives_a_model_that_finds_something_else() -> None:
    first = answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, SEEN)
    later = answered_record(
        base(), found(A, model="b" * 64), [roi(*A)], GEOMETRY, ReaderAnswer("dr-b", NEXT), earlier=first
    )
    assert [a["kind"] for a in later["annotations"]].count("negative") == 1
    assert [r["by"] for r in later["annotations"][0]["reviews"]] == ["dr-a", "dr-b"]


def test_rejection_ends_where_a_lesion_is_marked_now() -> None:
    first = answered_record(base(), found(B), [], GEOMETRY, SEEN)
    later = answered_record(
        base(), found(model="b" * 64), [roi(49, 39, 6, 59, 50, 7)], GEOMETRY, ReaderAnswer("dr-b", NEXT), earlier=first
    )
    assert [a["kind"] for a in later["annotations"]] == ["lesion"]


def test_changed_mind_rules_and_both_answers_stay() -> None:
    first = answered_record(base(), found(B), [], GEOMETRY, SEEN)
    later = answered_record(base(), found(B), [roi(*B)], GEOMETRY, ReaderAnswer("dr-b", NEXT), earlier=first)
    assert [a["kind"] for a in later["annotations"]] == ["lesion"]
    assert [r["verdict"] for r in later["annotations"][0]["reviews"]] == ["rejected", "confirmed"]
    assert [d.verdict for d in decisions_in([later])] == ["rejected", "confirmed"]


def test_label_saved_twice_says_the_same() -> None:
    first = answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, SEEN)
    assert answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, SEEN, earlier=first) == first


def test_answer_stands_where_a_later_label_says_nothing() -> None:
    first = answered_record(base(), found(B), [], GEOMETRY, SEEN)
    unseen = ReaderAnswer("dr-b", NEXT, shown=False)
    assert answered_record(base(), found(B), [], GEOMETRY, unseen, earlier=first) == first


def test_label_without_a_model_is_all_the_readers() -> None:
    record = answered_record(base(), None, [roi(*A)], GEOMETRY, SEEN)
    assert [a["kind"] for a in record["annotations"]] == ["lesion", "lesion"]


def test_box_outside_and_nameless_answer_are_refused() -> None:
    with pytest.raises(InputError, match="outside its CT"):
        answered_record(base(), None, [LesionRoi((500, 0, 0, 510, 10, 10))], GEOMETRY, SEEN)
    with pytest.raises(InputError, match="who made it"):
        answered_record(base(), None, [], GEOMETRY, ReaderAnswer(" "))


def test_new_finds_join_an_answered_record_as_unknown() -> None:
    record = answered_record(base(), found(A, B), [roi(*A)], GEOMETRY, SEEN)
    new = (70, 10, 1, 80, 20, 2)
    assert enter_finds(record, found(A, B, new, model="b" * 64)) == 1
    assert record["annotations"][-1]["kind"] == "mined"
    # the rejected find gained a sighting and no second box
    assert [len(a.get("sightings", [])) for a in record["annotations"]] == [2, 2, 2, 1]


def test_open_score_counts_what_nobody_answered() -> None:
    annotations: list[Annotation] = []
    document = found(A, B)
    assert open_score(annotations, document) == pytest.approx(1.6)
    record = answered_record(base(), document, [roi(*A)], GEOMETRY, SEEN)
    assert open_score(record["annotations"], document) == 0.0
    unseen = answered_record(base(), document, [roi(*A)], GEOMETRY, ReaderAnswer("a", AT, shown=False))
    assert open_score(unseen["annotations"], document) == pytest.approx(0.8)
