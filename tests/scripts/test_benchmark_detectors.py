"""The detector benchmark: its rows and findings, and the whole of it in miniature, as its user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
CONFIGS = REPOSITORY / "bundle" / "configs"
TINY = ["epochs=2", "epoch_length=2", "val_interval=1", "batch_size=2", "training_images_measured=3"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Modules of the benchmark, which are no package of the product."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from detector_benchmark import findings, publish, report, rows, runs, scales

    yield SimpleNamespace(findings=findings, publish=publish, report=report, rows=rows, runs=runs, scales=scales)
    for name in [m for m in sys.modules if m == "measured_on" or m.split(".")[0] == "detector_benchmark"]:
        del sys.modules[name]


def result(score: float, training: float | None = None) -> dict[str, Any]:
    return {"test": {"map11": score}, "training": {"map11": score if training is None else training}}


def test_papers_rows_are_all_there(benchmark: SimpleNamespace) -> None:
    """Tables 2 to 4: what starts from what, optimiser, balance, augmentation; and the figures reported of each."""
    rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["paper"], darknet=True)
    paper = {name: row for name, row in rows.items() if row.paper}
    assert {
        n: (r.paper.map_train, r.paper.map_test, r.paper.iou_train, r.paper.iou_test) for n, r in paper.items()
    } == {
        "frcnn-coco-unbalanced": (38, 12, 43, 21),
        "frcnn-scratch": (65, 15, 43, 17),
        "frcnn-coco": (79, 19, 77, 22),
        "frcnn-coco-augmented": (49, 19, 38, 18),
        "frcnn-scratch-sgd": (1, 0, 2, 0),
        "frcnn-coco-sgd": (0, 0, 1, 0),
        "yolov4-416": (63, 18, 38, 22),
        "yolov4-816": (80, 20, 59, 32),
    }
    assert {n for n, r in paper.items() if not r.pretrained} == {"frcnn-scratch", "frcnn-scratch-sgd"}
    rates = {n: (r.overrides["optimizer"]["_target_"].split(".")[-1], r.overrides["learning_rate"])
             for n, r in paper.items() if n.startswith("frcnn")}  # fmt: skip
    assert rates == {n: (("SGD", 2e-5) if n.endswith("sgd") else ("Adam", 1e-4)) for n in rates}
    assert {n for n, r in paper.items() if "train#sampler" in r.overrides} == {"frcnn-coco-unbalanced"}
    assert {n for n, r in paper.items() if "rotated_views" in r.configs} == {"frcnn-coco-augmented"}
    assert rows["yolov4-816"].overrides["network_def#strides"] == [4, 16, 32]
    assert rows["yolov4-816"].overrides["network_def#anchors"][-1] == [156, 133]
    assert rows["yolov4-816"].in_evaluation["max_size_px"] == 1024


@pytest.mark.parametrize("scale", ["cpu", "smoke", "gpu", "paper"])
def test_every_row_names_configs_and_a_family_there_are(benchmark: SimpleNamespace, scale: str) -> None:
    settings = benchmark.scales.SCALES[scale]
    for row in benchmark.rows.benchmark_rows(settings).values():
        assert row.family in settings.families
        assert all((CONFIGS / f"{name}.json").is_file() for name in row.configs)


@pytest.mark.parametrize(
    ("sgd", "holds"), [((0.01, 0.0), True), ((0.01, 0.05), False), ((0.05, 0.01), False), (None, None)]
)
def test_sgd_fails_only_when_it_does_in_both_rows(benchmark: SimpleNamespace, sgd, holds) -> None:
    results = {("frcnn-scratch", 0): result(0.2), ("frcnn-coco", 0): result(0.3)}
    if sgd is not None:
        results |= {("frcnn-scratch-sgd", 0): result(sgd[0]), ("frcnn-coco-sgd", 0): result(sgd[1])}
    rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["cpu"])
    found = benchmark.findings.findings(results, rows)
    assert next(f for f in found if f.claim.startswith("SGD")).holds is holds


def test_over_fitting_needs_every_adam_row(benchmark: SimpleNamespace) -> None:
    names = ("frcnn-coco-unbalanced", "frcnn-scratch", "frcnn-coco", "frcnn-coco-augmented")
    rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["cpu"])

    def holds(trainings: tuple[float, ...]) -> bool | None:
        results = {(n, 0): result(0.2, t) for n, t in zip(names, trainings)}
        return next(f for f in benchmark.findings.findings(results, rows) if "over-fits" in f.claim).holds

    assert holds((0.4, 0.5, 0.6, 0.4)) is True
    assert holds((0.4, 0.5, 0.6, 0.3)) is False
    assert holds((0.4, 0.5, 0.6)) is None


def test_seeds_are_averaged_in_a_finding(benchmark: SimpleNamespace) -> None:
    rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["cpu"])
    results = {("ours-1", 0): result(0.3), ("ours-1", 1): result(0.1), ("ours-3", 0): result(0.25)}
    gain = next(f for f in benchmark.findings.findings(results, rows) if f.claim.startswith("three slices"))
    assert gain.holds is True
    assert gain.here == "20.0 to 25.0 %"


def test_a_small_gain_is_not_called_one(benchmark: SimpleNamespace) -> None:
    rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["cpu"])
    results = {("ours-1", 0): result(0.162), ("ours-3", 0): result(0.167), ("ours-9", 0): result(0.14)}
    found = benchmark.findings.findings(results, rows)
    three, nine = (next(f for f in found if f.claim.startswith(n)) for n in ("three slices", "nine slices"))
    assert three.holds is None
    assert nine.holds is False
    table = benchmark.report.findings_table([three, nine])
    assert "| 16.2 to 16.7 % | within 2 points |" in table
    assert "| 16.2 to 14.0 % | no |" in table


def test_yolov4_is_set_against_the_faster_rcnn_that_starts_alike(benchmark: SimpleNamespace) -> None:
    results = {("frcnn-coco", 0): result(0.9), ("frcnn-scratch", 0): result(0.2), ("yolov4-816", 0): result(0.21)}
    for darknet, holds in ((False, True), (True, False)):
        rows = benchmark.rows.benchmark_rows(benchmark.scales.SCALES["cpu"], darknet=darknet)
        found = benchmark.findings.findings(results, rows)
        assert next(f for f in found if "level with" in f.claim).holds is holds


def test_page_of_the_documentation_finds_its_pictures(benchmark: SimpleNamespace, tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    (out / "table.md").write_text("".join(f"![x]({name})\n" for name in benchmark.report.PICTURES))
    for name in benchmark.report.PICTURES:
        (out / name).write_bytes(b"png")
    page = benchmark.publish.publish(out, docs)
    links = [line.split("](")[1].rstrip(")") for line in page.read_text().splitlines()]
    assert len(links) == 3
    assert all((page.parent / link).is_file() for link in links)


def command(out: Path, *options: str) -> list[str]:
    pairs = [part for pair in TINY for part in ("--set", pair)]
    script = str(SCRIPTS / "benchmark_detectors.py")
    return [sys.executable, script, "--scale", "smoke", "--out", str(out), *options, *pairs]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *options), capture_output=True, text=True, timeout=1200)


@pytest.mark.slow
def test_mistakes_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    for options, told in (
        (("--only", "frcnn"), "there is no row 'frcnn'; the rows are frcnn-coco-unbalanced"),
        (("--detector", "mine"), "expected NAME=CONFIG"),
        (("--detector", "lens=yolov4"), "there is a row 'lens' already"),
        (("--darknet-weights", str(tmp_path / "none.weights")), "named with --darknet-weights"),
        (("--set", "epoch_lenght=2"), "no key 'epoch_lenght' to override; did you mean epoch_length"),
    ):
        wrong = run(tmp_path / "a", *options)
        assert wrong.returncode == 2
        assert told in wrong.stdout
        assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "settings.json").write_text(json.dumps({"scale": "gpu"}))
    mixed = run(tmp_path / "b")
    assert mixed.returncode == 2
    assert "name another --out" in mixed.stdout
    assert not (tmp_path / "b" / "data").exists()


@pytest.mark.slow
def test_every_kind_of_row_ends_in_one_table_also_when_stopped_and_started_again(tmp_path: Path) -> None:
    """With a detector that enters by one config; the stand-in's weights are made first."""
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"network_def#box_head_channels": 16, "network_def#backbone#growth_rate": 4,
                                "network_def#backbone#block_config": [1, 1, 1], "learning_rate": 0.001}))  # fmt: skip
    rows = ["frcnn-coco-augmented", "frcnn-scratch-sgd", "yolov4-816", "ours-1", "retina-unet", "lens", "mine"]
    out = tmp_path / "benchmark"
    options = ("--only", *rows, "--patients", "12", "--detector", f"mine={mine}", "--jobs", "1")
    process = subprocess.Popen(command(out, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 400
    while not list(out.glob("rows/*/seed0/models/training_state.pt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "goes on from here" in said
    done = run(out, *options, "--publish", str(tmp_path / "docs"))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["rows"]) == set(rows)
    for row in summary["rows"].values():
        assert row["speed"]["ms_per_slice"] > 0
        assert row["speed"]["parameters"] > 1000
        assert len(row["best_epoch"]) == 1
    table = (out / "table.md").read_text()
    lens = next(line for line in table.splitlines() if line.startswith("| LENS"))
    assert lens.split("|")[3].strip() == "-"  # it tells no types
    assert (tmp_path / "docs" / "results" / "detectors.md").is_file()
    begun = time.time()
    assert run(out, *options).returncode == 0
    assert all(p.stat().st_mtime < begun for p in out.glob("rows/*/*/speed.json"))
