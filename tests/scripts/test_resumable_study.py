"""What every resumable study refuses, and how it ends."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

STUDIES = ("study_toy", "study_missing_labels", "study_lens", "study_review", "benchmark_detectors")


@pytest.fixture
def main(scripts, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """``main(study, *arguments)``: exit code of a study and what it prints, words apart by one space."""

    def call(study: str, *arguments: object) -> tuple[int, str]:
        program = importlib.import_module(study)
        monkeypatch.setattr("resumable_study.signal.signal", lambda *_: None)
        try:
            code = program.main(list(map(str, arguments)))
        except SystemExit as end:
            code = int(end.code or 0)
        return code, " ".join("".join(capsys.readouterr()).split())

    return call


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--jobs", "0"), "argument --jobs: was given '0'; expected a whole number from 1 on"),
        (("--threads", "-2"), "argument --threads: was given '-2'; expected a whole number from 1 on"),
        (("--seeds", "0", "-1"), "argument --seeds: was given '-1'; expected a whole number from 0 on"),
        (("--jobs", "two"), "argument --jobs: was given 'two'; expected a whole number from 1 on"),
    ],
    ids=("jobs", "threads", "seeds", "words"),
)
def test_counts_below_one_and_negative_seeds_are_refused(main, tmp_path, study, options, told):
    code, said = main(study, "--out", tmp_path / "study", *options)
    assert code == 2
    assert said.endswith(told)
    assert not (tmp_path / "study").exists()


def test_a_seed_named_twice_runs_once(scripts, tmp_path):
    parser = importlib.import_module("study_arguments").study_parser(None, ["cpu"])
    assert parser.parse_args(["--out", str(tmp_path), "--seeds", "2", "0", "2"]).seeds == [2, 0]


@pytest.mark.parametrize("study", STUDIES)
def test_folder_that_cannot_be_made_is_told_in_one_sentence(main, tmp_path, study):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "study"):
        code, said = main(study, "--out", out)
        assert code == 2
        assert said.startswith("error: ")
        assert "cannot be the folder of a" in said
        assert said.endswith("name one that can be written to with --out")


@pytest.mark.parametrize(
    ("study", "arm", "told"),
    [
        (
            "study_missing_labels",
            "bank-negatives",
            "arm 'bank-negatives' uses the model of ours, seed 4, which is not trained yet; ask for it, too:",
        ),
        ("study_lens", "mined", "which is not trained yet; ask for it, too: --arms "),
    ],
)
def test_arm_whose_first_model_is_neither_there_nor_asked_for_is_refused(main, tmp_path, study, arm, told):
    code, said = main(study, "--out", tmp_path / "study", "--seeds", "4", "--arms", arm)
    assert code == 2
    assert told in said
    assert not (tmp_path / "study").exists()


def test_model_that_is_there_or_asked_for_is_no_reason_to_refuse(scripts):
    refuse = importlib.import_module("resumable_study").refuse_unmet_needs
    needs = {"first": [], "second": [("first", 0)]}
    refuse([("second", 0)], lambda run: needs[run[0]], lambda run: run == ("first", 0))
    refuse([("second", 0), ("first", 0)], lambda run: needs[run[0]], lambda _: False)
    refuse([("second", 0)], lambda run: needs[run[0]], lambda run: run == ("second", 0))


def test_settings_that_cannot_be_read_are_told(main, tmp_path):
    (tmp_path / "settings.json").write_text("{")
    code, said = main("study_toy", "--out", tmp_path)
    assert code == 2
    assert "settings.json cannot be read" in said


@pytest.mark.parametrize("study", STUDIES)
def test_study_with_nothing_done_names_no_files_and_fails(scripts, monkeypatch, tmp_path, study):
    (tmp_path / "data").mkdir()
    for kind in ("typed", "untyped"):  # data of the benchmark
        path = tmp_path / "lists" / kind / "datalist.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({}))
    program = importlib.import_module(study)
    monkeypatch.setattr(program, "run_processes", lambda *_, **__: None)
    told = io.StringIO()
    run = getattr(program, "run_benchmark" if study.startswith("benchmark") else "run_study")
    code = run(program.parse_arguments(["--out", str(tmp_path)]), Console(width=1000, file=told))
    assert code == 1
    assert "wrote" not in told.getvalue()
    assert "0 of " in told.getvalue()
    assert "then run the same command again" in told.getvalue()
    written = sorted(path.name for path in Path(tmp_path).iterdir())
    assert written == ["data", "lists", "settings.json"]
