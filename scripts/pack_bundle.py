"""Pack the bundle and its weights into one self-contained folder, as MONAI's model zoo lays them out.

    python scripts/pack_bundle.py OUT --weights models/model.pt --config demo_inference --train-config demo

writes ``OUT/universal_lesion_ct_detection/``: configs, docs, LICENSE, weights and the two packages the configs name.
It runs wherever the packages of its ``requirements.txt`` are installed; ``lesion-app`` itself need not be.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import sys
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from monai.bundle import ConfigParser

from lesion_app.bundle_run import config_paths, find_bundle
from lesion_app.config_errors import explain
from lesion_app.errors import InputError
from lesion_app.networks.checkpoint import load_state, read_checkpoint

NAME = "universal_lesion_ct_detection"
PACKAGES = ("lesion_app", "transforms")
PAGES = ("recipe.md", "tracking.md", "data.md")  # of the checkout's docs/, which configs and model card refer to
REPOSITORY = Path(__file__).resolve().parents[1]
_LARGE_FILE_BYTES = 25 * 2**20  # the model zoo's limit for a file in git

# MONAI puts a bundle's folder on Python's path in run(), but monai.bundle.load and whoever reads a property before
# run() build components without it; the workflow that is initialising is the only one who knows where the folder is.
_FIND_PACKAGES = (
    "$[sys.path.insert(1, str(f.frame.f_locals['self'].config_root_path.resolve().parent)) for f in inspect.stack(0)"
    " if f.function == 'initialize' and isinstance(f.frame.f_locals.get('self'), monai.bundle.ConfigWorkflow)]"
)


def pack_bundle(
    out: Path,
    weights: Path,
    *,
    configs: Sequence[str] = (),
    train_configs: Sequence[str] = (),
    bundle: Path | None = None,
    schema: Path | None = None,
    weights_url: str | None = None,
    archive: bool = False,
    force: bool = False,
) -> Path:
    """Write ``out/universal_lesion_ct_detection`` whole or not at all.

    Args:
        out: parent folder, made when missing.
        weights: bare state dict of the teacher; becomes ``models/model.pt``.
        configs, train_configs: overlays (names or files) merged into ``inference.json`` and ``train.json``, so that
            both describe the network of ``weights``. A merged overlay of the bundle is not packed beside them.
        bundle: see :func:`lesion_app.bundle_run.find_bundle`; None = this checkout's.
        schema: metadata schema for ``eval/schema.json``, with which ``verify_metadata`` needs no network.
        weights_url: where the weights can be downloaded, for ``large_files.yml``.
        archive: write ``universal_lesion_ct_detection.zip`` too.
        force: replace an earlier pack.

    Returns:
        the folder.

    Raises:
        InputError: unusable weights, an unknown overlay, or something in the way.
    """
    root = find_bundle(bundle or REPOSITORY / "bundle")
    target, zipped = out / NAME, out / f"{NAME}.zip"
    _check_target(target, zipped if archive else None, force)
    overlays = {"inference": config_paths(root, configs), "train": config_paths(root, train_configs)}
    merged = {name: _merge(root / "configs" / f"{name}.json", files) for name, files in overlays.items()}
    state = read_checkpoint(weights)
    for name, config in merged.items():
        _check_weights(config, state, weights, name)

    staged = out / f".{NAME}.{uuid.uuid4().hex[:8]}.tmp"
    content = staged / NAME
    try:
        _copy_tree(root / "docs", content / "docs")
        for page in PAGES:
            shutil.copyfile(REPOSITORY / "docs" / page, content / "docs" / page)
        shutil.copyfile(root / "LICENSE", content / "LICENSE")
        for package in PACKAGES:
            _copy_tree(REPOSITORY / package, content / package)
        _write_configs(root / "configs", content / "configs", merged, [f for files in overlays.values() for f in files])
        (content / "models").mkdir()
        shutil.copyfile(weights, content / "models" / "model.pt")
        (content / "requirements.txt").write_text(_requirements(root / "configs" / "metadata.json"))
        if schema is not None:
            (content / "eval").mkdir()
            shutil.copyfile(schema, content / "eval" / "schema.json")
        if weights.stat().st_size > _LARGE_FILE_BYTES:
            (content / "large_files.yml").write_text(_large_files(content / "models" / "model.pt", weights_url))
        if archive:
            _zip(content, staged / zipped.name)
        _put_in_place(content, target)
        if archive:
            os.replace(staged / zipped.name, zipped)
    except OSError as error:
        raise InputError(f"{error.filename or out} cannot be used ({error.strerror}); name another place") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def _check_target(target: Path, zipped: Path | None, force: bool) -> None:
    for path in (target, zipped):
        if path is not None and path.exists() and not force:
            raise InputError(f"{path} exists already; name another folder or replace it with --force")
    if target.exists() and not (target / "configs" / "metadata.json").is_file():
        raise InputError(f"{target} is not an earlier pack, so --force does not replace it; name another folder")


def _merge(base: Path, overlays: Sequence[str]) -> dict[str, Any]:
    """The content of a config with overlays, as MONAI merges them, keeping the base's description and order."""
    merged: dict[str, Any] = ConfigParser.load_config_files([str(base), *overlays])
    description = json.loads(base.read_text()).get("_desc_", "")
    if overlays:
        merged["_desc_"] = f"{description} (merged with {', '.join(Path(f).name for f in overlays)})"
    return merged


def _check_weights(config: dict[str, Any], state: dict[str, Any], weights: Path, name: str) -> None:
    """Refuse weights that do not fit the config's network, without downloading what its training starts from."""
    parser = ConfigParser(copy.deepcopy(config))
    parser["pretrained"] = False
    try:
        network = parser.get_parsed_content("network_def")
    except Exception as error:
        mistake = explain(error)
        if mistake is None:
            raise
        raise mistake from error
    try:
        load_state(network, state, str(weights))
    except InputError as error:
        option = "--config" if name == "inference" else "--train-config"
        raise InputError(f"for {name}.json, {error} (its overlays are named with {option})") from error


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))


def _write_configs(source: Path, target: Path, merged: dict[str, dict[str, Any]], spent: Sequence[str]) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        if str(path.resolve()) in spent or path.suffix not in (".json", ".conf"):
            continue
        if path.stem == "metadata" or path.suffix == ".conf":
            shutil.copyfile(path, target / path.name)
            continue
        config = merged.get(path.stem) or json.loads(path.read_text())
        if "initialize" in config:
            imports = [*config.pop("imports", []), "$import inspect", "$import sys"]
            config = {"_desc_": config.pop("_desc_", ""), "imports": imports, **config}
            config["initialize"] = [_FIND_PACKAGES, *config["initialize"]]
        (target / path.name).write_text(to_json(config) + "\n")


def to_json(value: Any, indent: int = 0, used: int = 0, width: int = 120) -> str:
    """JSON as the configs are written by hand: what fits on a line stays on it.

    Args:
        value: what to write; the outermost container is always spread out.
        indent: columns before the closing bracket.
        used: columns of the first line that are taken.
    """
    flat = json.dumps(value)
    if not isinstance(value, (dict, list)) or not value or (indent and used + len(flat) < width):
        return flat
    inner = indent + 4
    heads = [""] * len(value) if isinstance(value, list) else [f"{json.dumps(key)}: " for key in value]
    items = value if isinstance(value, list) else value.values()
    lines = [" " * inner + head + to_json(item, inner, inner + len(head)) for head, item in zip(heads, items)]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return "\n".join([opening, ",\n".join(lines), " " * indent + closing])


def _requirements(metadata: Path) -> str:
    content = json.loads(metadata.read_text())
    pins = {"monai": content["monai_version"], "torch": content["pytorch_version"], "numpy": content["numpy_version"]}
    pins.update(content["required_packages_version"])
    return "".join(f"{name}=={version}\n" for name, version in pins.items())


def _large_files(weights: Path, url: str | None) -> str:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    note = (
        "" if url else "# url: upload models/model.pt and name its address here before publishing in a git repository\n"
    )
    return (
        f'{note}large_files:\n- path: "models/model.pt"\n  url: "{url or ""}"\n'
        f'  hash_val: "{digest}"\n  hash_type: "sha256"\n'
    )


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(member, member.relative_to(folder.parent))


def _put_in_place(content: Path, target: Path) -> None:
    old = content.with_name(f"{content.name}.old")  # in the staging folder: removed with it
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(content, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise


def main(
    out: Annotated[Path, typer.Argument(help=f"Folder that receives {NAME}/.")],
    weights: Annotated[Path, typer.Option(help="State dict of the teacher (models/model.pt of a training).")],
    config: Annotated[list[str] | None, typer.Option(help="Overlay merged into inference.json; repeatable.")] = None,
    train_config: Annotated[list[str] | None, typer.Option(help="Overlay merged into train.json; repeatable.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Metadata schema to put into eval/schema.json.")] = None,
    weights_url: Annotated[str | None, typer.Option(help="Download address of the weights, if above 25 MB.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle to pack; default: this checkout's.")] = None,
    archive: Annotated[bool, typer.Option("--zip", help=f"Write {NAME}.zip too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier pack.")] = False,
) -> None:
    """Pack the bundle and its weights into one self-contained folder."""
    try:
        folder = pack_bundle(
            out,
            weights,
            configs=config or [],
            train_configs=train_config or [],
            bundle=bundle,
            schema=schema,
            weights_url=weights_url,
            archive=archive,
            force=force,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    for path in sorted(folder.iterdir()):
        print(f"wrote {path}{'/' if path.is_dir() else ''}")
    if archive:
        print(f"wrote {folder.with_suffix('.zip')}")
    if (folder / "large_files.yml").is_file() and not weights_url:
        print(
            "note: the weights exceed 25 MB; to publish them, pack with --weights-url (large_files.yml has no url yet)"
        )
    print(
        f"use: pip install -r {folder / 'requirements.txt'}\n"
        f"     python -m monai.bundle run inference --config_file {folder / 'configs' / 'inference.json'} "
        f"--bundle_root {folder} --dataset_dir FOLDER_OF_CTS"
    )


if __name__ == "__main__":
    typer.run(main)
