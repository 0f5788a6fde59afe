"""Train on from the current model with what readers answered, and put the new model in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lesion_app.atomic_file import replacing
from lesion_app.bundle_run import config_paths, find_bundle, run_bundle
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import sha256_of
from lesion_app.labeling.reviewed_datalist import REVIEWED_SPLIT
from lesion_app.labeling.volume_finder import usable_device

CURRENT = "model.pt"
HISTORY = "history.json"


def fine_tune(
    datalist: Path,
    weights: Path,
    out: Path,
    *,
    configs: Sequence[str | Path] = (),
    bundle: str | Path | None = None,
    device: str = "cpu",
    overrides: dict[str, Any] | None = None,
) -> Path:
    """Train the bundle's recipe from ``weights`` on the slices that readers answered on.

    Confirmed boxes are lesions, rejected ones confirmed negatives, those nobody answered regions without gradient; a
    slice on which every find was rejected is trained on as well. Validation and the choice of the best epoch are the
    recipe's.

    Args:
        datalist: with reviewed records; paths in it are absolute.
        weights: to start from; not changed.
        out: new folder for the training's own models and logs.
        configs: overlays on the bundle's ``train.json``.
        bundle: see :func:`lesion_app.bundle_run.find_bundle`.
        device: torch device.
        overrides: further config values by id, such as ``epochs``.

    Returns:
        the new weights, in ``out``.

    Raises:
        InputError: weights of another network, a fault of datalist or configs, or no validation that could be scored.
    """
    values: dict[str, Any] = {
        "datalist": str(datalist),
        "dataset_dir": str(datalist.parent),
        "ckpt_dir": str(out / "models"),
        "output_dir": str(out / "training"),
        "device": f"$torch.device('{usable_device(device)}')",
        "use_mlflow": False,
        "resume": False,
        "pretrained": False,
        "network": {
            "_target_": "lesion_app.networks.checkpoint.load_weights",
            "network": "$@network_def.to(@device)",
            "path": str(weights),
            "device": "@device",
        },
        "train#dataset#data": {
            "_target_": "lesion_app.data.key_slices.key_slice_items",
            "records": {
                "_target_": "lesion_app.data.datalist.load_records",
                "datalist": "@datalist",
                "split": REVIEWED_SPLIT,
                "root": "@dataset_dir",
            },
            "mined": "ignore",
            "join": "reviewed",
        },
        **(overrides or {}),
    }
    root = find_bundle(bundle)
    config_paths(root, ["train.json", *configs])
    run_bundle(["train.json", *configs], values, bundle=root)
    trained = out / "models" / CURRENT
    if not trained.is_file():
        raise InputError(
            "the training kept no model, because no validation could be scored; label a volume with a lesion, or let "
            "it train for as many epochs as the recipe validates after"
        )
    return trained


def current_weights(models: Path, first: Path) -> Path:
    """The model trained last, else ``first``."""
    return models / CURRENT if (models / CURRENT).is_file() else first


def publish_weights(trained: Path, models: Path, told: dict[str, Any]) -> str:
    """Make ``trained`` the current model of a folder; earlier ones stay beside it under their SHA-256.

    Args:
        trained: weights of :func:`fine_tune`.
        models: folder with ``model.pt`` and ``history.json``, made when missing.
        told: what is written into the history with it, such as the datalist.

    Returns:
        SHA-256 of the model.
    """
    version = sha256_of(trained)
    content = trained.read_bytes()
    history = models / HISTORY
    entries = json.loads(history.read_text(encoding="utf-8")) if history.is_file() else []
    time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in (f"model-{version[:12]}.pt", CURRENT):
        with replacing(models / name) as temporary:
            temporary.write_bytes(content)
    with replacing(history) as temporary:
        entries.append({"model": version, "at": time, **told})
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return version
