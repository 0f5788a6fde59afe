"""The command line: every mistake of the user is one line on stderr, code 2, and nothing left behind."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from lesion_app import __version__
from lesion_app.cli import main, parse_overrides
from lesion_app.errors import InputError
from lesion_app.networks.checkpoint import save_atomically

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
# What a training that breaks at its first slab has opened by then: its logs, no results.
LOGS = re.compile(r".*/(events\.out\.tfevents\..*|history\.jsonl|mlruns\.db)")

pytestmark = pytest.mark.usefixtures("unchanged_process")


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
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
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
def training(tiny_training, tmp_path) -> Callable[..., list[str]]:
    """``training(data, **more)``: the arguments of a tiny training into ``tmp_path``."""

    def make(data: Path, **more: object) -> list[str]:
        settings = tiny_training(data, tmp_path, **{name.replace("__", "#"): value for name, value in more.items()})
        return ["train", "--config", "demo", *(a for k, v in settings.items() for a in ("--set", f"{k}={v}"))]

    return make


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


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


# Data sets


def test_missing_label_table_is_told(refused, tmp_path):
    assert "DL_info.csv" in refused("prepare", "deeplesion", tmp_path, tmp_path / "out")


def test_label_table_with_wrong_columns_is_told(refused, damaged, tmp_path):
    rewrite(damaged / "DL_info.csv", lambda text: text.replace("Bounding_boxes", "Boxes", 1))
    told = refused("prepare", "deeplesion", damaged, tmp_path / "out")
    assert "lacks the column(s) Bounding_boxes" in told


def test_box_outside_its_image_is_told_with_its_line(refused, damaged, tmp_path):
    header, row, rest = (damaged / "DL_info.csv").read_text().split("\n", 2)
    cells = next(csv.reader([row]))
    cells[header.split(",").index("Bounding_boxes")] = "900, 900, 950, 950"
    row = ",".join(f'"{cell}"' for cell in cells)
    (damaged / "DL_info.csv").write_text("\n".join([header, row, rest]))
    assert re.search(
        r"DL_info\.csv.* line 2 .*inside the image", refused("prepare", "deeplesion", damaged, tmp_path / "out")
    )


def test_missing_images_are_told(refused, damaged, tmp_path):
    shutil.rmtree(next((damaged / "Images_png").iterdir()))
    assert "Images_png" in refused("prepare", "deeplesion", damaged, tmp_path / "out")


def test_folder_in_use_is_not_overwritten_by_a_phantom(refused, tmp_path):
    (tmp_path / "mine.txt").touch()
    assert "not an empty folder" in refused("phantom", tmp_path, "--patients", 1)


@pytest.mark.parametrize("option", [("--missing-law", "cointoss"), ("--missing-rate", "2"), ("--thickness", "thick")])
def test_options_of_the_phantom_out_of_range_are_told(refused, tmp_path, option):
    refused("phantom", tmp_path / "new", "--patients", 1, *option)


# Training


def test_missing_datalist_is_told_before_anything_is_written(refused, training, tmp_path):
    assert "datalist.json cannot be read" in refused(*training(tmp_path / "nowhere"))


def test_datalist_of_another_layout_is_told(refused, training, damaged):
    (damaged / "datalist.json").write_text('{"training": [{"image": "a.nii"}]}')
    assert "lacks annotations" in refused(*training(damaged))


def test_box_outside_its_image_in_a_datalist_is_told(refused, training, damaged):
    def widen(text):
        content = json.loads(text)
        content["training"][0]["annotations"][0]["box"][2] = 999
        return json.dumps(content)

    rewrite(damaged / "datalist.json", widen)
    assert "leaves the 128 x 128 px image" in refused(*training(damaged))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("fault", ["missing", "cut off", "8 bit"])
def test_slice_that_cannot_be_read_is_told(refused, training, damaged, fault, num_workers):
    if num_workers and fault != "cut off":
        pytest.skip("one fault shows how workers report")
    for picture in (damaged / "Images_png").glob("*/*.png"):
        if fault == "missing":
            picture.unlink()
        elif fault == "cut off":
            picture.write_bytes(picture.read_bytes()[:500])
        else:
            Image.new("L", (128, 128)).save(picture)
    told = refused(*training(damaged, num_workers=num_workers), logs=True)
    assert {"missing": "expected", "cut off": "16-bit PNG slice", "8 bit": "mode L"}[fault] in told


def test_training_that_diverges_is_told(refused, training, phantom_data):
    told = refused(*training(phantom_data, learning_rate=1e30, gradient_clip=1e30, lr_warmup_factor=1.0), logs=True)
    assert re.search(r"training diverged: .* not finite at iteration \d", told)


def test_state_of_another_network_is_told_and_kept(refused, training, phantom_data, tmp_path):
    (tmp_path / "models").mkdir()
    names = ("student", "teacher", "optimizer", "lr_scheduler", "best_teacher", "best_student")
    objects: dict[str, dict] = {name: {} for name in names}
    content = {"iteration": 3, "epoch": 1, "epoch_length": 3, "random": [{}], "objects": objects}
    save_atomically(content, tmp_path / "models" / "training_state.pt")
    assert "weights of another network" in refused(*training(phantom_data), "--resume", logs=True)


def test_missing_imagenet_weights_are_told(refused, training, phantom_data, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    told = refused(*training(phantom_data, pretrained=True))
    assert "ImageNet weights" in told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"lerning_rate": 0.1}, "no key 'lerning_rate' to override; did you mean learning_rate"),
        ({"mean_teacher__polisy": "add"}, "unexpected keyword argument 'polisy'"),
        ({"train__datalaoder__num_workers": 1}, "no key 'train#datalaoder'"),
        ({"learning_rate": "fast"}, "learning_rate was given 'fast', expected a number like 0.02"),
        ({"policy": "guess"}, "policy must be one of"),
        ({"cache": "disk"}, "expected none or memory"),
        ({"batch_size": "@batchsize"}, "it refers to '@batchsize', which is not defined"),
        ({"network_def___target_": "lesion_app.networks.YOLO"}, "Cannot locate class or function path"),
        ({"network_def__backbone__growth_rat": 2}, "unexpected keyword argument 'growth_rat'"),
        ({"network_def__backbone__norm": "none"}, "norm"),
        ({"network_def__backbone__num_images": 2}, "num_images must be odd"),
        ({"epochs": "$1 / 0"}, "the expression '$1 / 0' failed with ZeroDivisionError"),
        ({"device": "$torch.device('gpu')"}, "the expression"),
        ({"optimizer__lr": -1.0}, "Invalid learning rate"),
        ({"output_dir": "/dev/null/results"}, "cannot be used"),
    ],
)
def test_mistake_in_a_config_value_is_told(refused, training, phantom_data, more, told):
    assert told in refused(*training(phantom_data, **more), logs="output_dir" in more)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"epochs": 1,,}', "is not valid JSON"),
        ('{"epoch_lenght": 3}', "did you mean 'epoch_length'"),
        ('{"loss": "@losses"}', "'@losses', which is not defined"),
    ],
)
def test_mistake_in_a_config_file_is_told(refused, training, phantom_data, tmp_path_factory, content, told):
    file = tmp_path_factory.mktemp("config") / "mine.json"
    file.write_text(content)
    assert told in refused(*training(phantom_data), "--config", file)


def test_unknown_config_is_told_with_the_known_ones(refused):
    assert "name a file or one of demo" in refused("train", "--config", "dmeo")


def test_evaluation_without_weights_is_told(refused, training, phantom_data):
    arguments = ["evaluate", *training(phantom_data)[1:]]
    assert re.search(r"no checkpoint at .*model\.pt; train one first", refused(*arguments))


# Detection


@pytest.fixture
def detecting(bundle, tmp_path, phantom_data) -> Callable[..., list[object]]:
    """``detecting(ct, *options)``: arguments for a CT, by default a phantom's with tiny weights that do not exist."""

    def make(ct: Path | None = None, *options: object) -> list[object]:
        folder = ct or next((phantom_data / "Images_png").iterdir())
        spacing = ["--spacing", "0.8,0.8,5"] if ct is None else []
        return ["detect", folder, tmp_path / "out", "--bundle", bundle, "--device", "cpu", *spacing, *options]

    return make


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of demo.json's network, untrained."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in ("inference.json", "demo_inference.json")])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_atomically(parser.get_parsed_content("network_def").state_dict(), path)
    return path


def test_missing_weights_are_told(refused, detecting):
    assert re.search(r"no checkpoint at .*models/model\.pt; train one first", refused(*detecting()))


def test_weights_of_another_network_are_told(refused, detecting, weights):
    assert "holds the weights of another network" in refused(*detecting(None, "--weights", weights))


@pytest.mark.parametrize("content", [b"", b"PK not a zip", b"\x80\x02cos\nsystem\n."])
def test_weights_that_are_none_are_told(refused, detecting, tmp_path_factory, content):
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    file.write_bytes(content)
    assert "cannot be read as a checkpoint" in refused(*detecting(None, "--weights", file))


@pytest.mark.parametrize("name", ["MR_small.dcm", "CR_MONOCHROME1_J2K.dcm", "SEG_partial_overlaps.dcm", "rtplan.dcm"])
def test_ct_that_is_no_ct_is_told(refused, detecting, weights, real_data, name):
    file = real_data / "ct" / "zoo" / "non_ct" / name
    told = refused(*detecting(file, "--weights", weights, "--config", "demo_inference"))
    assert "CT" in told


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_file_that_is_no_image_is_told(refused, detecting, weights, tmp_path_factory, content):
    file = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    file.write_bytes(content)
    assert "ct.nii.gz" in refused(*detecting(file, "--weights", weights, "--config", "demo_inference"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "gpu"], "there is no device 'gpu' here"),
        (["--device", "cuda:99"], "there is no device 'cuda:99' here"),
        (["--min-score", "7"], "must lie in 0..1"),
        (["--slices", "all"], "--slices was given 'all', expected 2 numbers like 103-115"),
        (["--slices", "900-950"], "holds no slice numbered 900 to 950"),
        (["--spacing", "1,1"], "expected 3 numbers like 0.8,0.8,5"),
        (["--spacing", "1,1,-5"], "three positive numbers"),
        (["--config", "nothing"], "no config file 'nothing'"),
    ],
)
def test_options_of_detection_that_make_no_sense_are_told(refused, detecting, weights, options, told):
    assert told in refused(*detecting(None, "--weights", weights, "--config", "demo_inference", *options))


def test_ct_that_is_not_there_and_output_that_is_a_file_are_told(refused, detecting, tmp_path):
    assert "does not exist" in refused(*detecting(tmp_path / "nothing"))
    (tmp_path / "out").touch()
    assert "is a file; name a folder" in refused(*detecting())


def test_folder_that_is_no_bundle_is_told(refused, tmp_path):
    assert "no bundle found" in refused("detect", tmp_path, tmp_path / "out", "--bundle", tmp_path)


@pytest.mark.parametrize("first_and_last", [None, "same"])
def test_detection_on_few_slices_works(run, detecting, weights, phantom_data, tmp_path, first_and_last):
    numbers = sorted(int(p.stem) for p in next((phantom_data / "Images_png").iterdir()).glob("*.png"))
    assert len(numbers) <= 10
    slices = ["--slices", f"{numbers[3]}-{numbers[3]}"] if first_and_last else []
    code, out, err = run(*detecting(None, "--weights", weights, "--config", "demo_inference", *slices))
    assert (code, err) == (0, "")
    assert "lesions; wrote" in out
    assert tree(tmp_path) == ["out", "out/lesions.json", "out/lesions.png"]


# As a program of its own


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
    assert tree(tmp_path) == []


def monai_bundle(tmp_path: Path, settings: dict[str, object]) -> subprocess.CompletedProcess[str]:
    options = [a for k, v in settings.items() for a in (f"--{k}", json.dumps(v) if not isinstance(v, str) else v)]
    configs = str([str(BUNDLE / "configs" / name) for name in ("train.json", "demo.json")])
    logging_file = ["--logging_file", BUNDLE / "configs" / "logging.conf"]
    meta_file = ["--meta_file", BUNDLE / "configs" / "metadata.json"]
    command = ["-m", "monai.bundle", "run", "training", "--config_file", configs, *logging_file, *meta_file]
    return program(*command, *options, cwd=tmp_path)


def test_monais_own_command_ends_with_one_line_and_code_2(tmp_path, tiny_training):
    done = monai_bundle(tmp_path, tiny_training(tmp_path / "nowhere", tmp_path))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "datalist.json cannot be read" in lines[-1]
    assert "Traceback" not in done.stderr
    assert tree(tmp_path) == []


def test_fault_of_the_program_keeps_its_traceback(run, training, phantom_data, monkeypatch):
    from lesion_app.handlers.mean_teacher import MeanTeacher

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(MeanTeacher, "predict_teacher", fail)
    with pytest.raises(RuntimeError) as caught:
        run(*training(phantom_data))
    assert "a bug" in str(caught.value.__cause__)
