from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lesion_app.inferers.whole_volume import WholeVolumeInferer, own_memory
from lesion_app.networks.densenet_25d import SliceFeatures
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from transforms.scale_hu import ScaleHU
from transforms.view import View


def make_item(depth: int, spacing_z: float, size: tuple[int, int] = (40, 52), view: View | None = None):
    rng = torch.Generator().manual_seed(depth)
    volume = torch.randint(-300, 300, (depth, *size), generator=rng, dtype=torch.int16)
    return {"image": volume, "spacing_mm": (1.0, 1.0, spacing_z), "view": view or View()}


def detect(network, item, **options):
    inferer = WholeVolumeInferer(lambda found: found, ScaleHU(-1024, 3071), **options)
    return inferer.detect_slices(item, network)


def assert_equal_detections(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert len(a["boxes"]) == len(b["boxes"]) > 0
        for key in ("boxes", "scores", "labels"):
            assert_close(a[key], b[key], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def network(make_tiny_detector):
    # few, well parted detections, so that rounding cannot change their order or their number
    made = make_tiny_detector(3, box_detections_per_image=5, box_nms_iou=0.2, rpn_nms_iou=0.3).eval()
    torch.nn.init.normal_(made.roi_heads.box_predictor.cls_score.weight, std=0.5)
    return made


@pytest.mark.parametrize("spacing", [0.5, 1, 1.25, 2, 2.5, 3, 5])
def test_streaming_equals_naive_windows(network, spacing):
    item = make_item(21, spacing)
    assert_equal_detections(detect(network, item), detect(network, item, mode="naive"))


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_volume_with_fewer_than_nine_slices_works(network, depth):
    item = make_item(depth, 2.0)
    found = detect(network, item)
    assert len(found) == depth
    assert_equal_detections(found, detect(network, item, mode="naive"))


@pytest.mark.parametrize("spacing", [0.5, 1, 2.5])
@pytest.mark.parametrize("cache_bytes", [0, 100_000])
def test_small_cache_changes_no_result(network, spacing, cache_bytes):
    item = make_item(17, spacing)
    assert_equal_detections(detect(network, item, cache_bytes=cache_bytes), detect(network, item, mode="naive"))


@pytest.mark.parametrize("slabs_per_batch", [1, 3, 50])
def test_batch_size_changes_no_result(network, slabs_per_batch):
    item = make_item(11, 1.0)
    assert_equal_detections(detect(network, item, slabs_per_batch=slabs_per_batch), detect(network, item))


class Watched:
    """A network that counts the images it encodes and, before each batch, the memory that earlier features hold."""

    def __init__(self, network: FasterRCNN25D) -> None:
        self.network, self.encoded = network, 0
        self.made: list[weakref.ref[SliceFeatures]] = []
        self.own_bytes: list[int] = []
        self.held_bytes: list[int] = []

    def __getattr__(self, name):
        return getattr(self.network, name)

    def slice_features(self, images: Tensor):
        alive = [features for ref in self.made if (features := ref()) is not None]
        tensors = [t for f in alive for t in vars(f).values() if t is not None]
        self.own_bytes.append(sum(features.nbytes for features in alive))
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        self.held_bytes.append(sum(storages.values()))
        self.encoded += len(images)
        made = self.network.slice_features(images)
        self.made.extend(weakref.ref(features) for features in made)
        return made


@pytest.mark.parametrize(("spacing", "most"), [(1.0, 30 + 12), (2.0, 30 + 6), (5.0, 90)])
def test_every_distinct_image_is_encoded_once(network, spacing, most):
    watched = Watched(network)
    detect(watched, make_item(30, spacing))
    assert watched.encoded <= most


def test_features_kept_between_batches_hold_their_own_memory_only_and_within_the_bound(network):
    for bound in (150_000, 2**30):
        watched = Watched(network)
        # one chunk of images a batch of slabs, so that what is looked at is what was kept
        detect(watched, make_item(24, 1.0), slabs_per_batch=12, cache_bytes=bound)
        assert watched.held_bytes == watched.own_bytes
        assert max(watched.own_bytes[2:]) > 0
    assert max(watched.own_bytes) > 150_000


def test_cache_bound_is_kept(network, monkeypatch):
    held = []
    bound = WholeVolumeInferer._bound

    def look(self, kept):
        bound(self, kept)
        held.append(sum(features.nbytes for features in kept.values()))

    monkeypatch.setattr(WholeVolumeInferer, "_bound", look)
    detect(network, make_item(20, 0.5), cache_bytes=150_000)
    assert 0 < max(held) <= 150_000
    held.clear()
    detect(network, make_item(20, 0.5))
    assert max(held) > 150_000


def test_own_memory_copies_views_only():
    batch = SliceFeatures(torch.rand(3, 2, 4, 4), torch.rand(3, 2, 2, 2), torch.rand(3, 2, 1, 1))
    view = batch.split()[1]
    wanted = view.stride4.clone()
    own_memory(view)
    assert torch.equal(view.stride4, wanted)
    assert view.stride4.untyped_storage().nbytes() == 2 * 4 * 4 * 4
    assert view.side_map is None
    kept = view.stride4
    own_memory(view)
    assert view.stride4 is kept


def test_boxes_return_to_the_original_pixels(network):
    plain = detect(network, make_item(5, 2.0))
    moved = detect(network, make_item(5, 2.0, view=View(0.5, 0.25, -6.0, 2.0)))
    for a, b in zip(plain, moved):
        x1, y1, x2, y2 = a["boxes"].T
        assert_close(b["boxes"], torch.stack([(x1 + 6) * 2, (y1 - 2) * 4, (x2 + 6) * 2, (y2 - 2) * 4], dim=1))


def test_result_is_what_the_linker_makes_for_each_volume(network):
    inferer = WholeVolumeInferer(lambda slices: [len(slices)], ScaleHU(-1024, 3071))  # type: ignore[list-item]
    assert inferer([make_item(3, 2.0), make_item(5, 2.0)], network) == [[3], [5]]


def test_network_is_put_into_evaluation_mode_and_gets_no_gradient(network):
    network.train()
    found = detect(network, make_item(3, 2.0))
    assert not network.training
    assert not found[0]["scores"].requires_grad


def test_naive_mode_needs_no_more_than_torchvisions_protocol():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.shapes = []

        def forward(self, slabs):
            self.shapes.extend(tuple(s.shape) for s in slabs)
            box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
            return [{"boxes": box, "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.int64)} for _ in slabs]

    network = Plain()
    with pytest.raises(ValueError, match="num_slices"):
        detect(network, make_item(3, 2.0), mode="naive")
    assert len(detect(network, make_item(3, 2.0), mode="naive", num_slices=3)) == 3
    assert network.shapes == [(3, 40, 52)] * 3


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode"):
        WholeVolumeInferer(lambda found: [], ScaleHU(-1024, 3071), mode="fast")  # type: ignore[arg-type]


@pytest.mark.slow
def test_streaming_equals_naive_windows_with_the_papers_network():
    from lesion_app.networks.densenet_25d import DenseNet25D

    torch.manual_seed(0)
    network = FasterRCNN25D(DenseNet25D(), box_detections_per_image=5, box_nms_iou=0.2, box_score_threshold=0.0)
    item = make_item(5, 1.0, size=(64, 64))
    # Activations of a network that never saw data grow by orders of magnitude, and rounding with them.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    slab = ScaleHU(-1024, 3071)(torch.cat([item["image"], item["image"][:4]]).float())
    with torch.no_grad():
        network.backbone((slab - 50).reshape(1, 3, 3, 64, 64))
    assert_equal_detections(detect(network, item), detect(network, item, mode="naive"))
