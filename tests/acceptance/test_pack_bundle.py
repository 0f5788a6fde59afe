"""The packed bundle where only its pip dependencies are installed: neither lesion-app nor this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[2]

# Each checks first that nothing of this project can be imported from where it runs.
RUN = """
import importlib.util, runpy, sys
assert {inside} or importlib.util.find_spec("lesion_app") is None, "lesion_app leaked into the environment"
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""
LOAD = """
import importlib.util, json, sys
from pathlib import Path
assert importlib.util.find_spec("lesion_app") is None, "lesion_app leaked into the environment"
import torch
from monai.bundle import ConfigWorkflow, load
packed, cts, out = map(Path, sys.argv[1:])
weights = torch.load(packed / "models/model.pt", weights_only=True)
same = []
for kind in ("train", "inference"):
    network = load(packed.name, bundle_dir=packed.parent, workflow_type=kind, device="cpu")
    state = network.state_dict()
    same.append(state.keys() == weights.keys() and all(torch.equal(state[k], weights[k]) for k in weights))
import lesion_app
workflow = ConfigWorkflow(
    config_file=str(packed / "configs/inference.json"),
    workflow_type="inference",
    bundle_root=str(packed),
    dataset_dir=str(cts),
    output_dir=str(out),
)
workflow.initialize()
missing = workflow.check_properties()
workflow.run()
workflow.finalize()
print(json.dumps({"same": same, "missing": missing, "home": lesion_app.__file__}))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    configs = REPOSITORY / "bundle" / "configs"
    files = [str(configs / "inference.json"), str(configs / "demo_inference.json")]
    torch.manual_seed(0)
    network = ConfigParser(ConfigParser.load_config_files(files)).get_parsed_content("network_def")
    torch.save(network.state_dict(), folder / "teacher.pt")
    command = [sys.executable, str(REPOSITORY / "scripts" / "pack_bundle.py"), str(folder)]
    command += ["--weights", str(folder / "teacher.pt"), "--config", "demo_inference", "--train-config", "demo"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    target = folder / "universal_lesion_ct_detection"
    assert f"wrote {target / 'models'}" in told
    assert f"--config_file {target / 'configs' / 'inference.json'} --bundle_root {target}" in told
    return target


@pytest.fixture(scope="module")
def cts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small NIfTI: a body with a dense ball."""
    x, y, z = np.mgrid[:96, :96, :10]
    volume = np.where(((x - 48) / 40) ** 2 + ((y - 48) / 32) ** 2 < 1, 40, -1000)
    volume[(x - 50) ** 2 + (y - 40) ** 2 + (2 * (z - 5)) ** 2 < 25] = 150
    folder = tmp_path_factory.mktemp("cts")
    nib.save(nib.Nifti1Image(volume.astype(np.int16), np.diag([-3.0, -3.0, 5.0, 1.0])), folder / "ball.nii.gz")
    return folder


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with this one's packages, less what a .pth file adds (as `pip install -e` does)."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths()
    library = next(folder.glob("lib/python*/site-packages"))
    # a path named in a .pth file is searched for packages, but its own .pth files are not read
    (library / "dependencies.pth").write_text(f"{paths['purelib']}\n{paths['platlib']}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def runs(packed: Path, cts: Path, bare_python: Path, elsewhere: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Three ways to use the pack, at the same time, since each spends its time on imports."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LESION_APP_BUNDLE")}
    environment |= {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    data = ["--dataset_dir", str(cts)]
    config = ["run", "inference", "--config_file"]
    commands = {
        "own folder": (packed, RUN.format(inside=True), [*config, "configs/inference.json", *data]),
        "elsewhere": (
            elsewhere,
            RUN.format(inside=False),
            [*config, f"{packed}/configs/inference.json", "--bundle_root", str(packed), *data]
            + ["--output_dir", str(elsewhere / "cli")],
        ),
        "python": (elsewhere, LOAD, [str(packed), str(cts), str(elsewhere / "python")]),
    }
    started = {
        name: subprocess.Popen(
            [str(bare_python), "-c", code, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, (folder, code, arguments) in commands.items()
    }
    yield started
    for process in started.values():
        if process.poll() is None:
            process.kill()
            process.wait()


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]
    return output


def test_runs_from_its_own_folder(runs: dict[str, subprocess.Popen[str]], packed: Path) -> None:
    finish(runs["own folder"])
    found = json.loads((packed / "eval" / "lesions" / "ball" / "lesions.json").read_text())
    assert found["config"]["files"][0]["file"] == "inference.json"


def test_runs_from_any_other_folder(runs: dict[str, subprocess.Popen[str]], elsewhere: Path) -> None:
    finish(runs["elsewhere"])
    assert sorted(p.name for p in (elsewhere / "cli" / "ball").iterdir()) == ["lesions.json", "lesions.png"]


def test_loads_and_runs_from_python(runs: dict[str, subprocess.Popen[str]], packed: Path) -> None:
    report = json.loads(finish(runs["python"]).splitlines()[-1])
    assert report["same"] == [True, True], "monai.bundle.load returned other weights for train or inference"
    assert report["missing"] == []
    assert Path(report["home"]).parent == packed / "lesion_app"
