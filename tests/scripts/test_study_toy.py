"""The toy study in miniature, as its user runs it, and how it judges."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lesion_app.cli import app
from lesion_app.data.toy import ToySettings
from lesion_app.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "study_toy.py"


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--scale", "tiny", "--out", str(out), *options]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *options), capture_output=True, text=True, timeout=540)


def write_evaluation(out: Path, run, hits: dict[int, list[int]]) -> None:
    """An arm's ``evaluation.json``: one box an image, of score falling with its number; 1 = hit."""
    from toy_study.report import arm_folder

    matches = {
        str(label): {
            "scores": np.linspace(0.9, 0.2, len(row)).tolist(),
            "hits": row,
            "cases": list(range(len(row))),
            "n_truth": [1] * len(row),
        }
        for label, row in hits.items()
    }
    path = arm_folder(out, run) / "evaluation" / "evaluation.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"map": float(np.mean([np.mean(row) for row in hits.values()])), "matches": matches}))


def test_clear_gap_agrees_equal_curves_are_no_gain_and_little_data_leaves_it_open(scripts, tmp_path):
    from toy_study.arms import Claim
    from toy_study.report import Results, Run, judged

    good, bad = [1] * 60, [1] * 20 + [0] * 40
    runs = []
    for seed in (0, 1, 2):
        for n in (10, 100):
            for detector, row in (
                ("retina_unet", good),
                ("retina_net", bad if n == 10 else good),
                ("mask_rcnn", good),
                ("unet", [1] * 29 + [0] + [1] * 30),
            ):
                runs.append(Run("shapes", detector, n, seed))
                write_evaluation(tmp_path, runs[-1], {1: row, 2: row})
    results = Results(tmp_path, runs, resamples=200)
    images = [10, 100]
    gain = {"retina_unet": 1.0, "retina_net": -1.0}
    more = judged(results, "shapes", Claim("more", gain), images)
    assert more["verdict"] == "agrees"
    assert more["seeds"] == [0, 1, 2]
    assert judged(results, "shapes", Claim("less", {k: -w for k, w in gain.items()}), images)["verdict"] == "disagrees"
    assert judged(results, "shapes", Claim("nothing", gain, sign=0), images)["verdict"] == "disagrees"
    grows = judged(results, "shapes", Claim("grows", gain, "smallest - largest"), images)
    assert grows["verdict"] == "agrees"
    assert grows["value"] == pytest.approx(results.mean("shapes", "retina_unet", 10, [0]) - 1 / 3, abs=0.01)
    same = {"retina_unet": 1.0, "mask_rcnn": -1.0}
    assert judged(results, "shapes", Claim("nothing", same, sign=0), images)["verdict"] == "agrees"
    assert judged(results, "shapes", Claim("more", same), images)["verdict"] == "open"
    almost = {"retina_unet": 1.0, "unet": -1.0}
    assert judged(results, "shapes", Claim("more", almost), images)["verdict"] == "open"
    assert judged(results, "patterns", Claim("more", gain), images)["verdict"] == "not run"


def test_gain_of_masks_is_told_at_every_number_of_images(scripts, tmp_path):
    from toy_study.report import Results, Run, gains, gains_table

    runs = []
    for seed in (0, 1):
        for n, row in ((10, [1] * 20 + [0] * 40), (100, [1] * 60)):
            for detector, hits in (("retina_unet", [1] * 60), ("retina_net", row)):
                runs.append(Run("shapes", detector, n, seed))
                write_evaluation(tmp_path, runs[-1], {1: hits})
    results = Results(tmp_path, runs, resamples=200)
    found = gains(results, "shapes", [10, 100])
    assert list(found) == ["Retina U-Net less RetinaNet"]
    points = found["Retina U-Net less RetinaNet"]
    assert points["10"]["value"] == pytest.approx(2 / 3)
    assert points["10"]["low"] > 0
    assert points["100"] == {"value": 0.0, "low": 0.0, "high": 0.0, "seeds": [0, 1]}
    row = gains_table({"shapes": found}, [10, 50, 100]).splitlines()[2]
    assert row.startswith("| task 1: shapes | Retina U-Net less RetinaNet | +66.7 (")
    assert row.endswith("| - | +0.0 (+0.0 to +0.0) |")


def test_only_finished_seeds_of_all_detectors_are_compared(scripts, tmp_path):
    from toy_study.report import Results, Run

    runs = [Run("shapes", d, 10, s) for d in ("retina_unet", "retina_net") for s in (0, 1)]
    for one in runs[:3]:
        write_evaluation(tmp_path, one, {1: [1, 1, 0]})
    results = Results(tmp_path, runs, resamples=10)
    assert results.seeds("shapes", ["retina_unet"], [10]) == [0, 1]
    assert results.seeds("shapes", ["retina_unet", "retina_net"], [10]) == [0]


def test_arms_come_seed_by_seed_and_unknown_names_are_told(scripts):
    from study_toy import grouped, planned
    from toy_study.scales import SCALES

    arms = planned(SCALES["cpu"], [0, 1, 2], None)
    assert len(arms) == len(set(arms)) == 3 * 3 * 3 * 6
    assert [run.seed for run in arms] == sorted(run.seed for run in arms)
    assert len(grouped(arms)) == 27
    few = planned(SCALES["cpu"], [0], ["patterns", "unet", str(SCALES["cpu"]["images"][0])])
    assert [(run.task, run.detector) for run in few] == [("patterns", "unet")]
    with pytest.raises(InputError, match="'donuts'"):
        planned(SCALES["cpu"], [0], ["donuts"])


def test_mistyped_value_is_told_before_any_data_is_written(scripts, tmp_path, capsys):
    from study_toy import main

    out = tmp_path / "study"
    assert main(["--scale", "tiny", "--out", str(out), "--set", "epoch_lenght=2"]) == 2
    assert "did you mean epoch_length" in " ".join(capsys.readouterr().out.split())
    assert not out.exists()


def test_values_of_evaluation_and_training_are_taken(scripts):
    from study_toy import refuse_mistyped
    from toy_study.arms import DETECTORS

    refuse_mistyped({"resamples": 5, "epochs": 2}, set(DETECTORS))
    with pytest.raises(InputError, match="'head_channels'"):  # what retina_unet knows is nothing to a U-Net
        refuse_mistyped({"head_channels": 8}, {"retina_unet", "unet"})


def test_weights_of_an_arm_stopped_after_its_evaluation_are_cleared_unless_they_are_to_be_kept(scripts, tmp_path):
    from study_toy import clear_models
    from toy_study.report import Run, arm_folder

    done, kept, begun = (Run("shapes", name, 10, 0) for name in ("unet", "retina_net", "retina_unet"))
    for run in (done, kept, begun):
        models = arm_folder(tmp_path, run) / "models"
        models.mkdir(parents=True)
        (models / "model.pt").write_bytes(b"weights")
        (models.parent / "arm.json").write_text(json.dumps({"keep_models": run == kept}))
    for run in (done, kept):
        write_evaluation(tmp_path, run, {1: [1]})
    clear_models(tmp_path, [done, kept, begun])
    assert [(arm_folder(tmp_path, run) / "models").exists() for run in (done, kept, begun)] == [False, True, True]


def test_data_of_the_study_can_be_written_from_the_command_line(scripts, tmp_path):
    from toy_study.scales import SCALES

    out = tmp_path / "toy"
    documented = "--size 80 --margin 20 --contrast 0.5 --hole 6 --scale-px 17,20"
    assert documented in (REPOSITORY / "docs" / "toy.md").read_text()
    few = "--task scales --training 2 --validation 0 --test 0 --no-sheet"
    done = CliRunner().invoke(app, ["toy", str(out), *few.split(), *documented.split()])
    assert done.exit_code == 0, done.output
    written = json.loads((out / "datalist.json").read_text())["settings"]
    assert written == json.loads(json.dumps(asdict(ToySettings(**SCALES["cpu"]["toy"]))))


def test_other_settings_are_refused(scripts, tmp_path):
    from study_toy import remember_settings

    remember_settings(tmp_path, {"scale": "cpu", "images": (1, 2)})
    remember_settings(tmp_path, {"scale": "cpu", "images": [1, 2]})
    with pytest.raises(InputError, match="name another --out"):
        remember_settings(tmp_path, {"scale": "gpu", "images": [1, 2]})


@pytest.mark.slow
def test_every_detector_ends_in_one_table_also_when_stopped_and_started_again(tmp_path):
    out = tmp_path / "study"
    options = ("--seeds", "0", "--jobs", "1", "--only", "shapes", "scales", "4")
    process = subprocess.Popen(command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while not list(out.glob("arms/*/*/*/seed0/evaluation/evaluation.json")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=60)
    finished = {path: path.stat().st_mtime_ns for path in out.glob("arms/*/*/*/seed0/evaluation/evaluation.json")}
    assert finished
    assert len(finished) < 12

    again = run(out, *options)
    assert again.returncode == 0, again.stdout[-3000:]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    summary = json.loads((out / "summary.json").read_text())
    assert {task: len(found) for task, found in summary["curves"].items()} == {"shapes": 6, "patterns": 0, "scales": 6}
    assert len((out / "table.md").read_text().splitlines()) == 2 + 12
    assert len((out / "gains.md").read_text().splitlines()) == 2 + 6
    assert "not run" in (out / "claims.md").read_text()
    assert (out / "curves.png").stat().st_size > 10_000
    assert not list(out.glob("arms/**/*.pt"))
    missing = run(out, "--only", "donuts")
    assert missing.returncode == 2
    assert "there is no task" in " ".join(missing.stdout.split())
