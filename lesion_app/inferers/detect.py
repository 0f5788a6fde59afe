"""Find lesions in one CT: the whole product in one function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lesion_app.bundle_run import config_paths, find_bundle, run_bundle
from lesion_app.errors import InputError
from lesion_app.inferers.ct_list import ct_item
from lesion_app.inferers.lesions_json import read_lesions_json


def detect(
    ct: str | Path,
    out: str | Path,
    *,
    configs: Sequence[str | Path] = (),
    weights: str | Path | None = None,
    min_score: float | None = None,
    spacing_mm: Sequence[float] | None = None,
    slices: Sequence[int] | None = None,
    device: str | None = None,
    bundle: str | Path | None = None,
    sheet: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Find lesions in a CT with the bundle's inference config.

    Args:
        ct: DICOM series folder (or one file of it), NIfTI, NRRD, MHA/MHD, or a DeepLesion PNG folder.
        out: folder that receives ``lesions.json`` and ``lesions.png``; made when missing.
        configs: overlays on ``inference.json`` (names of the bundle's configs, or files).
        weights: state dict; None = the bundle's ``models/model.pt``.
        min_score: lowest score reported, None = the config's.
        spacing_mm: (x, y, z) mm, for PNG folders.
        slices: first and last slice, inclusive.
        device: torch device, None = the config's choice.
        bundle: see :func:`lesion_app.bundle_run.find_bundle`.
        sheet: draw ``lesions.png``.
        progress: show a bar with the time left.

    Returns:
        what ``lesions.json`` holds (``bundle/docs/lesions_json.md``).

    Raises:
        InputError: for anything wrong with the CT, weights, config or output folder; nothing is written then.
    """
    root = find_bundle(bundle)
    names = ["inference.json", *configs]
    ct, out = Path(ct), Path(out).absolute()
    if not ct.exists():
        raise InputError(f"{ct} does not exist; name a CT file or the folder of a DICOM series")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    overrides: dict[str, Any] = {
        "datalist": [ct_item(ct.resolve(), spacing_mm, slices)],
        "output_dir": str(out),
        "config_files": config_paths(root, names),
        "flat": True,
        "sheet": sheet,
        "progress": progress,
    }
    if weights is not None:
        overrides["weights"] = str(Path(weights).absolute())
    if min_score is not None:
        if not 0 <= min_score <= 1:
            raise InputError(f"the lowest score to report must lie in 0..1, got {min_score}")
        overrides["min_score"] = min_score
    if device is not None:
        overrides["device"] = f"$torch.device('{_usable_device(device)}')"
    run_bundle(names, overrides, bundle=root, workflow_type="infer")
    return read_lesions_json(out / "lesions.json")


def _usable_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"there is no device '{name}' here; use cpu, or a GPU like cuda:0 that torch can see"
        ) from error
    return device
