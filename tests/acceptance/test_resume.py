"""A training that is killed at any moment and resumed ends in the very weights of one that was not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lesion_app.handlers.training_history import read_history

pytestmark = pytest.mark.slow

EPOCHS, EPOCH_LENGTH = 3, 4


@pytest.fixture(scope="module")
def start(phantom_data, tiny_run, tmp_path_factory):
    """``start(name, *options, num_workers=0)``: a training in a process of its own, from the bundle's own configs."""
    base = tmp_path_factory.mktemp("runs")

    def make(name: str, *options: str, num_workers: int = 0) -> tuple[subprocess.Popen[str], Path]:
        folder = base / name
        folder.mkdir(exist_ok=True)
        overlay = tiny_run(
            phantom_data, folder, epochs=EPOCHS, epoch_length=EPOCH_LENGTH, num_workers=num_workers, use_mlflow=True
        )
        (folder / "tiny.json").write_text(json.dumps(overlay))
        command = [sys.executable, "-c", "from lesion_app.cli import main; main()", "train", "--config", "demo"]
        process = subprocess.Popen(
            [*command, "--config", str(folder / "tiny.json"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )
        return process, folder

    return make


@pytest.fixture(scope="module")
def uninterrupted(start) -> Path:
    process, folder = start("uninterrupted")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder


def kill_at(process: subprocess.Popen[str], iteration: int) -> None:
    """SIGKILL once the line of ``iteration`` shows; the next one has begun by then."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(rf"iteration {iteration}/", line):
            process.kill()
            process.communicate(timeout=60)
            return
    raise AssertionError("the training ended before it could be killed:\n" + "".join(lines))


def assert_same(first, second, place="state") -> None:
    """Equal to the last bit, through nested containers."""
    assert type(first) is type(second), place
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            assert_same(first[key], second[key], f"{place}[{key!r}]")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), place
        for i, (a, b) in enumerate(zip(first, second)):
            assert_same(a, b, f"{place}[{i}]")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), place
    else:
        assert first == second, place


def load(path: Path):
    return torch.load(path, weights_only=True)


def test_uninterrupted_run_mines_and_its_teacher_lags_behind_its_student(uninterrupted):
    lines = read_history(uninterrupted / "training" / "history.jsonl")
    assert sum(line.get("mined_boxes", 0) for line in lines) > 0
    state = load(uninterrupted / "models" / "training_state.pt")
    assert state["iteration"] == EPOCHS * EPOCH_LENGTH
    student, teacher = state["objects"]["student"], state["objects"]["teacher"]
    assert any(not torch.equal(student[name], teacher[name]) for name in student)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_killed_and_resumed_run_equals_the_uninterrupted_one(uninterrupted, start, num_workers):
    iteration = random.Random(num_workers).randrange(EPOCH_LENGTH + 1, EPOCHS * EPOCH_LENGTH)
    process, folder = start(f"killed_{num_workers}", num_workers=num_workers)
    kill_at(process, iteration)
    process, _ = start(f"killed_{num_workers}", "--resume", num_workers=num_workers)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = re.search(r"resumed .* at iteration (\d+)", output)
    assert found, output
    done = int(found[1])
    assert done in range(EPOCH_LENGTH, EPOCHS * EPOCH_LENGTH, EPOCH_LENGTH)
    assert [int(n) for n in re.findall(r"iteration (\d+)/", output)] == list(range(done + 1, EPOCHS * EPOCH_LENGTH + 1))

    for name in ("training_state.pt", "model.pt", "student.pt"):
        assert_same(load(uninterrupted / "models" / name), load(folder / "models" / name), name)
    whole, resumed = (read_history(f / "training" / "history.jsonl") for f in (uninterrupted, folder))
    assert resumed == whole
    assert not list(folder.rglob("*.tmp"))


def test_resuming_the_finished_run_leaves_it_alone(uninterrupted, start):
    watched = ["models/training_state.pt", "models/model.pt", "models/student.pt", "training/history.jsonl"]
    before = {name: (uninterrupted / name).read_bytes() for name in watched}
    process, _ = start("uninterrupted", "--resume")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "iteration 1/" not in output
    assert {name: (uninterrupted / name).read_bytes() for name in watched} == before
