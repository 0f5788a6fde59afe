"""Writes a trained detector as a program that runs without this package: ``torch.export`` or ONNX."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch

from lesion_app.atomic_file import replacing
from lesion_app.errors import InputError
from lesion_app.networks.exportable_detector import ExportableDetector
from lesion_app.networks.exportable_yolo import ExportableYOLO
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from lesion_app.networks.yolov4 import YOLOv4

Format = Literal["pt2", "onnx"]
OUTPUTS = ("boxes", "scores", "labels")


def export_detector(network: FasterRCNN25D | YOLOv4, path: Path, size: tuple[int, int]) -> Path:
    """Export a detector for slabs of one size; the suffix chooses the format.

    ``.pt2``: ``torch.export.load(path).module()(slab)`` where torch and torchvision are. ``.onnx``: input ``slab``.
    Both take ``[S, H, W]`` float32 scaled to [0, 255] (the bundle's ``ScaleHU``) and give ``boxes``, ``scores``,
    ``labels`` as :class:`ExportableDetector` and :class:`ExportableYOLO` say; weights are inside.

    Raises:
        InputError: another suffix, another kind of network, a size that does not fit, or ONNX's packages are missing.
    """
    kind = path.suffix.lstrip(".")
    if kind not in get_args(Format):
        raise InputError(f"'{path.name}' does not end in .pt2 or .onnx; name the format by the suffix")
    if not isinstance(network, (FasterRCNN25D, YOLOv4)):
        raise InputError(f"a {type(network).__name__} cannot be exported, only the 2.5D Faster R-CNN and YOLOv4 can")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if kind == "onnx" and missing:
        raise InputError(
            f"exporting to ONNX needs {missing[0]}, which is not installed; pip install 'lesion-app[onnx]'"
        )
    try:
        detector = fixed_shape_detector(network.cpu(), size)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the network cannot be exported for this size: {error}") from error
    slab = torch.zeros((network.num_slices, *size))
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        program = torch.export.export(detector, (slab,), strict=False)
        with replacing(path) as temporary:
            if kind == "pt2":
                with temporary.open("wb") as file:
                    torch.export.save(program, file)
            else:
                onnx = torch.onnx.export(
                    program, (slab,), input_names=["slab"], output_names=list(OUTPUTS), verbose=False
                )
                onnx.save(temporary, external_data=False)  # type: ignore[union-attr]
    return path


def fixed_shape_detector(network: FasterRCNN25D | YOLOv4, size: tuple[int, int]) -> ExportableDetector | ExportableYOLO:
    """The form of a detector that runtimes can run; arguments and errors as for the classes it chooses from."""
    return ExportableYOLO(network, size) if isinstance(network, YOLOv4) else ExportableDetector(network, size)
