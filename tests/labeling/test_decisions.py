"""Answers: their files, and what they make of a datalist."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import datetime, timedelta, timezone

import pytest

from lesion_app.data.record import validate_record
from lesion_app.errors import InputError
from lesion_app.labeling.decisions import (
    apply_decisions,
    decide,
    decisions_in,
    merge_decisions,
    read_decisions,
    write_decisions,
)
from lesion_app.labeling.review_queue import review_queue

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def answers(records):
    """confirmed, rejected and unknown for the three finds of the second record, a minute apart."""
    queue = review_queue(records)[:3]
    verdicts = ("confirmed", "rejected", "unknown")
    return [decide(one, v, "Dr. Ä, B", NOON + timedelta(minutes=n)) for n, (one, v) in enumerate(zip(queue, verdicts))]


def kinds(records):
    return {(a["slice"], a["kind"]) for a in records[1]["annotations"]}


def test_confirmed_becomes_a_lesion_rejected_a_negative_and_unknown_is_ignored(records, answers):
    before = deepcopy(records)
    applied = apply_decisions(records, answers)
    assert kinds(applied.records) == {(4, "lesion"), (3, "negative"), (7, "ignore")}
    assert (applied.confirmed, applied.rejected, applied.unknown) == (1, 1, 1)
    assert records == before
    assert applied.records[0] == records[0]
    for record in applied.records:
        validate_record(record)
    assert kinds(apply_decisions(records, answers, unknown="mined").records) == {
        (4, "lesion"),
        (3, "negative"),
        (7, "mined"),
    }


def test_datalist_tells_who_decided_what_when_on_a_find_of_which_model(records, answers):
    (found,) = [a for a in apply_decisions(records, answers).records[1]["annotations"] if a["slice"] == 4]
    assert found["reviews"] == [{"verdict": "confirmed", "by": "Dr. Ä, B", "at": "2026-01-31T12:00:00Z", "model": "m1"}]
    assert found["origin"] == "cross-slice"
    assert found["sightings"] == [{"model": "m1", "score": 0.6}]


def test_same_answer_given_twice_stands_once(records, answers):
    once = apply_decisions(records, answers).records
    assert apply_decisions(once, answers).records == once
    assert merge_decisions(answers, answers) == answers


def test_unknown_may_be_decided_later_and_both_stand(records):
    (find, *_) = review_queue(records)
    first = apply_decisions(records, [decide(find, "unknown", "a", NOON)]).records
    (again,) = [one for one in review_queue(first) if one.id == find.id]
    second = apply_decisions(first, [decide(again, "rejected", "b", NOON + timedelta(days=1))]).records
    (found,) = [a for a in second[1]["annotations"] if a["slice"] == 4]
    assert found["kind"] == "negative"
    assert [review["verdict"] for review in found["reviews"]] == ["unknown", "rejected"]


@pytest.mark.parametrize("within_one_call", [True, False])
def test_contradiction_is_refused_unless_the_later_answer_is_to_rule(records, within_one_call):
    (find, *_) = review_queue(records)
    yes, no = decide(find, "confirmed", "a", NOON + timedelta(days=1)), decide(find, "rejected", "b", NOON)
    start, answers = (records, [yes, no]) if within_one_call else (apply_decisions(records, [yes]).records, [no])
    with pytest.raises(InputError, match="--supersede"):
        apply_decisions(start, answers)
    (found,) = [a for a in apply_decisions(start, answers, supersede=True).records[1]["annotations"] if a["slice"] == 4]
    assert found["kind"] == "lesion"  # the later one, also when it was entered first
    assert [review["by"] for review in found["reviews"]] == ["b", "a"]


def test_time_zones_are_minded_when_answers_are_put_in_order(records):
    (find, *_) = review_queue(records)
    east = timezone(timedelta(hours=9))
    early = decide(find, "confirmed", "a", datetime(2026, 1, 31, 20, 0, tzinfo=east))  # 11:00 UTC
    late = decide(find, "rejected", "b", NOON)
    assert [one.by for one in merge_decisions([late], [early], supersede=True)] == ["a", "b"]


def test_answer_reaches_every_annotation_of_the_find(record, annotation):
    twice = [record("000001", annotation(5, (1, 1, 9, 9)), annotation(5, (1, 1, 9, 9)))]
    applied = apply_decisions(twice, [decide(review_queue(twice)[0], "rejected", "a", NOON)])
    assert [a["kind"] for a in applied.records[0]["annotations"]] == ["negative", "negative"]
    assert (applied.confirmed, applied.rejected) == (0, 1)
    assert review_queue(applied.records) == []


def test_labels_of_the_data_set_cannot_be_answered(records):
    label = records[0]["annotations"][0]
    disguised = [{**records[0], "annotations": [{**label, "kind": "mined"}]}]
    with pytest.raises(InputError, match="has no found box"):
        apply_decisions(records, [decide(review_queue(disguised)[0], "rejected", "a", NOON)])


def test_another_word_for_unknown_boxes_is_refused(records):
    with pytest.raises(InputError, match="mined, ignore"):
        apply_decisions(records, [], unknown="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["decisions.json", "decisions.csv"])
def test_files_give_back_what_was_written(tmp_path, answers, name):
    path = write_decisions(tmp_path / name, answers)
    assert read_decisions(path) == answers
    with pytest.raises(InputError, match="never overwritten"):
        write_decisions(path, answers[:1])
    assert read_decisions(path) == answers
    write_decisions(path, answers[:1], replace=True)
    assert read_decisions(path) == answers[:1]


def test_csv_of_a_spreadsheet_is_read(tmp_path, answers):
    """With a byte order mark, Windows line ends, and rows that nobody has answered yet."""
    path = write_decisions(tmp_path / "decisions.csv", answers)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[-1] = lines[-1].replace("unknown", "")
    path.write_bytes(("﻿" + "\r\n".join(lines) + "\r\n").encode())
    assert read_decisions(path) == answers[:2]


def test_other_suffixes_are_refused(tmp_path, answers):
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        write_decisions(tmp_path / "decisions.txt", answers)
    (tmp_path / "decisions.txt").write_text("x")
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        read_decisions(tmp_path / "decisions.txt")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"verdict": "maybe"}, "confirmed, rejected, unknown"),
        ({"by": " "}, "who decided"),
        ({"at": "yesterday"}, "time 'yesterday'"),
        ({"at": "2026-01-31T12:00:00"}, "with its zone"),
        ({"box": [1, 2, 3]}, "box of four numbers"),
        ({"box": [1, 2, 3, float("nan")]}, "box of four numbers"),
        ({"slice": "x"}, "slice number"),
        ({"box": [1, 2, 30, 40]}, "does not belong to its record"),
        ({"record": "000009_01_01_001-009"}, "does not belong to its record"),
    ],
)
def test_faulty_decision_is_told_by_its_number(tmp_path, answers, change, told):
    path = write_decisions(tmp_path / "decisions.json", answers)
    content = json.loads(path.read_text())
    content["decisions"][1].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=told) as error:
        read_decisions(path)
    assert "decision 2" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": "9.0", "decisions": []}', '{"schema_version": "1.0"}'])
def test_json_that_holds_no_decisions_is_refused(tmp_path, text):
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match="export"):
        read_decisions(tmp_path / "d.json")


def test_rows_that_are_no_objects_and_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "d.json").write_text('{"schema_version": "1.0", "decisions": [3]}')
    with pytest.raises(InputError, match="decision 1 is a int"):
        read_decisions(tmp_path / "d.json")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_decisions(tmp_path / "d.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_decisions(tmp_path / "nowhere.csv")


def test_decisions_of_a_datalist_come_back_out_of_it(records, answers):
    assert decisions_in(records) == []
    assert decisions_in(apply_decisions(records, answers).records) == answers
