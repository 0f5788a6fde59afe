"""A file as Darknet writes it is loaded; any other is told. The writer is here."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from lesion_app.errors import InputError
from lesion_app.networks.csp_darknet import DarknetConv
from lesion_app.networks.darknet_weights import darknet_layers, load_darknet_weights
from lesion_app.networks.yolov4 import YOLOv4
from tests.networks.tiny_yolo import make_tiny_yolo

THREE_A_HEAD = tuple((10 + i, 12 + i) for i in range(9))


def tiny(seed: int = 0, **settings) -> YOLOv4:
    """A network whose every value, statistics too, is its own."""
    network = make_tiny_yolo(seed, **{"anchors": THREE_A_HEAD, "num_classes": 2, **settings})
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.weight.data, layer.running_var):
                values.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
            for values in (layer.bias.data, layer.running_mean):
                values.normal_(std=0.1)  # type: ignore[operator, union-attr]
    return network.eval()


def write(path: Path, values: np.ndarray, version: tuple[int, int, int] = (0, 2, 5), seen: int = 32032000) -> Path:
    new = version[0] * 10 + version[1] >= 2
    path.write_bytes(struct.pack("<3i", *version) + struct.pack("<q" if new else "<i", seen) + values.tobytes())
    return path


def values_of(network: YOLOv4, part: str = "all") -> np.ndarray:
    """Darknet's ``save_convolutional_weights``, layer by layer."""
    parts = []
    for layer in darknet_layers(network, part):  # type: ignore[arg-type]
        if isinstance(layer, DarknetConv):
            norm = layer.norm
            parts += [norm.bias, norm.weight, norm.running_mean, norm.running_var, layer.conv.weight]
        else:
            parts += [layer.bias, layer.weight]
    return np.concatenate([p.detach().numpy().ravel() for p in parts]).astype("<f4")  # type: ignore[union-attr]


def equal_part(a: YOLOv4, b: YOLOv4, part: str) -> bool:
    return np.array_equal(values_of(a, part), values_of(b, part))


def test_order_is_that_of_yolov4_cfg() -> None:
    """Output channels and kernels of the [convolutional] sections, from the first to the last."""
    with torch.device("meta"):
        layers = darknet_layers(YOLOv4(num_classes=80))
    convs = [layer.conv if isinstance(layer, DarknetConv) else layer for layer in layers]
    shapes = [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs]
    assert len(shapes) == 110
    first = [
        (32, 3, 1),
        (64, 3, 2),
        (64, 1, 1),
        (64, 1, 1),
        (32, 1, 1),
        (64, 3, 1),
        (64, 1, 1),
        (64, 1, 1),
        (128, 3, 2),
    ]
    assert shapes[:9] == first
    spp = [(512, 1, 1), (1024, 3, 1), (512, 1, 1)]
    down16 = [(256, 1, 1), (256, 1, 1), (256, 1, 1), (512, 3, 1), (256, 1, 1), (512, 3, 1), (256, 1, 1)]
    down8 = [(128, 1, 1), (128, 1, 1), (128, 1, 1), (256, 3, 1), (128, 1, 1), (256, 3, 1), (128, 1, 1)]
    assert shapes[72:92] == [*spp, *spp, *down16, *down8]
    head8 = [(256, 3, 1), (255, 1, 1)]
    up16 = [(256, 3, 2), (256, 1, 1), (512, 3, 1), (256, 1, 1), (512, 3, 1), (256, 1, 1), (512, 3, 1), (255, 1, 1)]
    up32 = [(512, 3, 2), (512, 1, 1), (1024, 3, 1), (512, 1, 1), (1024, 3, 1), (512, 1, 1), (1024, 3, 1), (255, 1, 1)]
    assert shapes[92:] == [*head8, *up16, *up32]
    assert [convs[i].in_channels for i in (5, 7, 72, 75, 80, 87, 94, 95, 102, 103)] == [
        32, 128, 1024, 2048, 512, 256, 128, 512, 256, 1024,
    ]  # fmt: skip


def test_published_files_have_the_lengths_of_the_parts() -> None:
    """yolov4.weights: 257,717,640 bytes; yolov4.conv.137: 170,038,676 bytes."""
    with torch.device("meta"):
        network = YOLOv4(num_classes=80)
    for part, size in (("all", 257_717_640), ("conv.137", 170_038_676)):
        count = 0
        for layer in darknet_layers(network, part):  # type: ignore[arg-type]
            state = layer.state_dict()
            count += sum(v.numel() for k, v in state.items() if "num_batches" not in k)
        assert 20 + 4 * count == size


@torch.no_grad()
def test_whole_file_gives_the_same_detections(tmp_path: Path) -> None:
    source, network = tiny(1, score_threshold=0.0), tiny(2, score_threshold=0.0)
    path = write(tmp_path / "yolov4.weights", values_of(source))
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    assert load_darknet_weights(network, path, "all") is network
    (a,), (b,) = source([image]), network([image])
    assert len(a["scores"]) > 3
    for key in a:
        assert torch.equal(a[key], b[key])


@pytest.mark.parametrize("held", ["backbone", "conv.137", "all"])
@pytest.mark.parametrize("part", ["backbone", "conv.137"])
def test_part_is_loaded_and_the_rest_left(tmp_path: Path, held: str, part: str) -> None:
    source, network, untouched = tiny(1), tiny(2), tiny(2)
    path = write(tmp_path / "some.weights", values_of(source, held))
    if (held, part) == ("backbone", "conv.137"):
        with pytest.raises(InputError, match="ends with the part 'backbone'"):
            load_darknet_weights(network, path, part)  # type: ignore[arg-type]
        assert equal_part(network, untouched, "all")
        return
    load_darknet_weights(network, path, part)  # type: ignore[arg-type]
    length = len(values_of(source, part))
    assert equal_part(network, source, part)
    assert np.array_equal(values_of(network)[length:], values_of(untouched)[length:])
    assert not equal_part(untouched, source, "backbone")


@pytest.mark.parametrize("classes", [1, 80])
def test_file_of_other_classes_gives_all_but_its_end(tmp_path: Path, classes: int) -> None:
    source, network = tiny(1, num_classes=classes), tiny(2)
    path = write(tmp_path / "coco.weights", values_of(source))
    load_darknet_weights(network, path, "conv.137")
    assert equal_part(network, source, "conv.137")
    with pytest.raises(InputError, match=rf"for {classes} classes, the network has 2; load the part 'conv.137'"):
        load_darknet_weights(network, path, "all")


def test_stride_4_variants_take_the_backbone_only(tmp_path: Path) -> None:
    source = tiny(1)
    network = tiny(2, strides=(4, 16, 32))
    path = write(tmp_path / "yolov4.conv.137", values_of(source, "conv.137"))
    with pytest.raises(InputError, match="only the backbone fits a network with heads at strides 4, 16, 32"):
        load_darknet_weights(network, path)
    load_darknet_weights(network, path, "backbone")
    assert equal_part(network, source, "backbone")


def test_file_of_an_old_darknet_has_a_shorter_header(tmp_path: Path) -> None:
    source, network = tiny(1), tiny(2)
    load_darknet_weights(network, write(tmp_path / "old.weights", values_of(source), (0, 1, 0)), "all")
    assert equal_part(network, source, "all")


def test_no_path_leaves_the_network_as_it_is() -> None:
    network = tiny(1)
    assert load_darknet_weights(network, None) is network
    assert equal_part(network, tiny(1), "all")


def damaged(kind: str, good: np.ndarray) -> np.ndarray:
    values = good.copy()
    if kind == "negative variance":
        values[3 * 8] = -1.0  # the first layer's eight channels: bias, scale, mean, variance
    elif kind == "nan":
        values[-1] = np.nan
    return {"short": values[:-1], "long": np.append(values, values[:1]), "half": values[: len(values) // 2]}.get(
        kind, values
    )


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("short", "holds .* values, but a YOLOv4 of width 0.125"),
        ("long", "holds .* values, but a YOLOv4 of width 0.125"),
        ("half", "cut off or of another network"),
        ("negative variance", "holds a variance that is not finite or below zero"),
        ("nan", "holds a weight that is not finite"),
    ],
)
def test_damaged_file_is_told_and_changes_nothing(tmp_path: Path, kind: str, told: str) -> None:
    network = tiny(2)
    path = write(tmp_path / "yolov4.weights", damaged(kind, values_of(tiny(1))))
    with pytest.raises(InputError, match=told):
        load_darknet_weights(network, path, "all")
    assert equal_part(network, tiny(2), "all")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "does not begin with a version of Darknet"),
        (b"PK\x03\x04 a zip archive of torch", "does not begin with a version of Darknet"),
        (struct.pack("<3iq", 0, 2, 5, 0), "is cut off or not of Darknet"),
        (struct.pack("<3iq", 0, 2, 5, 0) + b"12345", "is cut off or not of Darknet"),
    ],
)
def test_file_of_something_else_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        load_darknet_weights(tiny(), path)


def test_request_that_cannot_be_met_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_darknet_weights(tiny(), tmp_path / "none.weights")
    path = write(tmp_path / "yolov4.weights", values_of(tiny(1)))
    with pytest.raises(InputError, match=r"expected one of backbone, conv\.137, all"):
        load_darknet_weights(tiny(), path, "neck")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="set num_slices to 1 or 3"):
        load_darknet_weights(tiny(num_slices=9), path, "all")
    with pytest.raises(InputError, match="1 anchors a head"):
        load_darknet_weights(tiny(anchors=THREE_A_HEAD[:3]), path, "all")
    with pytest.raises(InputError, match="of another network"):
        load_darknet_weights(tiny(width=0.25), path, "backbone")
