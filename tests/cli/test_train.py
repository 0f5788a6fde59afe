"""Training and evaluation: every mistake of the user is one line on stderr, code 2, and no result."""

from __future__ import annotations

import json
import os
import re
import shlex

import pytest
from PIL import Image

from lesion_app.networks.checkpoint import save_atomically


def test_training_tells_the_command_that_evaluates_it(run, training, phantom_data, tmp_path):
    arguments = training(phantom_data, epochs=1, num_workers=0, val_num_workers=0)
    code, told, err = run(*arguments)
    assert code == 0, err
    assert f"wrote {tmp_path}/models/model.pt (best teacher), curves and logs in {tmp_path}/training" in told
    line = next(line for line in told.splitlines() if line.startswith("next: "))
    command, _, curves = line.removeprefix("next: lesion-app ").partition("   ")
    assert shlex.split(command) == ["evaluate", *arguments[1:]]
    assert curves == f"(curves: tensorboard --logdir {tmp_path}/training)"
    older = tmp_path / "training" / "older.json"
    older.touch()
    os.utime(older, (0, 0))
    code, told, err = run(*shlex.split(command))
    assert code == 0, err
    assert f"{tmp_path}/training/evaluation.json" in told
    assert "older.json" not in told


def test_missing_datalist_is_told_before_anything_is_written(refused, training, tmp_path):
    assert "datalist.json cannot be read" in refused(*training(tmp_path / "nowhere"))


def test_datalist_of_another_layout_is_told(refused, training, damaged):
    (damaged / "datalist.json").write_text('{"training": [{"image": "a.nii"}]}')
    assert "lacks annotations" in refused(*training(damaged))


def test_box_outside_its_image_in_a_datalist_is_told(refused, training, damaged):
    content = json.loads((damaged / "datalist.json").read_text())
    content["training"][0]["annotations"][0]["box"][2] = 999
    (damaged / "datalist.json").write_text(json.dumps(content))
    assert "leaves the 128 x 128 px image" in refused(*training(damaged))


@pytest.mark.parametrize(
    ("fault", "num_workers"), [("missing", 0), ("cut off", 0), ("8 bit", 0), ("cut off", 2)], ids=str
)
def test_slice_that_cannot_be_read_is_told(refused, training, damaged, fault, num_workers):
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
        ({"learning_rate": "fast"}, "learning_rate was given 'fast', expected a number like"),
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
    assert "name a file or one of calibrated_mining, demo" in refused("train", "--config", "dmeo")


def test_evaluation_without_weights_is_told(refused, training, phantom_data):
    arguments = ["evaluate", *training(phantom_data)[1:]]
    assert re.search(r"no checkpoint at .*model\.pt; train one first", refused(*arguments))
