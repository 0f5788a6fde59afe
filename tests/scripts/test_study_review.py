"""The review study: its reader, its report, and the whole in miniature."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lesion_app.labeling.review_queue import Suspect

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "study_review.py"
TINY = ["epochs=1", "epoch_length=2", "val_interval=1", "batch_size=2", "lr_warmup_iterations=1"]
SMALL = ["network_def#backbone#block_config=[1, 1, 1]", "network_def#rpn_post_nms_test=20", "pixel_spacing_mm=3.0"]
UNTRAINED = ["network_def#box_score_threshold=0.0"]  # an untrained model finds something


@pytest.fixture
def part(scripts):
    """``part(name)``: a module of ``scripts/review_study``."""
    return lambda name: importlib.import_module(f"review_study.{name}")


def command(out: Path, *options: str) -> list[str]:
    pairs = [part for pair in TINY + SMALL + UNTRAINED for part in ("--set", pair)]
    return [sys.executable, str(SCRIPT), "--out", str(out), *options, *pairs]


@pytest.mark.parametrize(
    ("box", "number", "verdict"),
    [
        ((0, 0, 10, 10), 4, "confirmed"),
        ((0, 0, 10, 5), 4, "confirmed"),  # IoU 0.5
        ((0, 0, 10, 4), 4, "unknown"),
        ((0, 0, 10, 1), 4, "unknown"),  # IoU 0.1
        ((0, 0, 5, 1), 4, "rejected"),
        ((20, 20, 30, 30), 4, "rejected"),
        ((0, 0, 10, 10), 5, "rejected"),
    ],
)
def test_reader_answers_from_the_truth_of_the_slice(part, box, number, verdict):
    record = {"id": "a", "truth": [{"slice": 4, "box": [0, 0, 10, 10]}, {"slice": 4, "box": [50, 50, 60, 60]}]}
    suspect = Suspect("x", "a", number, tuple(map(float, box)), "mined", (("m", 0.5),))
    assert part("radiologist").verdict_of(suspect, record) == verdict
    (one,) = part("radiologist").answer([suspect], [record], 2)
    assert (one.verdict, one.at, one.model) == (verdict, "2000-01-02T00:00:00Z", "m")


@pytest.fixture
def study(tmp_path):
    """Figures of two seeds, two rounds: ours gains 0.1 a round, random 0.05, nobody nothing; seed 1 is 0.02 better."""

    def write(folder: Path, reviewed: int, ap: float) -> None:
        folder.mkdir(parents=True)
        teacher = {"p3d_ap": ap, "average_sensitivity": ap, "by_size": {"< 10 mm": {"p3d_ap": ap / 2}}}
        told = {"waiting": 50, "confirmed": reviewed // 2, "rejected": reviewed - reviewed // 2, "unknown": 0}
        (folder / "round.json").write_text(json.dumps({"reviewed": reviewed, **told, "teacher": teacher}))

    for seed in (0, 1):
        write(tmp_path / "arms" / "start" / f"seed{seed}", 0, 0.4 + 0.02 * seed)
        for arm, gain in (("volumes", 0.1), ("random", 0.05), ("nobody", 0.0)):
            for number in (1, 2):
                here = tmp_path / "arms" / arm / f"seed{seed}" / f"round{number}"
                write(here, 0 if arm == "nobody" else 40 * number, 0.4 + 0.02 * seed + gain * number)
                if arm != "nobody":
                    asked = ["a", "a", "b"] if arm == "volumes" else ["a", "b", "c"]
                    (here / "decisions.json").write_text(json.dumps({"decisions": [{"record": one} for one in asked]}))
    return tmp_path


def test_report_tells_gain_over_each_order_seed_by_seed(part, study):
    scale = {"patients": 6, "boxes": 40, "rounds": 2}
    assert part("report").write_report(study, scale) == ["summary.json", "table.md", "review.png"]
    summary = json.loads((study / "summary.json").read_text())
    assert set(summary["arms"]) == {"volumes", "random", "nobody"}
    assert [row["reviewed"]["mean"] for row in summary["arms"]["volumes"]["rounds"]] == [0, 40, 80]
    opened = {arm: [row["volumes"]["mean"] for row in found["rounds"]] for arm, found in summary["arms"].items()}
    assert opened == {"volumes": [0, 2, 4], "random": [0, 3, 6], "nobody": [0, 0, 0]}
    last = summary["arms"]["volumes"]["rounds"][2]["p3d_ap"]
    assert last["values"] == pytest.approx([0.6, 0.62])
    assert last["sd"] == pytest.approx(0.02 / 2**0.5)
    assert [row["p3d_ap"]["mean"] for row in summary["ours_minus"]["random"]] == pytest.approx([0.05, 0.1])
    table = (study / "table.md").read_text().splitlines()
    assert len(table) == 2 + 3 * 3
    assert {line.count("|") for line in table} == {10}
    assert "+10.0 ± 0.0" in table[2 + 5]
    assert (study / "review.png").stat().st_size > 10_000


def test_report_of_nothing_writes_nothing(part, tmp_path):
    assert part("report").write_report(tmp_path, {"patients": 6, "boxes": 4, "rounds": 2}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_mistakes_and_other_settings_are_refused(tmp_path):
    for options, told in ((["--arms", "best"], "there is no arm 'best'"), (["--boxes", "0"], "at least 1")):
        wrong = subprocess.run(command(tmp_path / "a", *options), capture_output=True, text=True, timeout=120)
        assert wrong.returncode == 2
        assert told in " ".join(wrong.stdout.split())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "settings.json").write_text(json.dumps({"scale": "gpu"}))
    mixed = subprocess.run(command(tmp_path / "b"), capture_output=True, text=True, timeout=120)
    assert mixed.returncode == 2
    assert "name another --out" in " ".join(mixed.stdout.split())


@pytest.mark.slow
def test_every_order_ends_in_one_curve_also_when_stopped_and_started_again(tmp_path):
    out = tmp_path / "study"
    arms = ["volumes", "random", "nobody"]
    options = ("--seeds", "3", "--patients", "6", "--rounds", "2", "--boxes", "3", "--queue-score", "0.0")
    options += ("--arms", *arms)
    process = subprocess.Popen(command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 480
    kept = out / "arms" / "start" / "seed3" / "round.json"
    while not kept.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=60)
    stamp = kept.stat().st_mtime_ns

    again = subprocess.run(command(out, *options), capture_output=True, text=True, timeout=580)
    assert again.returncode == 0, again.stdout[-3000:]
    assert kept.stat().st_mtime_ns == stamp
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]) == set(arms)
    for arm, found in summary["arms"].items():
        assert [r["reviewed"]["mean"] for r in found["rounds"]] == ([0, 0, 0] if arm == "nobody" else [0, 3, 6])
    last = json.loads((out / "arms" / "volumes" / "seed3" / "round2" / "datalist.json").read_text())
    assert len(last["reviewed"]) == 2
    reviews = [a["reviews"] for r in last["training"] for a in r["annotations"] if a.get("reviews")]
    assert len(reviews) == 6
