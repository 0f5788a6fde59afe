"""Detection: it works on few slices, and every mistake of the user is one line on stderr, code 2, and no result."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from lesion_app.networks.checkpoint import save_atomically

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


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
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["lesions.json", "lesions.png", "out"]
