"""What MONAI Deploy's packager makes of the application, with a docker that only takes notes; and our own image."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
REQUIREMENTS = REPOSITORY / "lesion_app" / "clinical" / "requirements.txt"
# Tells of the builder that the packager looks for, and keeps the context of `buildx build`.
RECORDING_DOCKER = """#!{python}
import json, shutil, sys
if sys.argv[1:3] == ["buildx", "ls"]:
    print(json.dumps({{"Name": "holoscan_app_builder", "Driver": "docker-container", "Dynamic": False, "Nodes": []}}))
if sys.argv[1:3] == ["buildx", "inspect"]:
    print("Name:   holoscan_app_builder\\nDriver: docker-container")
if sys.argv[1:3] == ["buildx", "build"]:
    shutil.copytree(sys.argv[-1], {context!r})
"""
ARTIFACTS = {
    "4.2.0": {
        "holoscan": {
            "debian-version": "4.2.0.0-1",
            "wheel-version": "4.2.0",
            "base-images": {"dgpu": "example.org/cuda:13.0.0-runtime", "igpu": "example.org/cuda:13.0.0-runtime"},
            "build-images": {"igpu": {}, "dgpu": {}, "cpu": {}},
        },
        "health-probes": {},
    }
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout") / "map"
    script = REPOSITORY / "scripts" / "map_app.py"
    told = subprocess.run([sys.executable, script, folder], check=True, capture_output=True, text=True).stdout
    assert f"monai-deploy package {folder / 'app'} -c {folder / 'app.yaml'}" in told
    return folder


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.slow
def test_packager_gets_everything_and_agrees_with_our_manifests(
    deploy_python, clean_environment, layout, tiny_models, tmp_path
) -> None:
    context = tmp_path / "context"
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(RECORDING_DOCKER.format(python=sys.executable, context=str(context)))
    docker.chmod(0o755)
    (tmp_path / "artifacts.json").write_text(json.dumps(ARTIFACTS))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "universal_lesion_ct_detection").symlink_to(tiny_models / "tiny")
    command = [deploy_python.parent / "monai-deploy", "package", layout / "app", "-c", layout / "app.yaml"]
    command += ["-t", "universal-lesion:0.1.0", "--platform", "x86_64", "-m", tmp_path / "models"]
    command += ["--source", tmp_path / "artifacts.json", "--build-cache", tmp_path / "cache"]
    environment = clean_environment()
    environment["PATH"] = f"{docker.parent}:{environment['PATH']}"
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert context.is_dir(), ran.stdout + ran.stderr

    assert json.loads((context / "map" / "app.json").read_text()) == json.loads((layout / "app.json").read_text())
    assert json.loads((context / "map" / "pkg.json").read_text()) == json.loads((layout / "pkg.json").read_text())
    assert (context / "models" / "universal_lesion_ct_detection" / "model.pt").is_file()
    assert (context / "pip" / "requirements.txt").read_text() == REQUIREMENTS.read_text()
    for name in ("__main__.py", "lesion_app/clinical/application.py", "bundle/configs/inference.json"):
        assert (context / "app" / name).is_file()
    assert (context / "app.config").read_text() == (layout / "app.yaml").read_text()
    dockerfile = (context / "Dockerfile").read_text()
    assert "FROM example.org/cuda:13.0.0-runtime AS base" in dockerfile
    assert "monai-deploy-app-sdk==4.0.0" in dockerfile


def test_layout_holds_no_caches_and_replaces_nothing(layout: Path) -> None:
    assert not [path for path in layout.rglob("*") if path.name == "__pycache__" or path.suffix == ".pt"]
    script = REPOSITORY / "scripts" / "map_app.py"
    ran = subprocess.run([sys.executable, script, layout], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)


def test_layout_imports_with_the_syntax_of_the_packagers_python(layout: Path) -> None:
    """The packager's image has Python 3.12; what that warns of or lacks must not be used."""
    program = "import sys, compileall; sys.exit(not compileall.compile_dir(sys.argv[1], quiet=1, force=True))"
    checked = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, layout / "app" / "lesion_app"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    gone = re.compile(r"^\s*(?:import|from) (?:distutils|imp|asynchat|asyncore|smtpd|pkg_resources)\b", re.MULTILINE)
    sources = list((layout / "app").rglob("*.py"))
    assert [str(path) for path in sources if gone.search(path.read_text(encoding="utf-8"))] == []


def test_versions_of_the_image_are_those_that_were_tested() -> None:
    wanted = pins((REPOSITORY / "constraints.txt").read_text())
    deploy = pins((REPOSITORY / "constraints-deploy.txt").read_text())
    ours = pins(REQUIREMENTS.read_text())
    assert {name: version for name, version in ours.items() if (deploy | wanted).get(name) != version} == {}
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    assert arguments["TORCH_VERSION"] == wanted["torch"]
    assert arguments["TORCHVISION_VERSION"] == wanted["torchvision"]
    assert arguments["TORCH_BUILD"] == "cpu"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their continued lines joined, comments left out."""
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in joined)]


def test_dockerfile_keeps_to_good_practice() -> None:
    found = instructions()
    last = dict(found)
    assert last["USER"].split(":")[0] not in ("root", "0")
    assert "ADD" not in last
    assert json.loads(last["ENTRYPOINT"]) == ["python3", "/opt/holoscan/app"]  # exec form: exit code and signals pass
    assert found[-1][0] == "ENTRYPOINT"
    image = dict(re.findall(r"^(\w+)=(\S+)$", "\n".join(rest for word, rest in found if word == "ARG"), re.MULTILINE))
    assert ":" in image["PYTHON_IMAGE"]
    assert not image["PYTHON_IMAGE"].endswith(":latest")
    for word, rest in found:
        if word == "RUN" and "pip install" in rest:
            named = [
                part for part in shlex.split(rest.split("&&")[0])[2:] if not part.startswith("-") and "/" not in part
            ]
            assert all("==" in part for part in named), rest
    for word, rest in found:
        if word == "RUN":
            assert "curl" not in rest
            assert "sudo" not in rest


def test_image_has_the_layout_that_its_manifests_tell(layout: Path) -> None:
    app = json.loads((layout / "app.json").read_text())
    package = json.loads((layout / "pkg.json").read_text())
    text = " ".join(rest for word, rest in instructions() if word == "ENV")
    environment = dict(part.split("=", 1) for part in shlex.split(text))
    work = app["workingDirectory"]
    for name, value in app["environment"].items():
        if name in environment:
            absolute = value if value.startswith("/") else f"{work}/{value}".rstrip("/")
            assert environment[name] == absolute
    assert environment["HOLOSCAN_MODEL_PATH"] == package["modelRoot"]
    assert environment["HOLOSCAN_APPLICATION"] == package["applicationRoot"]
    copied = [rest for word, rest in instructions() if word == "COPY"]
    assert any(rest.endswith(next(iter(package["models"].values()))) for rest in copied)
    assert dict(instructions())["WORKDIR"] == work


def test_build_context_lets_in_what_the_layout_needs() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for needed in ("lesion_app", "transforms", "bundle", "scripts/map_app.py", "LICENSE"):
        assert f"!{needed}" in rules
