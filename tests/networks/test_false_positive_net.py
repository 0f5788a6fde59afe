"""The classifier of candidates: what it looks at, and that it learns."""

from __future__ import annotations

import pytest
import torch
from monai.losses import FocalLoss
from torchvision.ops import sigmoid_focal_loss

from lesion_app.networks.false_positive_net import FalsePositiveNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FalsePositiveNet(width=4, head_channels=8, pretrained=False)


def boxes(count):
    return torch.tensor([[12.0, 10.0, 2.0, 20.0, 22.0, 4.0]]).repeat(count, 1)


def test_every_candidate_gets_one_logit_of_its_own(network):
    network.eval()
    patches = torch.randn(3, 1, 6, 32, 32) * 300
    logits = network(patches, boxes(3))
    assert logits.shape == (3, 1)
    torch.testing.assert_close(network(patches[1:2], boxes(1)), logits[1:2], atol=1e-5, rtol=1e-4)
    assert network(patches[:0], boxes(0)).shape == (0, 1)


def test_box_matters_and_what_sticks_out_of_the_patch_is_cut_off(network):
    network.eval()
    patches = torch.randn(1, 1, 6, 32, 32) * 300
    small = network(patches, boxes(1))
    whole = torch.tensor([[0.0, 0.0, 0.0, 32.0, 32.0, 6.0]])
    assert (network(patches, whole) - small).abs() > 1e-6
    far = torch.tensor([[-40.0, -9.0, -3.0, 90.0, 50.0, 20.0]])
    torch.testing.assert_close(network(patches, far), network(patches, whole))


def test_all_four_blocks_reach_the_logit(network):
    network.train()
    network(torch.randn(2, 1, 6, 32, 32) * 300, boxes(2)).sum().backward()
    for block in range(1, 5):
        assert network.trunk.get_submodule(f"layer{block}")[1].conv2.weight.grad.abs().sum() > 0
    assert network.head_inputs == (4 + 8 + 16 + 32) * 3 * 3 * 3


def test_block_4_sees_the_whole_patch_and_the_others_the_box_alone(network):
    seen = {}
    network.head.register_forward_pre_hook(
        lambda module, inputs: seen.update(features=inputs[0].unflatten(1, (-1, 27)))
    )
    for block, (first, last) in enumerate([(0, 4), (4, 12), (12, 28), (28, 60)]):
        patches = (torch.randn(1, 1, 6, 32, 32) * 300).requires_grad_()
        far = torch.zeros(1, 6)
        far[0, 3:] = torch.tensor([4.0, 4.0, 1.0])
        network.eval()(patches, far)
        seen["features"][:, first:last].sum().backward()
        reached = patches.grad[0, 0].abs().sum(dim=(1, 2)) > 0
        assert reached[5] == (block == 3)  # blocks 1 to 3 do not look beyond the box's slices
        assert reached[0]


def test_hu_beyond_the_window_are_clamped(network):
    network.eval()
    low, lower = torch.full((1, 1, 4, 32, 32), -1024.0), torch.full((1, 1, 4, 32, 32), -3000.0)
    torch.testing.assert_close(network(low, boxes(1)), network(lower, boxes(1)))


def test_bright_candidates_are_learnt_to_be_lesions(network):
    torch.manual_seed(1)
    patches = torch.randn(12, 1, 4, 32, 32) * 20
    targets = (torch.arange(12) % 3 == 0).float()[:, None]
    patches[:, :, 1:4, 10:22, 12:20] += 800 * targets[..., None, None, None]
    optimizer = torch.optim.RAdam(network.parameters(), lr=0.01)
    loss_function = FocalLoss(gamma=2.0, alpha=0.25)
    first = None
    for _ in range(20):
        loss = loss_function(network(patches, boxes(12)), targets)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 4
    network.eval()
    logits = network(patches, boxes(12))
    assert logits[targets == 1].min() > logits[targets == 0].max()


def test_monais_focal_loss_is_lins_on_single_logits():
    logits, targets = torch.randn(9, 1) * 3, (torch.arange(9) % 3 == 0).float()[:, None]
    expected = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, reduction="mean")
    torch.testing.assert_close(FocalLoss(gamma=2.0, alpha=0.25)(logits, targets), expected)


@pytest.mark.parametrize("wrong", [{"hu_min": 100, "hu_max": 100}, {"image_std": 0}])
def test_windows_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="hu_min below hu_max and a positive image_std"):
        FalsePositiveNet(width=4, pretrained=False, **wrong)
