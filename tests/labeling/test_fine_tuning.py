import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lesion_app.errors import InputError
from lesion_app.labeling.fine_tuning import current_weights, fine_tune, publish_weights
from lesion_app.labeling.volume_finder import VolumeFinder, usable_device


def test_published_model_is_current_and_earlier_ones_stay(tmp_path: Path) -> None:
    models, first = tmp_path / "models", tmp_path / "first.pt"
    assert current_weights(models, first) == first
    versions = []
    for number in range(2):
        (tmp_path / "new.pt").write_bytes(b"weights %d" % number)
        versions.append(publish_weights(tmp_path / "new.pt", models, {"lesion": number}))
    assert current_weights(models, first).read_bytes() == b"weights 1"
    assert (models / f"model-{versions[0][:12]}.pt").read_bytes() == b"weights 0"
    history = json.loads((models / "history.json").read_text())
    assert [(one["model"], one["lesion"]) for one in history] == [(versions[0], 0), (versions[1], 1)]


@pytest.mark.parametrize("name", ["cpu') or print('x", "nothing", "cuda:99"])
def test_device_of_a_request_cannot_be_an_expression(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device"):
        usable_device(name)
    with pytest.raises(InputError, match="device"):
        VolumeFinder(tmp_path / "no.pt").find(tmp_path, device=name)
    with pytest.raises(InputError, match="device"):
        fine_tune(tmp_path / "d.json", tmp_path / "m.pt", tmp_path / "out", device=name)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights at no\.pt"):
        VolumeFinder(tmp_path / "no.pt").find(tmp_path)


@pytest.mark.slow
def test_training_goes_on_from_the_weights_with_all_kinds_of_boxes(
    phantom_data: Path, tmp_path: Path, tiny_run: Any, unchanged_process: None
) -> None:
    from monai.bundle import ConfigParser

    from lesion_app.bundle_run import config_paths, find_bundle

    content = json.loads((phantom_data / "datalist.json").read_text())
    record = content["training"][0]
    review = {"by": "dr-a", "at": "2026-01-31T12:00:00Z", "model": ""}
    other = record["slices"][0] if record["annotations"][0]["slice"] != record["slices"][0] else record["slices"][1]
    rejected = {**record["annotations"][0], "slice": other, "kind": "negative"}
    rejected["reviews"] = [{"verdict": "rejected", **review}]
    unknown = {**record["annotations"][0], "box": [5, 5, 20, 20], "kind": "mined"}
    record["annotations"] += [rejected, unknown]
    for split in ("training", "validation"):
        for one in content[split]:
            one["image"] = str(phantom_data / one["image"])
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps(content))
    overrides = tiny_run(phantom_data, tmp_path)
    for key in ("dataset_dir", "ckpt_dir", "output_dir", "device", "use_mlflow"):
        overrides.pop(key)
    overrides |= {"epochs": 1, "learning_rate": 1e-9}
    parser = ConfigParser(ConfigParser.load_config_files(config_paths(find_bundle(), ["train.json", "demo"])))
    parser.update(overrides)
    torch.manual_seed(3)
    weights = tmp_path / "start.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), weights)
    trained = fine_tune(datalist, weights, tmp_path / "run", configs=["demo"], overrides=overrides)
    before, after = (torch.load(path, weights_only=True) for path in (weights, trained))
    name = "backbone.fuse_stride16.weight"
    assert torch.allclose(before[name], after[name], atol=1e-5)
    assert trained.parent == tmp_path / "run" / "models"
