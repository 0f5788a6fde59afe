"""Inflation: on a volume constant along z the 3D network answers as torchvision's 2D one on its slice."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from lesion_app.errors import InputError
from lesion_app.networks.inflated_resnet import STRIDES, InflatedResNet18, load_inflated_state


@pytest.fixture(scope="module")
def flat():
    """torchvision's ResNet-18 with made-up weights and statistics."""
    torch.manual_seed(0)
    network = resnet18(weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.mark.parametrize(("in_channels", "z_kernels"), [(1, (1, 1, 1, 3)), (3, (3, 3, 3, 5))])
def test_constant_volume_is_seen_as_its_slice(flat, in_channels, z_kernels):
    network = InflatedResNet18(in_channels, z_kernels, pretrained=False).eval()
    load_inflated_state(network, flat.state_dict())
    image = torch.randn(1, in_channels, 40, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x = flat.maxpool(flat.relu(flat.bn1(flat.conv1(image.expand(-1, 3, -1, -1)))))
        found = network(image[:, :, None].expand(-1, -1, 3, -1, -1))
        for layer, features, channels in zip(
            (flat.layer1, flat.layer2, flat.layer3, flat.layer4), found, network.out_channels
        ):
            x = layer(x)
            assert features.shape[1:3] == (channels, 3)
            torch.testing.assert_close(features, x[:, :, None].expand_as(features), atol=1e-4, rtol=1e-3)


def test_only_block_4_sees_neighbouring_slices():
    torch.manual_seed(0)
    network = InflatedResNet18(width=4, pretrained=False).eval()
    volume = torch.randn(1, 1, 9, 32, 32)
    changed = volume.clone()
    changed[:, :, 0] += 1
    with torch.no_grad():
        differences = [(a - b).abs().amax(dim=(0, 1, 3, 4)) > 0 for a, b in zip(network(volume), network(changed))]
    for difference in differences[:3]:
        assert difference.tolist() == [True] + [False] * 8
    # four convolutions in a row, each reaching one slice further
    assert differences[3].tolist() == [True] * 5 + [False] * 4


def test_strides_are_those_told():
    network = InflatedResNet18(width=2, pretrained=False)
    for features, stride in zip(network(torch.zeros(1, 1, 5, 64, 96)), STRIDES):
        assert features.shape[2:] == (5, 64 // stride, 96 // stride)


def test_weights_that_do_not_fit_are_told(flat):
    with pytest.raises(InputError, match="need width 64 and 1 or 3 input channels"):
        load_inflated_state(InflatedResNet18(width=8, pretrained=False), flat.state_dict())
    with pytest.raises(InputError, match=r"of 120 tensors are missing .*first: conv1.weight"):
        load_inflated_state(InflatedResNet18(2, pretrained=False), flat.state_dict())
    with pytest.raises(InputError, match=r"first: layer3\.0\.conv1\.weight"):
        load_inflated_state(
            InflatedResNet18(pretrained=False), {k: v for k, v in flat.state_dict().items() if "layer3" not in k}
        )


def test_weights_that_cannot_be_had_are_told_with_what_to_do(monkeypatch):
    def offline(self, *args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(InputError, match=r"put resnet18-\w+\.pth into .*pretrained: false"):
        InflatedResNet18()


def test_pretrained_loads_what_torchvision_hands_out(monkeypatch, flat):
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, *args, **kwargs: flat.state_dict())
    own = InflatedResNet18().state_dict()
    torch.testing.assert_close(own["conv1.weight"][:, 0, 0], flat.conv1.weight.sum(dim=1))
    torch.testing.assert_close(own["layer4.1.conv2.weight"].sum(dim=2), flat.layer4[1].conv2.weight)
    torch.testing.assert_close(own["layer2.0.downsample.1.running_var"], flat.layer2[0].downsample[1].running_var)


@pytest.mark.parametrize("z_kernels", [(1, 1, 3), (1, 1, 1, 2)])
def test_z_kernels_other_than_four_odd_numbers_are_refused(z_kernels):
    with pytest.raises(ValueError, match="four odd numbers"):
        InflatedResNet18(1, z_kernels, pretrained=False)
