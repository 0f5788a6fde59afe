"""What all six detectors of docs/retina_unet.md promise, in 2D and 3D."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from lesion_app.networks.faster_rcnn_nd import FasterRCNNND
from lesion_app.networks.pyramid import PyramidBackbone
from lesion_app.networks.retina_net import RetinaNet
from lesion_app.networks.retina_unet import RetinaUNet
from lesion_app.networks.unet_heuristic import UNetHeuristic
from tests.networks.tiny_retina import DETECTORS, SEGMENTING, SIZES, filled, image, make_tiny, target

BOX = {2: [10.0, 12.0, 34.0, 36.0], 3: [4.0, 6.0, 2.0, 28.0, 26.0, 6.0]}
EVERYWHERE = {2: [0.0, 0.0, 64.0, 48.0], 3: [0.0, 0.0, 0.0, 32.0, 32.0, 8.0]}

every_detector = pytest.mark.parametrize("name", DETECTORS)
both = pytest.mark.parametrize("dim", [2, 3])


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def gradients(network: torch.nn.Module, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    network.zero_grad(set_to_none=True)
    total(losses).backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def edge_cases(dim: int) -> dict[str, dict[str, Tensor]]:
    cut = {2: [50.0, -6.0, 64.0, 9.0], 3: [20.0, -4.0, -1.0, 32.0, 9.0, 3.0]}[dim]
    voxel = {2: [31.0, 17.0, 32.0, 18.0], 3: [21.0, 17.0, 4.0, 22.0, 18.0, 5.0]}[dim]
    corner = {2: [63.0, 47.0, 64.0, 48.0], 3: [31.0, 31.0, 7.0, 32.0, 32.0, 8.0]}[dim]
    visible = [max(v, 0) for v in cut]
    return {
        "no object": target(dim, []),
        "no object, empty masks": target(dim, [], masks=torch.zeros(0, *SIZES[dim], dtype=torch.bool)),
        "object cut by the border": target(dim, [cut], [2], masks=filled(dim, [visible])),
        "one voxel": target(dim, [voxel], masks=filled(dim, [voxel])),
        "one voxel in the corner, no mask": target(dim, [corner]),
        "everything at once": target(dim, [cut, voxel, corner], [2, 1, 1], masks=filled(dim, [visible, voxel])),
    }


@every_detector
@both
def test_edge_cases_train_with_finite_losses_and_gradients(name: str, dim: int) -> None:
    network = make_tiny(name, dim)
    for case, one in edge_cases(dim).items():
        losses = network([image(dim)], [one])
        assert all(torch.isfinite(v) and v.ndim == 0 for v in losses.values()), case
        assert all(torch.isfinite(g).all() for g in gradients(network, losses).values()), case


@every_detector
@both
def test_object_of_one_voxel_is_learnt_from(name: str, dim: int) -> None:
    """It is some anchor's best box, or some pixel's class: with it the gradient differs."""
    network = make_tiny(name, dim)
    one = edge_cases(dim)["one voxel"]
    torch.manual_seed(1)
    with_it = gradients(network, network([image(dim)], [one]))
    torch.manual_seed(1)
    without = gradients(network, network([image(dim)], [target(dim, [])]))
    assert any(n not in without or not torch.equal(g, without[n]) for n, g in with_it.items())


@every_detector
@both
def test_image_without_objects_has_no_box_loss(name: str, dim: int) -> None:
    losses = make_tiny(name, dim)([image(dim)], [target(dim, [])])
    for loss in ("loss_box_reg", "loss_rpn_box_reg", "loss_mask"):
        assert loss not in losses or losses[loss] == 0


@every_detector
@both
def test_ignored_image_gives_no_gradient(name: str, dim: int) -> None:
    network = make_tiny(name, dim)
    losses = network([image(dim)], [target(dim, [], ignore=[EVERYWHERE[dim]])])
    assert total(losses) == 0
    assert not any(g.any() for g in gradients(network, losses).values())


@both
def test_ignored_region_is_neither_lesion_nor_background_to_the_anchors(dim: int) -> None:
    """All anchors in the region are left out, the rest is drawn from as ever."""
    network = make_tiny("retina_net", dim)
    region = {2: [0.0, 0.0, 32.0, 48.0], 3: [0.0, 0.0, 0.0, 16.0, 32.0, 8.0]}[dim]
    logits, offsets, anchors = network.stage(network.backbone([image(dim)], 2)[0])
    logits = logits.detach().requires_grad_()
    for seed in range(20):
        torch.manual_seed(seed)
        loss, _ = network.stage.losses(logits, offsets, anchors, [target(dim, [], ignore=[region])], [SIZES[dim]])
        loss.backward()
    used = anchors[logits.grad[0].any(dim=1)]
    middle = (used[:, 0] + used[:, dim]) / 2
    assert len(used) > 3
    assert (middle > region[dim]).all()


@every_detector
@both
@torch.no_grad()
def test_detections_lie_in_the_image_by_falling_score(name: str, dim: int) -> None:
    network = make_tiny(name, dim, detection_score=0.01).eval()
    images = [image(dim), image(dim, seed=1)[..., :37]]
    found = network(images)
    for one, looked_at in zip(found, images):
        size = looked_at.new_tensor(looked_at.shape[1:]).flip(0)
        count = len(one["boxes"])
        assert one["boxes"].shape == (count, 2 * dim)
        assert one["scores"].shape == one["labels"].shape == (count,)
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"] <= size.repeat(2)).all()
        assert (one["boxes"][:, dim:] > one["boxes"][:, :dim]).all()
        assert (one["scores"].diff() <= 0).all()
        assert one["labels"].dtype == torch.int64
        assert set(one["labels"].tolist()) <= {1, 2}
        assert ("masks" in one) == (name in SEGMENTING)
        if "masks" in one:
            assert one["masks"].shape == (count, *looked_at.shape[1:])
            assert ((one["masks"] >= 0) & (one["masks"] <= 1)).all()


@every_detector
@torch.no_grad()
def test_image_is_detected_in_alike_alone_and_in_a_batch(name: str) -> None:
    network = make_tiny(name, detection_score=0.01).eval()
    (alone,) = network([image()])
    together = network([image(), image(seed=3)])[0]
    for key in alone:
        torch.testing.assert_close(together[key], alone[key], atol=1e-4, rtol=1e-4)


@every_detector
def test_slab_of_seven_slices_is_2dc(name: str) -> None:
    network = make_tiny(name, channels=7)
    assert network.num_slices == 7
    assert torch.isfinite(total(network([image(channels=7)], [target(2, [BOX[2]], masks=filled(2, [BOX[2]]))])))
    with pytest.raises(ValueError, match=r"expected images \[7, H, W\], got \[1, 48, 64\]"):
        network([image()], [target(2, [])])


@pytest.mark.parametrize("name", ["retina_unet", "two_stage_retina_unet", "mask_rcnn"])
@torch.no_grad()
def test_boxes_do_not_depend_on_whether_masks_are_asked_for(name: str) -> None:
    network = make_tiny(name, detection_score=0.01).eval()
    (full,) = network([image()])
    network.return_masks = False
    (bare,) = network([image()])
    assert "masks" not in bare
    torch.testing.assert_close(bare["boxes"], full["boxes"])


@every_detector
def test_losses_repeat_under_a_seed(name: str) -> None:
    network = make_tiny(name)
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append(total(network([image()], [target(2, [BOX[2]], masks=filled(2, [BOX[2]]))])))
    assert results[0] == results[1]


@every_detector
@pytest.mark.parametrize(
    ("one", "message"),
    [
        (target(2, [[3.0, 3.0, 3.0, 9.0]]), "without area"),
        (target(2, [BOX[2]], [3]), r"labels of target 0 must lie in 1..2"),
        (target(2, [BOX[2]], masks=torch.zeros(1, 5, 5)), "masks of target 0"),
        (target(3, [BOX[3]]), r"boxes of target 0 must be float \[N, 4\]"),
    ],
)
def test_nonsense_targets_are_refused(name: str, one: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_tiny(name)([image()], [one])


def test_training_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="1 images, none targets"):
        make_tiny("retina_net")([image()])


@pytest.mark.parametrize("kind", [RetinaNet, FasterRCNNND, RetinaUNet, UNetHeuristic])
def test_pyramid_without_the_levels_needed_is_refused(kind: type) -> None:
    with pytest.raises(ValueError, match="needs the pyramid levels"):
        kind(PyramidBackbone(depth=18, width=4, pyramid_width=8, levels=(2, 3)))


def overfit(name: str, dim: int, steps: int, **settings: object) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Losses before and after training on one image, and what is found in it then."""
    network = make_tiny(name, dim, **settings)
    picture = image(dim) / 2
    boxes = [BOX[dim]]
    picture = picture + filled(dim, boxes)[0]
    one = target(dim, boxes, [2], masks=filled(dim, boxes))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    # Small steps at the end: otherwise the last one's chance, and with it the number of threads, decides.
    slower = torch.optim.lr_scheduler.StepLR(optimizer, max(2 * steps // 3, 1))
    course = []
    for _ in range(steps):
        loss = total(network([picture], [one]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
        course.append(loss.detach())
    with torch.no_grad():
        (found,) = network.eval()([picture])
    return torch.stack(course[:5]).mean(), torch.stack(course[-5:]).mean(), found


@every_detector
def test_losses_fall_on_one_image(name: str) -> None:
    before, after, _ = overfit(name, 2, 20)
    assert after < 0.9 * before


@pytest.mark.slow
@every_detector
@both
def test_object_of_one_image_is_found_after_training_on_it(name: str, dim: int) -> None:
    # Candidates that overlap the object by 0.1 to 0.5 are left out of the second stage (as published) and may score
    # anything after one image; here they are background.
    decided = {"roi_bg_iou": 0.5} if name == "two_stage_retina_unet" else {}
    before, after, found = overfit(name, dim, 150, **decided)
    assert after < before / 2
    best, box = found["boxes"][0], torch.tensor(BOX[dim])
    common = (torch.minimum(best, box)[dim:] - torch.maximum(best, box)[:dim]).clamp(min=0).prod()
    union = (best[dim:] - best[:dim]).prod() + (box[dim:] - box[:dim]).prod() - common
    # In 3D the best box may be that of a neighbouring anchor, untaught by one image; the paper asks for 0.1.
    assert common / union > (0.5 if dim == 2 else 0.2)
    assert found["labels"][0] == 2


def test_default_backbone_is_a_resnet_50() -> None:
    with torch.device("meta"):
        network = RetinaNet(PyramidBackbone(width=64))
    blocks = [len(network.backbone.encoder.get_submodule(f"c{level}")) for level in (2, 3, 4, 5)]
    assert blocks == [3 + 1, 4, 6, 3]  # the pooling layer belongs to the first
    assert sum(p.numel() for p in network.backbone.encoder.parameters()) == pytest.approx(23.5e6, rel=0.01)


def test_copy_of_a_network_gives_the_same_boxes() -> None:
    network = make_tiny("retina_unet", detection_score=0.01).eval()
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(network)([image()]), network([image()]))
