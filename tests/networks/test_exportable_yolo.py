"""An exported YOLOv4 finds what YOLOv4 finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lesion_app.errors import InputError
from lesion_app.networks.exportable_yolo import ExportableYOLO
from lesion_app.networks.exporting import export_detector
from lesion_app.networks.yolov4 import YOLOv4
from tests.networks.tiny_yolo import used_yolo

SIZE = (64, 96)
MOST = 100


def detector(**settings) -> YOLOv4:
    return used_yolo(num_classes=2, detections_per_image=MOST, score_threshold=0.5, **settings)


def inputs() -> list[Tensor]:
    rng = torch.Generator().manual_seed(5)
    noise = torch.rand(3, *SIZE, generator=rng) * 255
    return [noise, noise * torch.linspace(0, 1, SIZE[1]), noise.flip(1) * 0.8]


def assert_same(found: tuple, expected: dict[str, Tensor]) -> None:
    boxes, scores, labels = (torch.as_tensor(part) for part in found)
    there = scores > 0
    assert len(scores) == MOST
    assert int(there.sum()) == len(expected["scores"])
    torch.testing.assert_close(scores[there], expected["scores"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(boxes[there], expected["boxes"], atol=1e-2, rtol=1e-4)
    assert torch.equal(labels[there], expected["labels"])


@pytest.mark.parametrize("settings", [{}, {"pre_nms_top_n": 25}, {"strides": (4, 16, 32)}, {"num_slices": 1}])
@torch.no_grad()
def test_fixed_shapes_find_the_same_boxes(settings: dict) -> None:
    network = detector(**settings)
    exportable = ExportableYOLO(network, SIZE)
    counts = set()
    for slab in inputs():
        slab = slab[: network.num_slices]
        (expected,) = network([slab])
        counts.add(len(expected["scores"]))
        assert_same(exportable(slab), expected)
    assert max(counts) > 3
    assert min(counts) < MOST  # padding was needed


@pytest.mark.slow
@torch.no_grad()
def test_onnx_model_finds_the_same_boxes(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = detector()
    path = export_detector(network, tmp_path / "detector.onnx", SIZE)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for slab in inputs():
        assert_same(session.run(["boxes", "scores", "labels"], {"slab": slab.numpy()}), network([slab])[0])


@pytest.mark.slow
@torch.no_grad()
def test_exported_program_finds_the_same_boxes(tmp_path: Path) -> None:
    network = detector(strides=(4, 8, 16, 32))
    program = torch.export.load(export_detector(network, tmp_path / "detector.pt2", SIZE)).module()
    for slab in inputs():
        assert_same(program(slab), network([slab])[0])


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiples of 32, got 60 x 96"):
        export_detector(detector(), tmp_path / "a.pt2", (60, 96))
    with pytest.raises(InputError, match="set nms to greedy"):
        export_detector(detector(nms="diou"), tmp_path / "a.pt2", SIZE)
    assert list(tmp_path.iterdir()) == []
