"""``lesion-app toy``."""

from __future__ import annotations

import json

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from lesion_app.data.toy_command import toy_command
from lesion_app.errors import InputError


def toy(*arguments: object) -> Result:
    app = Typer()
    app.command()(toy_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


SMALL = ("--training", 3, "--validation", 0, "--test", 1, "--size", 64)


def test_verb_writes_data_and_a_sheet_and_tells_what_comes_next(tmp_path):
    out = tmp_path / "toy"
    done = toy(out, *SMALL)
    assert done.exit_code == 0, done.output
    assert "4 images" in done.output
    assert f"next: lesion-app train --config retina_unet --config toy --set dataset_dir={out}" in done.output
    assert (out / "toy.png").stat().st_size > 10_000
    assert json.loads((out / "datalist.json").read_text())["dataset"] == "toy-shapes"


def test_options_reach_the_generator_and_the_sheet_can_be_left_out(tmp_path):
    done = toy(
        tmp_path / "toy", *SMALL, "--task", "scales", "--sizes", "paper", "--contrast", 3, "--seed", 5, "--no-sheet"
    )
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "toy" / "toy.png").exists()
    written = json.loads((tmp_path / "toy" / "datalist.json").read_text())
    assert (written["seed"], written["settings"]["contrast"]) == (5, 3.0)
    box = written["training"][0]["annotations"][0]["box"]
    assert box[2] - box[0] == box[3] - box[1] in (19.0, 20.0)


@pytest.mark.parametrize(
    ("options", "told"),
    [(("--task", "donuts"), "no toy task"), (("--sizes", "old"), "published, paper"), (("--size", 20), "does not fit")],
)
def test_faulty_options_are_told_and_leave_nothing(tmp_path, options, told):
    failed = toy(tmp_path / "toy", *SMALL, *options)
    assert isinstance(failed.exception, InputError)
    assert told in str(failed.exception)
    assert not (tmp_path / "toy").exists()
