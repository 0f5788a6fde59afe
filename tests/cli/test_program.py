"""The commands as programs of their own: options, exit codes, tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_app import __version__
from lesion_app.cli import parse_overrides
from lesion_app.errors import InputError

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def test_version_and_help_need_no_torch(run):
    assert run("--version")[:2] == (0, f"{__version__}\n")
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            "import sys; sys.argv=['x','--help']; import lesion_app.cli as c; c.main()",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "Find lesions in a CT" in done.stdout
    assert not re.search(r"\| +(torch|monai|mlflow)$", done.stderr, re.MULTILINE)


def test_overrides_are_literals_or_text():
    pairs = ["a=1", "b#c=0.5", "d=[1, 2]", "e=true", "f=None", "g=a=b", "h=configs/x.json", "i=", "j=$1 + 1"]
    assert parse_overrides(pairs) == {
        "a": 1,
        "b#c": 0.5,
        "d": [1, 2],
        "e": True,
        "f": None,
        "g": "a=b",
        "h": "configs/x.json",
        "i": "",
        "j": "$1 + 1",
    }
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        parse_overrides(["learning_rate"])


def program(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})


def test_program_ends_with_one_line_and_code_2(tmp_path, bundle):
    code = "from lesion_app.cli import main; main()"
    done = program("-c", code, "detect", tmp_path / "nothing", tmp_path / "out", "--bundle", bundle, cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr == f"error: {tmp_path / 'nothing'} does not exist; name a CT file or the folder of a DICOM series\n"
    )
    assert list(tmp_path.iterdir()) == []


def monai_bundle(tmp_path: Path, settings: dict[str, object]) -> subprocess.CompletedProcess[str]:
    options = [a for k, v in settings.items() for a in (f"--{k}", json.dumps(v) if not isinstance(v, str) else v)]
    configs = str([str(BUNDLE / "configs" / name) for name in ("train.json", "demo.json")])
    logging_file = ["--logging_file", BUNDLE / "configs" / "logging.conf"]
    meta_file = ["--meta_file", BUNDLE / "configs" / "metadata.json"]
    command = ["-m", "monai.bundle", "run", "training", "--config_file", configs, *logging_file, *meta_file]
    return program(*command, *options, cwd=tmp_path)


def test_monais_own_command_ends_with_one_line_and_code_2(tmp_path, tiny_run):
    done = monai_bundle(tmp_path, tiny_run(tmp_path / "nowhere", tmp_path))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "datalist.json cannot be read" in lines[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_fault_of_the_program_keeps_its_traceback(run, training, phantom_data, monkeypatch):
    from lesion_app.handlers.mean_teacher import MeanTeacher

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(MeanTeacher, "predict_teacher", fail)
    with pytest.raises(RuntimeError) as caught:
        run(*training(phantom_data))
    assert "a bug" in str(caught.value.__cause__)
