"""An exported detector finds what the detector finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lesion_app.errors import InputError
from lesion_app.networks.exportable_detector import ExportableDetector, padded
from lesion_app.networks.exporting import export_detector
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from tests.networks.test_inference_detector import slabs, used_detector

SIZE = (64, 48)


@pytest.fixture(scope="module")
def network() -> FasterRCNN25D:
    network = used_detector()
    network.roi_heads.score_thresh = 0.01  # some of the boxes fall below
    network.roi_heads.detections_per_img = 30
    return network


def inputs() -> list[Tensor]:
    """Slabs other than the one the network is exported with, one of them empty air."""
    return [slabs(1)[0][:, :, :48], slabs(2)[1][:, :, 16:], torch.zeros(9, *SIZE)]


def assert_same(found: tuple[Tensor, ...], expected: dict[str, Tensor]) -> None:
    boxes, scores, labels = (torch.as_tensor(part) for part in found)
    there = scores > 0
    assert len(scores) == 30
    assert int(there.sum()) == len(expected["scores"])
    torch.testing.assert_close(scores[there], expected["scores"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(boxes[there], expected["boxes"], atol=1e-2, rtol=0)
    assert torch.equal(labels[there], expected["labels"])


@torch.no_grad()
def test_fixed_shapes_find_the_same_boxes(network: FasterRCNN25D) -> None:
    exportable = ExportableDetector(network, SIZE)
    counts = set()
    for slab in inputs():
        (expected,) = network([slab])
        counts.add(len(expected["scores"]))
        assert_same(exportable(slab), expected)
    assert counts != {30}  # padding was needed


@torch.no_grad()
def test_exported_program_finds_the_same_boxes(network: FasterRCNN25D, tmp_path: Path) -> None:
    path = export_detector(network, tmp_path / "new" / "detector.pt2", SIZE)
    program = torch.export.load(path).module()
    for slab in inputs():
        assert_same(program(slab), network([slab])[0])


@torch.no_grad()
def test_onnx_model_finds_the_same_boxes(network: FasterRCNN25D, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = export_detector(network, tmp_path / "detector.onnx", SIZE)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [file.name for file in tmp_path.iterdir()] == ["detector.onnx"]
    for slab in inputs():
        assert_same(session.run(["boxes", "scores", "labels"], {"slab": slab.numpy()}), network([slab])[0])


def test_index_is_cut_or_filled_to_its_length() -> None:
    index = torch.tensor([4, 2, 7])
    assert padded(index, 2, 9).tolist() == [4, 2]
    assert padded(index, 5, 9).tolist() == [4, 2, 7, 9, 9]


@pytest.mark.parametrize(
    ("name", "size", "told"), [("a.pth", SIZE, r"\.pt2 or \.onnx"), ("a.pt2", (60, 48), "multiples of 16")]
)
def test_what_cannot_be_exported_is_told(network: FasterRCNN25D, tmp_path: Path, name, size, told) -> None:
    with pytest.raises(InputError, match=told):
        export_detector(network, tmp_path / name, size)
    assert list(tmp_path.iterdir()) == []


def test_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Conv2d cannot be exported"):
        export_detector(nn.Conv2d(1, 1, 1), tmp_path / "a.pt2", SIZE)  # type: ignore[arg-type]
