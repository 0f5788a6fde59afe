"""``lesion-app review`` from file to file."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from lesion_app.data.datalist import load_records
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import sha256_of
from lesion_app.labeling.decisions import decide, read_decisions, write_decisions
from lesion_app.labeling.review_command import review
from lesion_app.labeling.review_queue import review_queue


@pytest.fixture
def run():
    """``run(*arguments)``: what is printed; an InputError comes through."""
    program = typer.Typer()
    program.command()(review)

    def invoke(*arguments):
        done = CliRunner().invoke(program, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


@pytest.fixture
def answered(records, tmp_path):
    """Two answers on the first two finds."""
    queue = review_queue(records)
    return write_decisions(tmp_path / "a.json", [decide(queue[0], "confirmed", "A"), decide(queue[1], "rejected", "A")])


def test_decisions_go_into_a_new_datalist_that_tells_where_they_came_from(run, datalist, answered, tmp_path):
    before = datalist.read_bytes()
    out = tmp_path / "reviewed.json"
    told = run(datalist, out, "--decisions", answered)
    assert "1 confirmed, 1 rejected, 0 unknown" in told
    assert "--config reviewed" in told
    content = json.loads(out.read_text())
    assert content["dataset"] == "phantom"
    assert content["test"] == json.loads(before)["test"]
    assert content["reviewed"] == [
        {
            "from": {"file": "datalist.json", "sha256": sha256_of(datalist)},
            "decisions": [{"file": "a.json", "sha256": sha256_of(answered)}],
            "confirmed": 1,
            "rejected": 1,
            "unknown": 0,
        }
    ]
    assert not content["training"][0]["image"].startswith("/")
    assert datalist.read_bytes() == before
    kinds = [a["kind"] for a in load_records(out, "training", tmp_path)[1]["annotations"]]
    assert kinds == ["negative", "lesion", "mined"]


def test_second_review_keeps_what_the_first_one_left(run, datalist, records, answered, tmp_path):
    run(datalist, tmp_path / "one.json", "--decisions", answered)
    left = review_queue(load_records(tmp_path / "one.json", "training", tmp_path))
    assert len(left) == 2
    more = write_decisions(tmp_path / "b.csv", [decide(left[0], "unknown", "B")])
    run(tmp_path / "one.json", tmp_path / "two.json", "--decisions", more, "--export", tmp_path / "all.csv")
    content = json.loads((tmp_path / "two.json").read_text())
    assert [len(entry["decisions"]) for entry in content["reviewed"]] == [1, 1]
    assert sorted(one.by for one in read_decisions(tmp_path / "all.csv")) == ["A", "A", "B"]


def test_contradiction_is_refused_and_nothing_written(run, datalist, records, answered, tmp_path):
    other = write_decisions(tmp_path / "b.json", [decide(review_queue(records)[0], "rejected", "B")])
    out = tmp_path / "out.json"
    with pytest.raises(InputError, match="--supersede"):
        run(datalist, out, "--decisions", answered, "--decisions", other)
    assert not out.exists()
    run(datalist, out, "--decisions", answered, "--decisions", other, "--supersede")
    (entry,) = [a for r in json.loads(out.read_text())["training"] for a in r["annotations"] if a["slice"] == 4]
    assert len(entry["reviews"]) == 2


@pytest.mark.parametrize("name", ["reviewed.json", "review.html"])
def test_existing_files_stay(run, datalist, answered, tmp_path, name):
    (tmp_path / name).write_text("work")
    with pytest.raises(InputError, match="somebody's work"):
        run(datalist, tmp_path / name, "--decisions", answered)
    assert (tmp_path / name).read_text() == "work"
    (tmp_path / "all.json").write_text("work")
    with pytest.raises(InputError, match="somebody's work"):
        run(datalist, tmp_path / "new.json", "--decisions", answered, "--export", tmp_path / "all.json")
    assert not (tmp_path / "new.json").exists()


def test_what_is_written_must_be_told(run, datalist, answered, tmp_path):
    with pytest.raises(InputError, match="nothing to write"):
        run(datalist)
    with pytest.raises(InputError, match="rename"):
        run(datalist, tmp_path / "out.txt")
    for export in ("all.txt", "out.json"):
        with pytest.raises(InputError, match="of their own"):
            run(datalist, tmp_path / "out.json", "--decisions", answered, "--export", tmp_path / export)
    with pytest.raises(InputError, match="pass --decisions"):
        run(datalist, tmp_path / "out.json")
    with pytest.raises(InputError, match="cannot be read"):
        run(tmp_path / "nowhere.json", tmp_path / "out.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "data"]


def test_decisions_of_another_datalist_are_refused(run, datalist, records, tmp_path):
    records[1]["id"] = "000003_01_01_001-009"
    stranger = write_decisions(tmp_path / "a.json", [decide(review_queue(records)[0], "confirmed", "A")])
    with pytest.raises(InputError, match="this very datalist"):
        run(datalist, tmp_path / "out.json", "--decisions", stranger)


def test_sheet_of_a_phantom(run, phantom_data, tmp_path):
    content = json.loads((phantom_data / "datalist.json").read_text())
    record = content["training"][0]
    for place in record["truth"][:3]:
        record["annotations"].append({**place, "label": 1, "kind": "mined", "lesion_type": -1, "noisy": False})
    datalist = tmp_path / "mined.json"
    datalist.write_text(json.dumps(content))
    told = run(datalist, tmp_path / "sheets", "--root", phantom_data, "--limit", 2)
    assert "2 boxes in 1 sub-volumes to look at; 1 more wait" in told
    assert (tmp_path / "sheets" / "review.html").stat().st_size > 20_000
