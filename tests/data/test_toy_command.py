"""``lesion-app toy``."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from lesion_app.data.toy import ToySettings
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


def test_defaults_are_the_published_ones(tmp_path):
    done = toy(tmp_path / "toy", "--training", 1, "--validation", 0, "--test", 0, "--no-sheet")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "toy" / "datalist.json").read_text())["settings"]
    assert written == json.loads(json.dumps(asdict(ToySettings())))


FEW = ("--training", 20, "--validation", 0, "--test", 0, "--no-sheet", "--size")


@pytest.mark.parametrize(
    ("options", "hint", "mended"),
    [
        ((64,), "--margin 19", (64, "--margin", 19)),
        ((64, "--task", "scales", "--scale-px", "8,22"), "--margin 21",
         (64, "--task", "scales", "--scale-px", "8,22", "--margin", 21)),
        ((32, "--sizes", "paper", "--margin", 0), "leaving --margin out", (32, "--sizes", "paper")),
    ],
)  # fmt: skip
def test_many_cut_objects_are_told_with_what_keeps_them_whole(tmp_path, options, hint, mended):
    told = toy(tmp_path / "cut", *FEW, *options).output
    assert f"% of the objects are cut; {hint} keeps all of them whole" in told
    told = toy(tmp_path / "whole", *FEW, *mended).output
    assert "20 images, 0 objects cut by the border" in told
    assert "note:" not in told


def test_few_cut_objects_are_only_counted(tmp_path):
    told = toy(tmp_path / "toy", "--training", 40, "--validation", 0, "--test", 0, "--no-sheet").output
    assert "objects cut by the border" in told
    assert "note:" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--task", "donuts"), "no toy task"),
        (("--sizes", "old"), "published, paper"),
        (("--size", 20), "does not fit"),
        (("--hole", 20), "holes smaller than objects"),
        (("--scale-px", "19,19"), "two different scales"),
        (("--scale-px", "19"), "--scale-px was given '19', expected 2 numbers like 19,20"),
        (("--scale-px", "19,20.5"), "expected 2 whole numbers like 19,20"),
        (("--scale-px", "19,33"), "an object of 65 px does not fit into an image of 64 px"),
        (("--margin", 32), "a margin of 32 px leaves no room for centres in an image of 64 px"),
        (("--margin", -1), "expected a number from 0 on, less than half of that"),
    ],
)
def test_faulty_options_are_told_and_leave_nothing(tmp_path, options, told):
    failed = toy(tmp_path / "toy", *SMALL, *options)
    assert isinstance(failed.exception, InputError)
    assert told in str(failed.exception)
    assert not (tmp_path / "toy").exists()
