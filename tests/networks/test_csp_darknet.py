from __future__ import annotations

import torch
from torch import Tensor, nn

from lesion_app.networks.csp_darknet import CSPDarknet53, CSPStage, DarknetConv, scaled


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_backbone_has_the_published_layers() -> None:
    with torch.device("meta"):
        backbone = CSPDarknet53()
    layers = [m for m in backbone.modules() if isinstance(m, DarknetConv)]
    assert len(layers) == 72
    assert all(isinstance(layer.activation, nn.Mish) for layer in layers)
    # yolov4.weights up to layer 104 holds 26,652,512 values, BatchNorm's statistics among them
    statistics = sum(2 * layer.norm.num_features for layer in layers)
    assert count(backbone) + statistics == 26_652_512


def test_maps_have_their_strides_and_channels() -> None:
    backbone = CSPDarknet53(in_channels=9, width=0.125, depth=0.2).eval()
    maps = backbone(torch.rand(2, 9, 64, 96))
    assert {s: tuple(m.shape) for s, m in maps.items()} == {
        2: (2, 8, 32, 48),
        4: (2, 16, 16, 24),
        8: (2, 32, 8, 12),
        16: (2, 64, 4, 6),
        32: (2, 128, 2, 3),
    }
    assert backbone.out_channels == {stride: m.shape[1] for stride, m in maps.items()}


def test_multipliers_round_to_what_can_be_built() -> None:
    assert [scaled(64, w) for w in (1.0, 0.5, 0.3, 0.01)] == [64, 32, 16, 8]
    backbone = CSPDarknet53(width=0.125, depth=0.3)
    assert [len(stage.blocks) for stage in backbone.stages] == [1, 1, 2, 2, 1]  # type: ignore[union-attr]


def test_stage_sends_one_part_past_the_blocks() -> None:
    """With the blocks' way cut off, the other part still arrives, at the end of the joined channels."""
    stage = CSPStage(8, 16, 2, whole=False, norm_momentum=0.1).eval()
    seen: list[Tensor] = []
    stage.join.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    image = torch.rand(1, 8, 8, 8)
    stage(image)
    torch.testing.assert_close(seen[0][:, 8:], stage.past(stage.down(image)))
    torch.testing.assert_close(seen[0][:, :8], stage.after(stage.blocks(stage.into(stage.down(image)))))
