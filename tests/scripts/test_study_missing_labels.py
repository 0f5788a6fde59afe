"""The study in miniature, as its user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "study_missing_labels.py"
TINY = [
    "epochs=2",
    "epoch_length=2",
    "val_interval=1",
    "batch_size=2",
    "mining_start_iteration=1",
    "lr_warmup_iterations=1",
]


def command(out: Path, *options: str, settings: list[str] = TINY) -> list[str]:
    pairs = [part for pair in settings for part in ("--set", pair)]
    return [sys.executable, str(SCRIPT), "--out", str(out), *options, *pairs]


def run(out: Path, *options: str, settings: list[str] = TINY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *options, settings=settings), capture_output=True, text=True, timeout=900)


def test_unknown_arm_and_other_settings_are_refused(tmp_path):
    wrong = run(tmp_path / "a", "--arms", "partail")
    assert wrong.returncode == 2
    assert "there is no arm 'partail'" in " ".join(wrong.stdout.split())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "settings.json").write_text(json.dumps({"scale": "gpu"}))
    mixed = run(tmp_path / "b")
    assert mixed.returncode == 2
    assert "name another --out" in " ".join(mixed.stdout.split())
    assert not (tmp_path / "b" / "arms").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "tau=0.8"], "the config has no key 'tau'"),
        (["--set", "epochs=none"], "epochs is None; a study needs a whole number"),
        (["--backgrounds", "no.nii.gz"], "no.nii.gz is not there"),
        (["--known-lesions", "lesions.json"], "and none were given"),
    ],
)
def test_mistake_is_told_before_anything_is_written(tmp_path, options, told):
    wrong = run(tmp_path / "a", *options, settings=[])
    assert wrong.returncode == 2
    assert told in " ".join(wrong.stdout.split())
    assert not (tmp_path / "a").exists()


def test_study_on_real_anatomy_says_what_its_splits_share(tmp_path, real_data):
    backgrounds = ["--backgrounds", str(next((real_data / "ct" / "totalseg_nifti").rglob("*.nii.gz")))]
    out = tmp_path / "study"
    done = run(out, "--seeds", "0", "--patients", "6", "--arms", "partial", *backgrounds)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "All splits share the backgrounds' patients" in " ".join(done.stdout.split())
    summary = json.loads((out / "summary.json").read_text())
    assert [Path(path).exists() for path in summary["backgrounds"]] == [True]
    assert "All splits share" in summary["splits_share"][0]
    other = run(out, "--seeds", "0", "--patients", "6", "--arms", "partial")
    assert other.returncode == 2
    assert "name another --out" in " ".join(other.stdout.split())


def test_every_kind_of_arm_ends_in_one_table_also_when_stopped_and_started_again(tmp_path):
    arms = ["complete", "partial", "ours", "hard-negatives", "offline", "bank", "lr-decay", "oracle-0.50"]
    arms += ["missing-0.3-ours"]
    options = ("--seeds", "3", "--patients", "12", "--arms", *arms)
    out = tmp_path / "study"
    process = subprocess.Popen(command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 240
    while not list(out.glob("arms/*/seed3/models/training_state.pt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=60)
    begun = next(out.glob("arms/*/seed3/models/training_state.pt"))

    again = run(out, *options)
    assert again.returncode == 0, again.stdout[-3000:]
    lines = [json.loads(x) for x in (begun.parents[1] / "training" / "history.jsonl").read_text().splitlines()]
    steps = [line["iteration"] for line in lines if "loss" in line]
    assert steps == sorted(set(steps))
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]) == set(arms)
    assert set(summary["recovery"]) == set(arms) - {"complete", "partial", "missing-0.3-ours"}
    table = (out / "table.md").read_text().splitlines()
    assert len(table) == 2 + len(arms)
    assert {len(line.split(" | ")) for line in table[2:]} == {12}
    assert "adding" not in (out / "findings.md").read_text()  # no arm that ignores was run
    assert "hard negatives raise it further" in (out / "findings.md").read_text()
    assert all(len(arm["commits"]) == 1 for arm in summary["arms"].values())
    for picture in ("froc.png", "curves.png", "scores.png"):
        assert (out / picture).stat().st_size > 10_000

    reach = [sys.executable, str(REPOSITORY / "scripts" / "measure_mining_reach.py"), str(out)]
    looked = subprocess.run([*reach, "--seeds", "3"], capture_output=True, text=True, timeout=300)
    assert looked.returncode == 0, looked.stdout[-3000:] + looked.stderr[-3000:]
    assert "| of test patients |" in (out / "reach-partial.md").read_text()
    absent = subprocess.run([*reach, "--seeds", "4"], capture_output=True, text=True, timeout=120)
    assert absent.returncode == 2
    assert "holds no finished arm" in " ".join(absent.stdout.split())


def test_gpu_scale_runs_where_there_is_none_with_small_settings(tmp_path):
    small = [
        *TINY,
        "epochs=1",
        "batch_size=1",
        "amp=False",
        "num_workers=0",
        "val_num_workers=0",
        "pixel_spacing_mm=3.0",
        "network_def#rpn_post_nms_test=20",
    ]
    done = run(tmp_path / "gpu", "--scale", "gpu", "--seeds", "0", "--patients", "6", "--arms", "ours", settings=small)
    assert done.returncode == 0, done.stdout[-3000:]
    found = json.loads((tmp_path / "gpu" / "arms" / "ours" / "seed0" / "evaluation" / "evaluation.json").read_text())
    assert set(found["models"]) == {"teacher", "student"}
