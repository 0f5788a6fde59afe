"""Reports of the resumable studies: every finished run that lies in ``--out``, whatever was asked for now."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

FPS = ("0.125", "0.25", "0.5", "1", "2", "4", "8")
Ask = Callable[..., str]


@pytest.fixture
def ask(scripts, tmp_path) -> Ask:
    """``ask(study, *options)``: what a study prints that has nothing left to run."""

    def call(study: str, *options: str) -> str:
        program = importlib.import_module(study)
        console = Console(width=1000, record=True, file=io.StringIO())
        run = getattr(program, "run_benchmark" if study.startswith("benchmark") else "run_study")
        code = run(program.parse_arguments(["--out", str(tmp_path), *options]), console)
        assert code == 0
        told = console.export_text()
        assert "started" not in told
        return told

    return call


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def detection(ap: float) -> dict[str, Any]:
    """One model's part of an ``evaluation.json`` of whole volumes."""
    sensitivity = dict.fromkeys(FPS, ap)
    figures = dict.fromkeys(("p3d_ap", "iobb_ap", "average_sensitivity"), ap)
    return {**figures, "sensitivity": sensitivity, "by_size": {}, "threshold_at_1_fp": 0.3}


def test_part_of_the_toy_study_leaves_the_others_in_the_report(ask, tmp_path):
    from toy_study.arms import DETECTORS
    from toy_study.report import Run, arm_folder, finished_runs
    from toy_study.scales import SCALES

    runs = [Run(task, d, n, s) for s in (0, 1) for task in ("shapes", "scales") for n in (2, 4) for d in DETECTORS]
    for run in reversed(runs):
        matches = {"scores": [0.9, 0.8, 0.7], "hits": [1, run.seed, 0], "cases": [0, 1, 2], "n_truth": [1, 1, 1]}
        write(arm_folder(tmp_path, run) / "evaluation" / "evaluation.json", {"map": 0.5, "matches": {"1": matches}})
    (arm_folder(tmp_path, Run("shapes", "unet", 4, 7)) / "training").mkdir(parents=True)  # begun, not finished
    assert finished_runs(tmp_path, SCALES["tiny"]) == runs
    told = ask("study_toy", "--scale", "tiny", "--only", "shapes", "4", "unet", "--seeds", "1")
    assert "1 of 1 arms done" in told
    curves = json.loads((tmp_path / "summary.json").read_text())["curves"]
    assert {task: list(found) for task, found in curves.items()} == {
        "shapes": list(DETECTORS),
        "patterns": [],
        "scales": list(DETECTORS),
    }
    assert {n: list(point["seeds"]) for n, point in curves["shapes"]["unet"].items()} == {
        "2": ["0", "1"],
        "4": ["0", "1"],
    }
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + 12


def test_part_of_the_missing_labels_study_leaves_the_others_in_the_report(ask, tmp_path):
    for arm, ap in (("ours", 0.5), ("partial", 0.4), ("complete", 0.6), ("tau-0.80", 0.3)):
        for seed in (0, 1):
            found = {"models": {"teacher": detection(ap + 0.01 * seed), "student": detection(ap)}}
            write(tmp_path / "arms" / arm / f"seed{seed}" / "evaluation" / "evaluation.json", found)
    told = ask("study_missing_labels", "--arms", "tau-0.80", "--seeds", "0")
    assert "summary.json, table.md, findings.md, froc.png: 1 of 1 arms done" in told
    arms = json.loads((tmp_path / "summary.json").read_text())["arms"]
    assert all(arm["seeds"] == [0, 1] for arm in arms.values())
    assert list(arms) == ["complete", "partial", "ours", "tau-0.80"]
    assert not (tmp_path / "mining.png").exists()  # no history to draw


def test_missing_labels_study_says_how_right_the_boxes_are_that_were_mined_before_the_training(ask, tmp_path):
    box, other, nowhere = [10, 10, 30, 30], [50, 50, 70, 70], [90, 90, 99, 99]
    noted = [(2, box, "lesion"), (2, other, "mined"), (2, nowhere, "mined"), (3, box, "mined")]  # 3 is not trained on
    record = {
        **dict.fromkeys(("image", "id", "series_id", "patient_id"), "a"),
        "spacing_mm": [1, 1, 5],
        "slices": [2, 3],
        "annotations": [{"slice": z, "box": where, "kind": kind, "label": 1} for z, where, kind in noted],
        "truth": [{"slice": z, "box": where} for z in (2, 3) for where in (box, other, [1, 1, 9, 9])],
    }
    # A datalist of hard negatives has labels and hidden lesions as well, and nothing in it was mined.
    for arm, datalist in (("offline", [record]), ("partial-negatives", [record]), ("partial", None)):
        folder = tmp_path / "arms" / arm / "seed0"
        write(
            folder / "evaluation" / "evaluation.json", {"models": dict.fromkeys(("teacher", "student"), detection(0.5))}
        )
        if datalist is not None:
            write(folder / "datalist.json", {"training": datalist})
    ask("study_missing_labels", "--arms", "offline", "--seeds", "0")
    arms = json.loads((tmp_path / "summary.json").read_text())["arms"]
    found = arms["offline"]
    assert [found[name]["mean"] for name in ("mined_per_label", "mined_precision", "mined_recall")] == [2.0, 0.5, 0.5]
    for arm in ("partial-negatives", "partial"):
        assert not {"mined_precision", "mined_recall"} & set(arms[arm])


def test_part_of_the_lens_study_leaves_the_others_in_the_report(ask, tmp_path):
    from lens_study.arms import ARMS

    for arm, seeds in (("multi", (0, 1)), ("single", (0, 1)), ("pooled", (1,))):
        for seed in seeds:
            folder = tmp_path / "arms" / arm / f"seed{seed}"
            for row in ARMS[arm].evaluations:
                write(folder / row.name / "evaluation.json", {"models": {"teacher": detection(0.3 + 0.1 * seed)}})
            (folder / "trained").touch()
    assert "2 of 2 arms done" in ask("study_lens", "--arms", "single", "--seeds", "0", "1")
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert [(row["arm"], row["seeds"]) for row in rows] == [
        ("single", [0, 1]),
        *[("multi", [0, 1])] * len(ARMS["multi"].evaluations),
        ("pooled", [1]),
    ]
    combined = (tmp_path / "tables.md").read_text().split("### Table IV")[1]
    assert "| single data set | 1 | 40.0 | 40.0 | 0: 30.0 |" in combined  # rows of a side table are of one seed
    assert "| data pooling | 1 | 40.0 | 40.0 | - |" in combined
    experts = (tmp_path / "tables.md").read_text().split("### What each expert finds by itself")[1]
    for who in ("deeplesion's expert", "fused", "lits's expert", "fused, boxes of score >= 0.1 only"):
        assert f"| {who} | 35.0 ± 7.1 | 30.0, 40.0 | 0.30, 0.30 |" in experts


def test_part_of_the_review_study_leaves_the_others_in_the_report(ask, tmp_path):
    told = {"waiting": 9, "confirmed": 2, "rejected": 2, "unknown": 0}
    for arm in ("start", "volumes", "random"):
        for seed in (0, 1):
            for number in range(0 if arm == "start" else 1, 1 if arm == "start" else 3):
                folder = tmp_path / "arms" / arm / f"seed{seed}" / ("" if arm == "start" else f"round{number}")
                write(folder / "round.json", {"reviewed": 4 * number, **told, "teacher": detection(0.4)})
    assert "2 of 2 arms done" in ask("study_review", "--rounds", "2", "--arms", "random", "--seeds", "1")
    arms = json.loads((tmp_path / "summary.json").read_text())["arms"]
    assert {name: arm["seeds"] for name, arm in arms.items()} == {"volumes": [0, 1], "random": [0, 1]}


def test_part_of_the_detector_benchmark_leaves_the_others_in_the_report(ask, tmp_path):
    numbers = ("mean", "median", "minimum", "maximum", "share")
    measured = {
        **dict.fromkeys(("map11", "mean_iou", "coco_map", "ap50", "ap75", "missed_share"), 0.5),
        "sensitivity": {"untyped": {"mean": 0.5}},
        "by_type": {"lung": {"lesions": 3, "average_precision": 0.5}},
        "by_size": {"< 10 mm": {"lesions": 3, "mean": 0.5}},
        "size_ratio": dict.fromkeys(("bigger", "smaller"), dict.fromkeys(numbers, 0.5)),
        "lesions": 3,
    }
    speed = {
        "parameters": 1000,
        "ms_per_slice": 5.0,
        "peak_mib": 10.0,
        "input_px": [64, 64],
        "device": "cpu",
        "threads": 1,
    }
    for name in ("yolov4-816", "frcnn-scratch"):
        for seed in (0, 1):
            for split in ("test", "training"):
                found = {"models": {"detector": measured}}
                write(tmp_path / "rows" / name / f"seed{seed}" / split / "evaluation.json", found)
            write(tmp_path / "rows" / name / f"seed{seed}" / "speed.json", speed)
    (tmp_path / "data").mkdir()
    for kind in ("typed", "untyped"):
        write(tmp_path / "lists" / kind / "datalist.json", {})
    told = ask("benchmark_detectors", "--only", "frcnn-scratch", "--seeds", "1")
    assert "summary.json, table.md, accuracy.png, curves.png, speed.png: 1 of 1 rows done" in told
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert {name: row["seeds"] for name, row in rows.items()} == {"frcnn-scratch": [0, 1], "yolov4-816": [0, 1]}
