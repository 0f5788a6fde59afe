"""Where a folder of models keeps its network."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_app.clinical.model_folder import ModelFolder, find_model
from lesion_app.errors import InputError


def make(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_none_means_the_installed_bundle() -> None:
    assert find_model(None) == ModelFolder()


@pytest.mark.parametrize(
    ("files", "named", "weights", "bundle"),
    [
        (["net.pt"], "net.pt", "net.pt", None),
        (["model.pt"], ".", "model.pt", None),
        (["one/model.pt", ".cache/model.pt", "readme.txt"], ".", "one/model.pt", None),
        (["configs/inference.json", "models/model.pt"], ".", "models/model.pt", "."),
        (["uld/configs/inference.json", "uld/models/model.pt"], ".", "uld/models/model.pt", "uld"),
    ],
)
def test_model_is_found(tmp_path: Path, files: list[str], named: str, weights: str, bundle: str | None) -> None:
    found = find_model(make(tmp_path, *files) / named)
    assert found.weights == tmp_path / weights
    assert found.bundle == (None if bundle is None else tmp_path / bundle)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "holds no model; expected model.pt"),
        (["one/readme.txt"], "holds no model"),
        (["a/model.pt", "b/model.pt"], r"holds 2 models \(a, b\)"),
        (["configs/inference.json"], "holds no model"),
    ],
)
def test_no_model_or_several_are_told(tmp_path: Path, files: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        find_model(make(tmp_path, *files))


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_model(tmp_path / "nothing")
