"""The speed benchmark at sizes that measure nothing but show that it runs and compares like with like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "benchmark_speed.py"
ALL = {"inference", "experts", "roofline", "retinanet", "linking", "evaluation", "training", "dicom", "memory"}


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=540)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("speed")
    done = run(out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def figures(out: Path, section: str) -> Any:
    return json.loads((out / "speed.json").read_text())["sections"][section]["figures"]


def test_every_section_is_on_the_page(measured: Path) -> None:
    assert set(json.loads((measured / "speed.json").read_text())["sections"]) == ALL
    page = (measured / "speed.md").read_text()
    assert page.count("\n## ") == len(ALL)
    assert (measured / "speed.png").stat().st_size > 5000


def test_four_experts_look_at_as_many_proposals_as_the_config_says_and_are_compared_in_one_run(measured: Path) -> None:
    found = figures(measured, "experts")
    assert found["proposals"] == 150
    assert found["paper"] == 1.8
    assert set(found["times_slower"]) == {"LENS, one data set", "main detector"}
    assert "four data sets take x as long" in (measured / "speed.md").read_text()


def test_ways_compared_find_the_same(measured: Path) -> None:
    found = figures(measured, "inference")
    same = found["agreement_with_windows"]["streaming, prepared network, float32"]
    assert found["proposals"] > 50
    assert same["boxes"] > 5
    assert same["paired"] == same["boxes"] == same["found"]
    assert same["largest_shift_px"] < 0.01


def test_peers_of_the_evaluation_give_its_numbers(measured: Path) -> None:
    precision = figures(measured, "evaluation")["average_precision"]
    assert precision["vectorised"] > 0
    assert precision["numpy"] == pytest.approx(precision["vectorised"], abs=1e-9)
    assert precision["plain"] == pytest.approx(precision["vectorised"], abs=1e-9)


def test_prepared_network_does_less_work(measured: Path) -> None:
    work = figures(measured, "roofline")["gflop"]
    assert work["streamed slice, prepared network"] < work["streamed slice, the same network"]
    assert work["streamed slice, the same network"] < work["nine-slice window"]


def test_section_is_measured_anew_beside_the_others_and_other_machines_are_refused(measured: Path) -> None:
    before = json.loads((measured / "speed.json").read_text())
    assert run(measured, "--sections", "linking").returncode == 0
    after = json.loads((measured / "speed.json").read_text())
    assert set(after["sections"]) == ALL
    assert after["sections"]["memory"] == before["sections"]["memory"]
    (measured / "speed.json").write_text(json.dumps({**after, "machine": "another"}))
    refused = run(measured, "--sections", "linking")
    assert refused.returncode == 2
    assert "another machine" in " ".join(refused.stdout.split())
