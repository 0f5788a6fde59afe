from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lesion_app.bundle_run import config_paths, evaluation_configs, find_bundle, run_bundle
from lesion_app.errors import InputError

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


@pytest.fixture
def small_bundle(tmp_path) -> Path:
    """A bundle whose inference writes ``x`` to a file, and whose training refers to what is not there."""
    configs = tmp_path / "bundle" / "configs"
    configs.mkdir(parents=True)
    for name in ("metadata.json", "logging.conf"):
        shutil.copy(BUNDLE / "configs" / name, configs / name)
    write = "$open(@bundle_root + '/out.txt', 'w').write(str(@x))"
    (configs / "inference.json").write_text(json.dumps({"bundle_root": ".", "x": 1, "y": "$@x + 1", "run": [write]}))
    (configs / "train.json").write_text(json.dumps({"bundle_root": ".", "x": "@z", "run": ["$print(@x)"]}))
    (configs / "twice.json").write_text(json.dumps({"x": 2}))
    return configs.parent


def test_bundle_is_the_one_named_then_the_environments_then_the_checkouts(small_bundle, monkeypatch):
    monkeypatch.delenv("LESION_APP_BUNDLE", raising=False)
    assert find_bundle() == BUNDLE
    assert find_bundle(small_bundle) == small_bundle
    monkeypatch.setenv("LESION_APP_BUNDLE", str(small_bundle))
    assert find_bundle() == small_bundle
    assert find_bundle(BUNDLE) == BUNDLE


def test_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no bundle found in .*configs/inference.json is expected"):
        find_bundle(tmp_path)


def test_configs_are_found_by_name_and_by_path_from_anywhere(small_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text("{}")
    found = config_paths(small_bundle, ["twice", "twice.json", "mine.json", tmp_path / "mine.json"])
    assert found == [str(small_bundle / "configs" / "twice.json")] * 2 + [str(tmp_path / "mine.json")] * 2


def test_unknown_config_is_refused_with_the_known_ones(small_bundle):
    with pytest.raises(InputError, match="no config file 'thrice'; name a file or one of inference, train, twice"):
        config_paths(small_bundle, ["thrice"])


@pytest.mark.parametrize("content", [b"{,}", b"\xff\xfe\x00"])
def test_config_that_is_no_json_is_refused(small_bundle, tmp_path, content):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.json is not valid JSON"):
        config_paths(small_bundle, [tmp_path / "mine.json"])


@pytest.mark.usefixtures("unchanged_process")
def test_configs_merge_in_order_and_overrides_come_last(small_bundle):
    written = small_bundle / "out.txt"
    parser = run_bundle(["inference"], bundle=small_bundle, workflow_type="infer")
    assert (written.read_text(), parser.get_parsed_content("y")) == ("1", 2)
    run_bundle(["inference", "twice"], bundle=small_bundle, workflow_type="infer")
    assert written.read_text() == "2"
    run_bundle(["inference", "twice"], {"x": 3}, bundle=small_bundle, workflow_type="infer")
    assert written.read_text() == "3"


@pytest.mark.usefixtures("unchanged_process")
def test_mistakes_are_input_errors(small_bundle, tmp_path):
    with pytest.raises(InputError, match=r"'@z', which is not defined"):
        run_bundle(["train"], bundle=small_bundle)
    with pytest.raises(InputError, match="no key 'z' to override"):
        run_bundle(["inference"], {"z": 3}, bundle=small_bundle)
    (tmp_path / "mine.json").write_text('{"bundle_rot": "elsewhere"}')
    with pytest.raises(InputError, match="did you mean 'bundle_root'"):
        run_bundle(["inference", tmp_path / "mine.json"], bundle=small_bundle)
    assert not (small_bundle / "out.txt").exists()


@pytest.mark.usefixtures("unchanged_process")
def test_faults_of_the_program_keep_their_type(small_bundle):
    overlay = small_bundle / "configs" / "twice.json"
    overlay.write_text(
        json.dumps({"run": [{"_target_": "shutil.copyfile", "src": str(small_bundle / "none"), "dst": "copy"}]})
    )
    with pytest.raises(RuntimeError, match="Failed to instantiate"):
        run_bundle(["inference", "twice"], bundle=small_bundle)


@pytest.mark.parametrize("overlays", [["demo"], ["demo", "evaluate"], ["evaluate"], ["multi_gpu_train"]])
def test_no_overlay_of_the_bundle_is_taken_for_mistyped(overlays):
    from lesion_app.bundle_run import _check_keys

    files = config_paths(BUNDLE, ["train", *overlays])
    merged = {key: value for file in files for key, value in json.loads(Path(file).read_text()).items()}
    _check_keys(files, {}, merged)


@pytest.mark.parametrize(
    ("overlays", "expected"),
    [
        ([], ["evaluate"]),
        (["demo"], ["demo", "evaluate"]),
        (["demo", "evaluate"], ["demo", "evaluate"]),
        (["retina_unet", "toy"], ["retina_unet", "toy", "toy_evaluate"]),
        (["retina_unet", "toy", "toy_evaluate"], ["retina_unet", "toy", "toy_evaluate"]),
        (["retina_unet", "lidc"], ["retina_unet", "lidc", "evaluate", "lidc_evaluate"]),
        (["retina_unet", "lidc", "lidc_evaluate.json"], ["retina_unet", "lidc", "evaluate", "lidc_evaluate.json"]),
        (["retina_unet", "lidc", "evaluate"], ["retina_unet", "lidc", "evaluate"]),
        (["typed_detection", "yolov4"], ["typed_detection", "yolov4", "typed_evaluate"]),
    ],
)
def test_overlay_is_evaluated_by_the_configs_it_names(overlays, expected):
    assert evaluation_configs(overlays, BUNDLE) == ["train.json", *expected]


def test_own_overlay_can_name_its_evaluation(small_bundle, tmp_path):
    (tmp_path / "measured.json").write_text('{"x": 5}')
    (tmp_path / "mine.json").write_text(json.dumps({"evaluation_configs": [str(tmp_path / "measured.json")]}))
    found = evaluation_configs(["twice", tmp_path / "mine.json"], small_bundle)
    assert found == ["train.json", "twice", tmp_path / "mine.json", str(tmp_path / "measured.json")]
    (tmp_path / "mine.json").write_text('{"evaluation_configs": ["nowhere"]}')
    with pytest.raises(InputError, match="no config file 'nowhere'"):
        evaluation_configs([tmp_path / "mine.json"], small_bundle)


@pytest.mark.usefixtures("unchanged_process")
def test_training_and_evaluation_run_from_the_bundles_own_configs(phantom_data, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = tiny_run(phantom_data, tmp_path, epochs=1)
    run_bundle(["train", "demo"], settings)
    weights = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    settings["output_dir"] = str(tmp_path / "evaluation")
    run_bundle(["train", "demo", "evaluate"], {**settings, "evaluate_student": True})
    document = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert document["models"].keys() == {"teacher", "student"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evaluation", "models", "training"]
