"""Exporting from the command line: a file that runs by itself, or one line of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app.networks.checkpoint import save_atomically

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    parser = ConfigParser()
    parser.read_config([str(BUNDLE / "configs" / name) for name in ("inference.json", "demo_inference.json")])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_atomically(parser.get_parsed_content("network_def").state_dict(), path)
    return path


def test_exported_file_runs_by_itself(run, bundle, weights, tmp_path):
    out = tmp_path / "detector.pt2"
    code, printed, _ = run(
        "export", out, "--bundle", bundle, "--config", "demo_inference", "--weights", weights, "--size", "64,96"
    )
    assert code == 0
    assert "slab [9, 64, 96]" in printed
    boxes, scores, labels = torch.export.load(out).module()(torch.zeros(9, 64, 96))
    assert boxes.shape == (50, 4)
    assert scores.shape == labels.shape == (50,)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("a.pt2", (), "no checkpoint at"),
        ("a.trt", ("--weights", "WEIGHTS", "--config", "demo_inference"), r"does not end in .pt2 or .onnx"),
        ("a.pt2", ("--weights", "WEIGHTS", "--config", "demo_inference", "--size", "100,100"), "multiples of 16"),
        ("a.pt2", ("--weights", "WEIGHTS"), "holds the weights of another network"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(refused, bundle, weights, tmp_path, name, options, told):
    options = [weights if option == "WEIGHTS" else option for option in options]
    assert told in refused("export", tmp_path / name, "--bundle", bundle, *options)
    assert not (tmp_path / name).exists()
