"""Lay out the application folder of a MONAI Application Package (MAP), and the manifests of its image.

    python scripts/map_app.py OUT

writes ``OUT/app`` (``__main__.py``, ``requirements.txt``, the two packages and the bundle's configs: what
``monai-deploy package OUT/app -c OUT/app.yaml`` takes and ``python OUT/app`` runs), ``OUT/app.yaml``, and
``OUT/app.json`` and ``OUT/pkg.json`` (``/etc/holoscan`` of the image that the repository's Dockerfile builds).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CLINICAL = Path("lesion_app") / "clinical"
PACKAGES = ("lesion_app", "transforms")
API_VERSION = "1.0.0"
SDK = ("monai-deploy", "4.0.0")
APP, MODELS, WORK, ETC = "/opt/holoscan/app", "/opt/holoscan/models", "/var/holoscan", "/etc/holoscan"
ENVIRONMENT = {  # as the SDK's packager writes it: input and output relative to the working directory
    "HOLOSCAN_APPLICATION": APP,
    "HOLOSCAN_INPUT_PATH": "input/",
    "HOLOSCAN_OUTPUT_PATH": "output/",
    "HOLOSCAN_WORKDIR": WORK,
    "HOLOSCAN_MODEL_PATH": MODELS,
    "HOLOSCAN_CONFIG_PATH": f"{WORK}/app.yaml",
    "HOLOSCAN_APP_MANIFEST_PATH": f"{ETC}/app.json",
    "HOLOSCAN_PKG_MANIFEST_PATH": f"{ETC}/pkg.json",
    "HOLOSCAN_DOCS_PATH": "/opt/holoscan/docs",
    "HOLOSCAN_LOGS_PATH": f"{WORK}/logs",
}


def lay_out(out: Path, model: str = "universal_lesion_ct_detection") -> None:
    """Write everything into the new folder ``out``, whole or not at all.

    Args:
        out: must not exist.
        model: name of the model's sub-folder, for the package manifest.

    Raises:
        FileExistsError: when ``out`` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}")
    try:
        app = stage / "app"
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
            shutil.copytree(REPOSITORY / package, app / package, ignore=ignored)
        (app / "bundle").mkdir()
        shutil.copytree(REPOSITORY / "bundle" / "configs", app / "bundle" / "configs")
        for name in ("__main__.py", "requirements.txt"):
            shutil.copyfile(REPOSITORY / CLINICAL / name, app / name)
        shutil.copyfile(REPOSITORY / "LICENSE", app / "LICENSE")
        config = REPOSITORY / CLINICAL / "app.yaml"
        shutil.copyfile(config, stage / "app.yaml")
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        for name, content in (("app.json", app_manifest(settings)), ("pkg.json", package_manifest(settings, model))):
            (stage / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.rename(stage, out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def app_manifest(settings: dict[str, Any]) -> dict[str, Any]:
    """``app.json``: how to start the application, and with what in its environment.

    Args:
        settings: content of ``app.yaml``.
    """
    application = settings["application"]
    return {
        "apiVersion": API_VERSION,
        "command": json.dumps(["python3", APP]),
        "environment": ENVIRONMENT,
        "input": {"path": "input/", "formats": application["input-formats"]},
        "output": {"path": "output/", "formats": application["output-formats"]},
        "readiness": None,
        "liveness": None,
        "timeout": 0,
        "version": application["version"],
        "workingDirectory": WORK,
        "sdk": SDK[0],
        "sdkVersion": SDK[1],
    }


def package_manifest(settings: dict[str, Any], model: str) -> dict[str, Any]:
    """``pkg.json``: where application and model lie, and what the application needs of a machine."""
    return {
        "apiVersion": API_VERSION,
        "applicationRoot": APP,
        "modelRoot": MODELS,
        "models": {model: f"{MODELS}/{model}"},
        "resources": settings["resources"],
        "version": settings["application"]["version"],
        "platformConfig": "dgpu",
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Lay out the application folder of a MONAI Application Package.")
    parser.add_argument("out", type=Path, help="new folder")
    out = parser.parse_args().out
    try:
        lay_out(out)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {out}: monai-deploy package {out / 'app'} -c {out / 'app.yaml'} -m MODELS -t NAME --platform x86_64")
    return 0


if __name__ == "__main__":
    sys.exit(main())
