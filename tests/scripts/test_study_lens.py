"""The LENS study: its datalists, and the whole of it in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "study_lens.py"


@pytest.fixture
def datalists(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    from lens_study import datalists

    return datalists


def annotation(kind, number, origin=None):
    found = {"slice": number, "box": [1.0, 2.0, 3.0, 4.0], "label": 1, "kind": kind, "lesion_type": -1, "noisy": False}
    return found if origin is None else {**found, "origin": origin}


def write(path, *annotations):
    record = {"id": "a", "size": [40, 30], "annotations": list(annotations)}
    path.write_text(json.dumps({"training": [record], "test": [record]}))


def read(path):
    content = json.loads(path.read_text())
    return [(a["kind"], a["slice"], a.get("origin")) for a in content["training"][0]["annotations"]], content


def test_only_the_strategies_named_stay(datalists, tmp_path):
    own = annotation("lesion", 4)
    cross, matched = annotation("mined", 5, "cross-slice"), annotation("mined", 9, "intra-patient")
    doubtful = annotation("ignore", 7, "cross-dataset:lits")
    write(tmp_path / "in.json", own, cross, matched, doubtful)
    datalists.with_strategies(tmp_path / "in.json", tmp_path / "a.json", ("cross-slice", "cross-dataset"), False)
    kept, content = read(tmp_path / "a.json")
    assert kept == [("lesion", 4, None), ("mined", 5, "cross-slice"), ("ignore", 7, "cross-dataset:lits")]
    assert len(content["test"][0]["annotations"]) == 4
    datalists.with_strategies(tmp_path / "in.json", tmp_path / "b.json", ("cross-dataset",), True)
    assert read(tmp_path / "b.json")[0] == [("lesion", 4, None), ("mined", 7, "cross-dataset:lits")]


def test_positives_only_covers_each_labelled_slice_once(datalists, tmp_path):
    write(tmp_path / "in.json", annotation("lesion", 4), annotation("lesion", 4), annotation("lesion", 6))
    datalists.positives_only(tmp_path / "in.json", tmp_path / "out.json")
    content = json.loads((tmp_path / "out.json").read_text())
    covers = [a for a in content["training"][0]["annotations"] if a["kind"] == "ignore"]
    assert [(a["slice"], a["box"]) for a in covers] == [(4, [0.0, 0.0, 40.0, 30.0]), (6, [0.0, 0.0, 40.0, 30.0])]


def test_labels_of_types_are_taken_out_of_the_training_split_only(datalists, tmp_path):
    write(tmp_path / "in.json", annotation("lesion", 4), annotation("lesion", 6))
    lesions = [
        {"type": kind, "key_slice": number, "key_box": [1.0, 2.0, 3.0, 4.0]}
        for kind, number in ((5, 4), (2, 6), (5, 7))
    ]
    (tmp_path / "truth.json").write_text(json.dumps({"sub_volumes": {"a": {"lesions": lesions}}}))
    datalists.without_types(tmp_path / "in.json", tmp_path / "truth.json", tmp_path / "out.json", (4, 5))
    kept, content = read(tmp_path / "out.json")
    assert kept == [("lesion", 6, None)]
    assert len(content["test"][0]["annotations"]) == 2


def test_arms_can_start_only_when_what_they_need_is_there(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    import study_lens
    from resumable_study import ready

    runs = study_lens.planned([0, 1], None)
    assert runs[:4] == [("single", 0), ("multi", 0), ("mined", 0), ("online", 0)]
    assert ("cross-slice", 0) in runs
    assert ("cross-slice", 1) not in runs
    able = ready(runs, study_lens.needed, lambda run: study_lens.finished(tmp_path, run))
    assert ("multi", 0) in able
    assert ("mined", 0) not in able
    assert ("only-nih-ln", 0) not in able


@pytest.mark.slow
def test_study_in_miniature(tmp_path):
    def run(*options):
        command = [sys.executable, str(SCRIPT), "--scale", "tiny", "--out", str(tmp_path), "--seeds", "0", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=900)

    refused = run("--arms", "fused")
    assert refused.returncode == 2
    assert "there is no arm 'fused'" in " ".join(refused.stdout.split())
    arms = ["single", "multi", "mined", "only-luna16", "only-lits", "only-nih-ln", "positives"]
    done = run("--arms", *arms)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    text = (tmp_path / "tables.md").read_text()
    for row in ("(a) ", "(b) ", "(c) ", "(d) ", "(e) ", "separate models", "positive data pooling"):
        assert f"| {row}" in text
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert all(0 <= value <= 1 for row in rows for value in row["average_sensitivity"])
    assert (tmp_path / "ladder.png").stat().st_size > 5000
    again = run("--arms", *arms)
    assert again.returncode == 0
    assert "started" not in again.stdout
