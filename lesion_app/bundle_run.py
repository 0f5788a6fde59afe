"""Runs the bundle's configs from Python and the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesion_app.config_errors import check_overlay, check_overrides, explain
from lesion_app.errors import InputError


def find_bundle(folder: str | Path | None = None) -> Path:
    """The bundle's folder (the one that holds ``configs/``), absolute.

    Looked for, in this order: ``folder``, the environment variable ``LESION_APP_BUNDLE``, the folder this package
    lies in (a packed bundle), ``bundle/`` beside it (a checkout), ``bundle/`` and the working directory.

    Raises:
        InputError: when there is none.
    """
    home = Path(__file__).resolve().parents[1]
    named = folder or os.environ.get("LESION_APP_BUNDLE")
    places = [Path(named)] if named else [home, home / "bundle", Path.cwd() / "bundle", Path.cwd()]
    for place in places:
        if (place / "configs" / "inference.json").is_file():
            return place.resolve()
    raise InputError(
        f"no bundle found in {', '.join(str(p) for p in places)}: a folder with configs/inference.json is expected; "
        "name it with --bundle or the environment variable LESION_APP_BUNDLE"
    )


def config_paths(bundle: Path, names: Sequence[str | Path]) -> list[str]:
    """Config files as absolute paths; a bare name means one of the bundle's ``configs/``.

    Raises:
        InputError: when a file does not exist or is not JSON.
    """
    paths = []
    for name in names:
        candidates = [Path(name), bundle / "configs" / name, bundle / "configs" / f"{name}.json"]
        found = next((c for c in candidates if c.is_file()), None)
        if found is None:
            known = ", ".join(sorted(p.stem for p in (bundle / "configs").glob("*.json") if p.stem != "metadata"))
            raise InputError(f"there is no config file '{name}'; name a file or one of {known}")
        try:
            json.loads(found.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"the config file {found} is not valid JSON: {error}; mend it there") from error
        paths.append(str(found.resolve()))
    return paths


def evaluation_configs(overlays: Sequence[str | Path], bundle: str | Path | None = None) -> list[str | Path]:
    """Configs of an evaluation: ``train.json``, the overlays, and what evaluates them.

    Nothing is added to an overlay that brings the key ``evaluating`` (``evaluate``, ``toy_evaluate``): it is an
    evaluation. Otherwise added are the configs that the last overlay with the key ``evaluation_configs`` names there
    (``toy``: ``toy_evaluate``), without one ``evaluate``; where some of them are given already, the others come before.

    Args:
        overlays: names or paths (see `config_paths`).
        bundle: see `find_bundle`.

    Raises:
        InputError: as `config_paths`.
    """
    root = find_bundle(bundle)
    paths = config_paths(root, overlays)
    contents = [json.loads(Path(path).read_text()) for path in paths]
    if any("evaluating" in content for content in contents):
        return ["train.json", *overlays]
    named = next((c["evaluation_configs"] for c in reversed(contents) if "evaluation_configs" in c), ["evaluate"])
    wanted = dict(zip(config_paths(root, named), named))
    place = next((n for n, path in enumerate(paths) if path in wanted), len(paths))
    added = [name for path, name in wanted.items() if path not in paths]
    return ["train.json", *overlays[:place], *added, *overlays[place:]]


def run_bundle(
    configs: Sequence[str | Path],
    overrides: dict[str, Any] | None = None,
    *,
    bundle: str | Path | None = None,
    workflow_type: str = "train",
    tracking: str | None = None,
) -> Any:
    """Initialise, run and finalise the workflow that ``configs`` (merged in order) describe.

    Equal to ``python -m monai.bundle run --config_file "[...]"`` with ``bundle_root`` set.

    Args:
        configs: names or paths (see :func:`config_paths`).
        overrides: config values by id (``"mean_teacher#policy": "ignore"``).
        bundle: see :func:`find_bundle`.
        workflow_type: ``train`` or ``infer``.
        tracking: as MONAI's option (``mlflow``).

    Returns:
        the parser, whose items can be read with ``get_parsed_content``.

    Raises:
        InputError: for every mistake of the user, the config's own included.
    """
    from monai.bundle import ConfigWorkflow

    root = find_bundle(bundle)
    values = {"bundle_root": str(root), **(overrides or {})}
    try:
        files = config_paths(root, configs)
        workflow = ConfigWorkflow(
            config_file=files,
            meta_file=str(root / "configs" / "metadata.json"),
            logging_file=str(root / "configs" / "logging.conf"),
            workflow_type=workflow_type,
            tracking=tracking,
        )
        _check_keys(files, values, workflow.parser.get())  # type: ignore[arg-type]
        workflow.parser.update(values)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        mistake = explain(error)
        if mistake is None or mistake is error:
            raise
        raise mistake from error
    return workflow.parser


def load_network(
    configs: Sequence[str | Path], weights: str | Path | None = None, bundle: str | Path | None = None
) -> Any:
    """The network that inference configs describe, with its weights, on the CPU.

    Args:
        configs: names or paths (see :func:`config_paths`), ``inference.json`` first.
        weights: state dict; None = the configs' own.
        bundle: see :func:`find_bundle`.

    Raises:
        InputError: unknown config, or no or other weights.
    """
    from monai.bundle import ConfigParser

    root = find_bundle(bundle)
    files = config_paths(root, configs)
    values: dict[str, Any] = {"bundle_root": str(root), "device": "$torch.device('cpu')"}
    if weights is not None:
        values["weights"] = str(Path(weights).absolute())
    try:
        parser = ConfigParser(ConfigParser.load_config_files(files))
        _check_keys(files, values, parser.get())  # type: ignore[arg-type]
        parser.update(values)
        return parser.get_parsed_content("load")
    except Exception as error:
        mistake = explain(error)
        if mistake is None or mistake is error:
            raise
        raise mistake from error


def _check_keys(files: Sequence[str], values: dict[str, Any], merged: dict[str, Any]) -> None:
    """Refuse mistyped keys of overlays and overrides."""
    contents = [json.loads(Path(file).read_text()) for file in files]
    base: dict[str, Any] = dict(contents[0])
    for file, overlay in zip(files[1:], contents[1:]):
        check_overlay(overlay, base, merged, Path(file).name)
        base.update(overlay)
    check_overrides(values, merged)
