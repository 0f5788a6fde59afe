"""Running ``lesion-app`` in this process, and what to run it on."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lesion_app.cli import main

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"
# What a training that breaks at its first slab has opened by then: its logs, no results.
LOGS = re.compile(r".*/(events\.out\.tfevents\..*|history\.jsonl|mlruns\.db)")


@pytest.fixture
def bundle(tmp_path_factory) -> Path:
    """The bundle's configs without weights, whatever lies in this checkout's models folder."""
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    return folder


@pytest.fixture
def damaged(phantom_data, tmp_path_factory) -> Path:
    """A copy of the data set, to be damaged."""
    return Path(shutil.copytree(phantom_data, tmp_path_factory.mktemp("damaged") / "data"))


@pytest.fixture
def run(unchanged_process, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """``run(*arguments)``: what ``lesion-app`` returns and prints."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lesion-app", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run, tmp_path) -> Callable[..., str]:
    """``refused(*arguments, logs=False)``: the one sentence, after checking that nothing else came of it."""

    def call(*arguments: object, logs: bool = False) -> str:
        before = tree(tmp_path)
        code, _, err = run(*arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert err.startswith("error: ")
        new = [path for path in tree(tmp_path) if path not in before]
        assert [path for path in new if not (logs and (LOGS.fullmatch(path) or Path(tmp_path, path).is_dir()))] == []
        return err.removeprefix("error: ").rstrip("\n")

    return call


@pytest.fixture
def training(tiny_run, tmp_path) -> Callable[..., list[str]]:
    """``training(data, **more)``: the arguments of a tiny training into ``tmp_path``."""

    def make(data: Path, **more: object) -> list[str]:
        settings = tiny_run(data, tmp_path, **{name.replace("__", "#"): value for name, value in more.items()})
        return ["train", "--config", "demo", *(a for k, v in settings.items() for a in ("--set", f"{k}={v}"))]

    return make


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
