"""Scripts are no package: they are loaded from their files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def pack_bundle() -> ModuleType:
    """``scripts/pack_bundle.py`` as a module."""
    spec = importlib.util.spec_from_file_location("pack_bundle", REPOSITORY / "scripts" / "pack_bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack_bundle"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of ``scripts`` can be imported as its programs do."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))


@pytest.fixture(scope="session")
def demo_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the demo's network."""
    import torch
    from monai.bundle import ConfigParser

    configs = REPOSITORY / "bundle" / "configs"
    files = [str(configs / "inference.json"), str(configs / "demo_inference.json")]
    torch.manual_seed(0)
    network = ConfigParser(ConfigParser.load_config_files(files)).get_parsed_content("network_def")
    path = tmp_path_factory.mktemp("weights") / "teacher.pt"
    torch.save(network.state_dict(), path)
    return path
