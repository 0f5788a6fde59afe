from __future__ import annotations

import pytest
import torch
from torchvision.models import densenet121

from lesion_app.errors import InputError
from lesion_app.networks.densenet_25d import DenseNet25D
from lesion_app.networks.imagenet import load_densenet121_trunk, load_trunk_state


def small(**options: object) -> DenseNet25D:
    torch.manual_seed(0)
    values = {"growth_rate": 4, "block_config": (1, 2, 2), "num_init_features": 8, "bn_size": 2, "out_channels": 16}
    return DenseNet25D(**{**values, **options})  # type: ignore[arg-type]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_default_extractor_has_mulans_parameter_count() -> None:
    network = DenseNet25D()
    assert count(network) == 6_170_240
    assert count(network.trunk) == 4_267_392
    assert count(network.fuse_stride16) == 196_864
    assert count(network.fuse_maps) == 786_944


def test_map_has_stride_four_and_the_pyramids_width() -> None:
    assert small()(torch.rand(2, 3, 3, 64, 48)).shape == (2, 16, 16, 12)


def test_fusing_shared_features_equals_the_whole_slab_in_evaluation() -> None:
    network = small().eval()
    with torch.no_grad():
        for module in network.modules():  # statistics that are not the identity
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
        images = torch.rand(5, 3, 32, 32) * 10
        features = network.slice_features(images).split()
        streamed = network.fuse([features[0:3], features[1:4], features[2:5]])
        naive = network(torch.stack([images[0:3], images[1:4], images[2:5]]))
    torch.testing.assert_close(streamed, naive, atol=1e-5, rtol=1e-5)
    assert features[0].side_map is not None
    assert features[4].side_map is not None


def test_side_maps_are_computed_only_for_images_beside_a_centre() -> None:
    network = small().eval()
    with torch.no_grad():
        features = network.slice_features(torch.rand(3, 3, 32, 32)).split()
        network.fuse([features])
    assert [f.side_map is None for f in features] == [False, True, False]


def test_only_the_central_path_sees_its_neighbours_before_block_three() -> None:
    network = small().eval()
    with torch.no_grad():
        images = torch.rand(3, 3, 32, 32)
        changed = images.clone()
        changed[0] += 5
        before, after = network.slice_features(images), network.slice_features(changed)
        torch.testing.assert_close(network.side_maps(before)[2], network.side_maps(after)[2])
        assert not torch.allclose(network.fuse([before.split()]), network.fuse([after.split()]))


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_every_norm_trains_the_trunk(norm: str) -> None:
    network = small(norm=norm)
    network(torch.rand(1, 3, 3, 32, 32)).sum().backward()
    assert network.trunk["conv0"].weight.grad.abs().sum() > 0
    has_statistics = any(name.endswith("running_mean") for name, _ in network.named_buffers())
    assert has_statistics == (norm != "group")
    assert any("norm" in name for name, _ in network.trunk.named_parameters()) == (norm != "frozen")


def test_imagenet_state_fills_the_trunk() -> None:
    torch.manual_seed(1)
    state = densenet121(weights=None).state_dict()
    network = DenseNet25D()
    load_trunk_state(network.trunk, state)
    assert torch.equal(network.trunk["conv0"].weight, state["features.conv0.weight"])
    layer = network.trunk["denseblock3"]["denselayer24"]
    assert torch.equal(layer.conv2.weight, state["features.denseblock3.denselayer24.conv2.weight"])


def test_old_style_layer_names_are_understood() -> None:
    state = {
        k.replace("norm1.", "norm.1.").replace("conv1.", "conv.1."): v for k, v in densenet121().state_dict().items()
    }
    load_trunk_state(DenseNet25D().trunk, state)


def test_imagenet_weights_do_not_fit_a_small_trunk() -> None:
    with pytest.raises(InputError, match="do not fit this backbone"):
        load_trunk_state(small().trunk, densenet121().state_dict())


def test_no_network_gives_one_sentence_how_to_proceed(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from urllib.error import URLError

    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(InputError, match=r"densenet121-.*\.pth.*--pretrained False"):
        load_densenet121_trunk(DenseNet25D().trunk)


@pytest.mark.parametrize("options", [{"num_images": 2}, {"block_config": (1, 2)}])
def test_impossible_layouts_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"odd|three"):
        small(**options)
