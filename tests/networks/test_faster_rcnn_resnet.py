"""torchvision's Faster R-CNN under the project's protocol."""

from __future__ import annotations

import copy
from urllib.error import URLError

import pytest
import torch
from torchvision.models import WeightsEnum
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from lesion_app.errors import InputError
from lesion_app.networks.checkpoint import save_atomically
from lesion_app.networks.faster_rcnn_resnet import FasterRCNNResNet

SMALL = {
    "backbone": "resnet18",
    "min_size": 64,
    "max_size": 96,
    "fpn_channels": 16,
    "box_head_channels": 16,
    "anchor_sizes": (8, 16, 32, 64, 128),
    "rpn_post_nms_train": 50,
    "rpn_post_nms_test": 50,
    "box_samples_per_image": 32,
}


def small(seed=0, **options):
    torch.manual_seed(seed)
    return FasterRCNNResNet(**{**SMALL, **options})


def target(boxes, labels, **more):
    regions = {k: torch.tensor(v, dtype=torch.float32).reshape(-1, 4) for k, v in more.items()}
    found = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return {**found, **regions}


def slab(seed=0, slices=1, height=64, width=64):
    return 255 * torch.rand(slices, height, width, generator=torch.Generator().manual_seed(seed))


def losses(network, slabs, targets, seed=0):
    torch.manual_seed(seed)
    return network.train()(slabs, targets)


@pytest.mark.slow
def test_equals_torchvisions_own():
    torch.manual_seed(0)
    sizes = {"min_size": 96, "max_size": 128}
    reference = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0, **sizes
    )
    network = FasterRCNNResNet(num_classes=4, box_score_threshold=0.0, **sizes)
    network.load_state_dict(reference.state_dict())
    slabs = [slab(1, height=60, width=70), slab(2, height=64, width=50)]
    images = [s.expand(3, -1, -1) / 255 for s in slabs]
    targets = [target([[5, 5, 30, 40]], [2]), target([], [])]
    torch.manual_seed(5)
    expected = reference.train()(images, targets)
    found = losses(network, slabs, targets, seed=5)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    with torch.no_grad():
        pairs = zip(network.eval()(slabs), reference.eval()(images))
    for ours, theirs in pairs:
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name])


def test_published_size_at_coco():
    # torchvision's fasterrcnn_resnet50_fpn: 41,755,286 parameters with frozen normalisation
    with torch.device("meta"):
        network = FasterRCNNResNet(num_classes=90, norm="frozen", trainable_stages=5)
    assert sum(p.numel() for p in network.parameters()) == 41_755_286


@pytest.mark.parametrize("slices", [1, 3])
def test_detections_are_in_px_of_the_slab(slices):
    network = small(num_slices=slices, box_score_threshold=0.0).eval()
    with torch.no_grad():
        found = network([slab(0, slices, 40, 200), slab(1, slices, 64, 64)])
    assert [set(f) for f in found] == [{"boxes", "scores", "labels"}] * 2
    assert all(len(f["boxes"]) and f["boxes"].min() >= 0 for f in found)
    assert found[0]["boxes"][:, 3].max() <= 40
    assert 64 < found[0]["boxes"][:, 2].max() <= 200
    assert set(found[0]["labels"].tolist()) <= set(range(1, 9))


def test_three_slices_differ_from_one_thrice():
    network = small(num_slices=3, box_score_threshold=0.0).eval()
    stack = slab(0, 3)
    with torch.no_grad():
        neighbours, repeated = network([stack])[0], network([stack[1:2].expand(3, -1, -1)])[0]
        single = small(num_slices=1, box_score_threshold=0.0).eval()([stack[1:2]])[0]
    assert not torch.equal(neighbours["scores"], repeated["scores"])
    assert torch.equal(single["scores"], repeated["scores"])
    with pytest.raises(ValueError, match="1 slices came to a network of 3"):
        network([slab(0, 1)])


def test_image_without_boxes_trains():
    found = losses(small(), [slab(0), slab(1)], [target([], []), target([], [])])
    assert all(torch.isfinite(v) for v in found.values())
    assert found["loss_box_reg"] == found["loss_rpn_box_reg"] == 0
    sum(found.values()).backward()


def test_ignored_region_gives_no_gradient():
    """The whole image is ignored, far beyond its borders as anchors are, and has no lesion: nothing may be learnt."""
    network = small()
    found = losses(network, [slab(0)], [target([], [], ignore=[[-300, -300, 364, 364]])])
    sum(found.values()).backward()
    assert all(v == 0 for v in found.values())
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_ignored_region_lies_where_the_resized_image_has_it():
    """Scaled with the image, a region over the right half leaves samples of the left half alone."""
    network = small(min_size=128, max_size=128)
    seen = {}
    inner = network.rpn.compute_loss
    network.rpn.compute_loss = lambda o, d, labels, w: seen.update(labels=labels) or inner(o, d, labels, w)
    kept = network.rpn.anchor_generator.forward
    network.rpn.anchor_generator.forward = lambda *a: seen.update(anchors=kept(*a)) or seen["anchors"]
    losses(network, [slab(0)], [target([], [], ignore=[[32, 0, 64, 64]])])
    anchors, labels = seen["anchors"][0], seen["labels"][0]
    right = (anchors[:, 0] >= 64) & (anchors[:, 2] <= 128) & (anchors[:, 1] >= 0) & (anchors[:, 3] <= 128)
    assert right.any()
    assert (labels[right] == -1).all()
    left = (anchors[:, 2] <= 64) & (anchors[:, 0] >= 0)
    assert (labels[left] == 0).all()


def test_a_lesion_beside_an_ignored_region_is_learnt():
    found = losses(small(), [slab(0)], [target([[8, 8, 30, 30]], [3], ignore=[[-300, -300, 364, 364]])])
    assert found["loss_classifier"] > 0
    assert found["loss_objectness"] > 0


def test_frozen_stages_and_norms():
    network = small(norm="frozen", trainable_stages=2)
    trained = {n.split(".")[0] for n, p in network.backbone.body.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    assert all(p.requires_grad for p in network.rpn.parameters())
    before = copy.deepcopy(network.state_dict())
    losses(network, [slab(0)], [target([[8, 8, 30, 30]], [3])])
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    whole = small(trainable_stages=5)
    assert all(p.requires_grad for p in whole.parameters())


def test_state_dict_on_disk_is_loaded_and_its_predictor_left_out_for_other_classes(tmp_path):
    source = small(1, num_classes=3)
    save_atomically(source.state_dict(), tmp_path / "w.pt")
    same = small(2, num_classes=3, weights=str(tmp_path / "w.pt"))
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in source.state_dict().items())
    other = small(2, num_classes=8, norm="frozen", weights=str(tmp_path / "w.pt")).state_dict()
    for name, value in source.state_dict().items():
        if name.startswith("roi_heads.box_predictor"):
            assert other[name].shape != value.shape
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(value, other[name])


def test_names_of_old_torchvision_are_known(tmp_path):
    source = small(1)
    old = {}
    for name, value in source.state_dict().items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            name = name.replace(f"{block}.0.0.", f"{block}.0.").replace(f"{block}.1.0.", f"{block}.1.")
            name = name.replace(f"{block}.2.0.", f"{block}.2.").replace(f"{block}.3.0.", f"{block}.3.")
        old[name] = value
    assert old.keys() != source.state_dict().keys()
    save_atomically(old, tmp_path / "old.pt")
    loaded = small(2, weights=str(tmp_path / "old.pt")).state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in source.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    save_atomically(small(fpn_channels=8).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="do not fit this detector"):
        small(weights=str(tmp_path / "w.pt"))
    torch.save({"a": object()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="cannot be read"):
        small(weights=str(tmp_path / "bad.pt"))
    with pytest.raises(InputError, match="resnet50 only"):
        small(weights="coco")


def test_coco_weights_come_from_torchvisions_loader(monkeypatch):
    asked = []
    with torch.device("meta"):
        shapes = FasterRCNNResNet(num_classes=90, norm="frozen").state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {k: torch.rand(v.shape, generator=generator) for k, v in shapes.items()}
    monkeypatch.setattr(
        WeightsEnum, "get_state_dict", lambda self, *a, **k: asked.append((self.name, k["check_hash"])) or state
    )
    network = FasterRCNNResNet(num_classes=8, norm="frozen", norm_eps=0.0, trainable_stages=3, weights="coco")
    assert asked == [("COCO_V1", True)]
    assert torch.equal(network.backbone.body.conv1.weight, state["backbone.body.conv1.weight"])
    assert torch.equal(network.roi_heads.box_head.fc6.weight, state["roi_heads.box_head.fc6.weight"])
    assert network.roi_heads.box_predictor.cls_score.out_features == 9
    assert network.backbone.body.bn1.eps == 0.0


def test_offline_is_told_in_one_sentence(monkeypatch):
    def offline(self, *a, **k):
        raise URLError("no route")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(InputError, match=r"resnet18-.*\.pth into torch's hub checkpoint folder"):
        small(weights="imagenet")


def test_imagenet_weights_fill_the_backbone_alone(monkeypatch):
    from torchvision.models import resnet18

    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *a, **k: state)
    network = small(weights="imagenet")
    assert torch.equal(network.backbone.body.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(network.rpn.head.cls_logits.weight, small().rpn.head.cls_logits.weight)


@pytest.mark.parametrize(
    "options", [{"backbone": "vgg16"}, {"num_slices": 9}, {"trainable_stages": 6}, {"anchor_sizes": (8, 16)}]
)
def test_values_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match=r"must|needed"):
        small(**options)


def test_training_lowers_the_loss():
    network = small(num_classes=2, norm="group")
    image = torch.full((1, 64, 64), 128.0)
    image[:, 16:40, 16:40] = 255.0
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    found = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = sum(losses(network, [image], [target([[16, 16, 40, 40]], [1])]).values())
        loss.backward()
        optimizer.step()
        found.append(float(loss))
    assert found[-1] < 0.6 * found[0]
