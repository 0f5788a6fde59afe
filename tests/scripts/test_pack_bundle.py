from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
import yaml
from monai.bundle import ConfigParser
from monai.bundle.scripts import verify_metadata
from typer.testing import CliRunner

from lesion_app.errors import InputError

OVERLAYS: dict[str, Any] = {"configs": ["demo_inference"], "train_configs": ["demo"]}
BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, pack_bundle: ModuleType, demo_weights: Path) -> Path:
    return pack_bundle.pack_bundle(tmp_path_factory.mktemp("packed"), demo_weights, archive=True, **OVERLAYS)


def run_script(pack_bundle: ModuleType, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(pack_bundle.main)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_pack_holds_configs_docs_licence_weights_and_both_packages(packed: Path, demo_weights: Path) -> None:
    assert packed.name == "universal_lesion_ct_detection"
    for name in (
        "LICENSE",
        "requirements.txt",
        "configs/metadata.json",
        "configs/logging.conf",
        "configs/train.json",
        "configs/evaluate.json",
        "configs/multi_gpu_train.json",
        "docs/README.md",
        "docs/data_license.txt",
        "docs/recipe.md",
        "lesion_app/__init__.py",
        "lesion_app/inferers/lesions.schema.json",
        "transforms/__init__.py",
    ):
        assert (packed / name).is_file(), name
    assert (packed / "models/model.pt").read_bytes() == demo_weights.read_bytes()
    assert not list(packed.rglob("__pycache__"))
    assert os.listdir(packed.parent) != []
    assert sorted(p.name for p in packed.parent.iterdir()) == [packed.name, f"{packed.name}.zip"]


def test_merged_configs_mean_what_base_and_overlay_meant(packed: Path) -> None:
    for name, overlay in (("inference", "demo_inference"), ("train", "demo")):
        wanted = ConfigParser.load_config_files([str(BUNDLE / "configs" / f"{n}.json") for n in (name, overlay)])
        found = json.loads((packed / "configs" / f"{name}.json").read_text())
        added = {"_desc_", "imports", "initialize"}
        assert {k: v for k, v in found.items() if k not in added} == {k: v for k, v in wanted.items() if k not in added}
        assert found["initialize"][1:] == wanted["initialize"]
        assert f"{overlay}.json" in found["_desc_"]
        assert not (packed / "configs" / f"{overlay}.json").exists()


def test_packed_configs_stay_readable(packed: Path) -> None:
    text = (packed / "configs" / "inference.json").read_text()
    assert '"block_config": [' in text
    assert len(text.splitlines()) < 1.1 * len((BUNDLE / "configs" / "inference.json").read_text().splitlines())


def test_zip_unpacks_to_the_folder(packed: Path) -> None:
    with zipfile.ZipFile(packed.with_suffix(".zip")) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    files = {str(p.relative_to(packed.parent)) for p in packed.rglob("*") if p.is_file()}
    # MONAI leaves __pycache__ behind once the folder is used
    assert names == {name for name in files if "__pycache__" not in name}


def test_requirements_pin_what_the_metadata_states(packed: Path) -> None:
    lines = (packed / "requirements.txt").read_text().split()
    metadata = json.loads((packed / "configs" / "metadata.json").read_text())
    assert f"monai=={metadata['monai_version']}" in lines
    assert f"torch=={metadata['pytorch_version']}" in lines
    assert f"torchvision=={metadata['required_packages_version']['torchvision']}" in lines


def test_schema_lets_verify_metadata_run_offline(
    pack_bundle: ModuleType, demo_weights: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = real_data / "schema" / "meta_schema_20240725.json"
    folder = pack_bundle.pack_bundle(tmp_path, demo_weights, schema=schema, **OVERLAYS)

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("verify_metadata went to the network")

    monkeypatch.setattr("monai.apps.utils.urlretrieve", no_network)
    verify_metadata(meta_file=str(folder / "configs/metadata.json"), filepath=str(folder / "eval/schema.json"))


@pytest.mark.parametrize("url", [None, "https://example.org/model.pt"])
def test_large_weights_get_an_entry_with_their_digest(
    pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setattr(pack_bundle, "_LARGE_FILE_BYTES", 1000)
    folder = pack_bundle.pack_bundle(tmp_path, demo_weights, weights_url=url, **OVERLAYS)
    (entry,) = yaml.safe_load((folder / "large_files.yml").read_text())["large_files"]
    assert entry == {
        "path": "models/model.pt",
        "url": url or "",
        "hash_val": hashlib.sha256(demo_weights.read_bytes()).hexdigest(),
        "hash_type": "sha256",
    }


def test_small_weights_need_no_large_files(packed: Path) -> None:
    assert not (packed / "large_files.yml").exists()


def test_weights_of_another_network_are_refused_and_nothing_is_written(
    pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path
) -> None:
    for options, told in (
        ([], "--config"),
        (["--config", "demo_inference"], "--train-config"),  # monai.bundle.load reads train.json
    ):
        result = run_script(pack_bundle, tmp_path / "out", "--weights", demo_weights, *options)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert "another network" in result.stderr
        assert told in result.stderr
        assert not (tmp_path / "out").exists()


def test_unusable_weights_are_refused_in_one_sentence(
    pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path
) -> None:
    garbage, nested = tmp_path / "garbage.pt", tmp_path / "nested.pt"
    garbage.write_bytes(b"no checkpoint")
    torch.save({"model": torch.load(demo_weights, weights_only=True)}, nested)
    for weights in (garbage, nested, tmp_path / "missing.pt"):
        result = run_script(
            pack_bundle,
            tmp_path / "out",
            "--weights",
            weights,
            *("--config", "demo_inference", "--train-config", "demo"),
        )
        assert result.exit_code == 2
        assert weights.name in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_unknown_overlay_is_refused(pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config file 'dmeo'"):
        pack_bundle.pack_bundle(tmp_path / "out", demo_weights, configs=["dmeo"])


def test_overwrites_an_earlier_pack_only_when_forced(
    pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path
) -> None:
    folder = pack_bundle.pack_bundle(tmp_path, demo_weights, **OVERLAYS)
    (folder / "stale.txt").touch()
    with pytest.raises(InputError, match="--force"):
        pack_bundle.pack_bundle(tmp_path, demo_weights, **OVERLAYS)
    assert (folder / "stale.txt").exists()
    pack_bundle.pack_bundle(tmp_path, demo_weights, force=True, **OVERLAYS)
    assert not (folder / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_force_does_not_replace_what_is_no_pack(pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path) -> None:
    mine = tmp_path / "universal_lesion_ct_detection" / "thesis.txt"
    mine.parent.mkdir()
    mine.touch()
    with pytest.raises(InputError, match="not an earlier pack"):
        pack_bundle.pack_bundle(tmp_path, demo_weights, force=True, **OVERLAYS)
    assert mine.exists()


def test_failure_half_way_leaves_the_earlier_pack(
    pack_bundle: ModuleType, demo_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pack_bundle.pack_bundle(tmp_path, demo_weights, **OVERLAYS)

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack_bundle, "_requirements", full)
    with pytest.raises(InputError, match="No space left"):
        pack_bundle.pack_bundle(tmp_path, demo_weights, force=True, **OVERLAYS)
    assert (folder / "models" / "model.pt").is_file()
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
