"""The toy data sets: what the published generator does, and what the paper says it does."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lesion_app.data.datalist import load_records
from lesion_app.data.object_images import object_image_items, prepare_object_batch, prepare_object_evaluation
from lesion_app.data.toy import ToySettings, draw_toy_image, write_toy
from lesion_app.errors import InputError
from transforms.boxes_to_tensor import BoxesToTensord
from transforms.load_object_image import LoadObjectImaged

SMALL = ToySettings(size=96)


def of_class(task: str, label: int, settings: ToySettings, cut: bool = False):
    """The first image of that class whose object is (not) cut by the border."""
    for seed in range(500):
        toy = draw_toy_image(task, seed, settings)  # type: ignore[arg-type]
        if toy.label == label and toy.cut is cut:
            return toy
    raise AssertionError("no such image")


def published_disc(size: int, x: int, y: int, d: int) -> np.ndarray:
    """The membership test of the published generator, pixel by pixel."""
    disc = np.zeros((size, size), dtype=bool)
    for i in range(size):
        for j in range(size):
            disc[j, i] = (i - x) ** 2 + (j - y) ** 2 - d**2 < 0
    return disc


def test_published_diameters_are_radii():
    toy = of_class("shapes", 1, SMALL)
    x1, y1, x2, y2 = toy.box
    assert (x2 - x1, y2 - y1) == (39, 39)
    centre = int(x1 + 19), int(y1 + 19)
    assert np.array_equal(toy.mask, published_disc(96, *centre, 20))
    donut = of_class("shapes", 2, SMALL)
    x1, y1, *_ = donut.box
    centre = int(x1 + 19), int(y1 + 19)
    assert np.array_equal(donut.mask, published_disc(96, *centre, 20) & ~published_disc(96, *centre, 4))


def test_paper_sizes_are_diameters_and_never_cut():
    settings = ToySettings(size=96, sizes="paper")
    for label, side in ((1, 19), (2, 20)):
        toy = of_class("scales", label, settings)
        x1, y1, x2, y2 = toy.box
        assert (x2 - x1, y2 - y1) == (side, side)
    for seed in range(200):
        toy = draw_toy_image("shapes", seed, settings)
        assert toy.mask.any(axis=0).sum() == toy.mask.any(axis=1).sum() == 20
        assert not toy.cut


def test_share_of_objects_cut_by_the_border_is_the_published_ones():
    """11.6 % by enumeration: 1 - ((320 - 38) / 300)^2 over the centres 10 .. 309."""
    size, low, high = 320, 10, 310
    whole = sum(c - 19 >= 0 and c + 20 <= size for c in range(low, high)) / (high - low)
    assert 1 - whole**2 == pytest.approx(0.116, abs=0.0005)
    boxes = np.array([draw_toy_image("shapes", seed).box for seed in range(6)])
    assert boxes[:, 2:].max() <= 320
    cut = of_class("shapes", 1, SMALL, cut=True)
    assert (cut.box[2] - cut.box[0], cut.box[3] - cut.box[1]) != (39, 39)
    rows, columns = np.nonzero(cut.mask)
    assert cut.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_object_adds_the_contrast_and_the_hole_takes_it_back():
    noise = np.random.default_rng(3).random((96, 96))
    toy = draw_toy_image("shapes", 3, SMALL)
    brighter = toy.image - noise
    assert np.allclose(brighter[toy.mask], 0.2, atol=1e-6)
    assert np.allclose(brighter[~toy.mask], 0.0, atol=1e-6)
    assert toy.image.dtype == np.float32


def test_patterns_are_the_images_of_shapes_with_masks_without_a_hole():
    for seed in range(20):
        shape, pattern = draw_toy_image("shapes", seed, SMALL), draw_toy_image("patterns", seed, SMALL)
        assert np.array_equal(shape.image, pattern.image)
        assert (shape.label, shape.box) == (pattern.label, pattern.box)
        assert np.array_equal(shape.mask, pattern.mask) is (shape.label == 1)
        assert (pattern.mask & ~shape.mask).sum() in (0, 45)


def test_margin_keeps_objects_whole():
    settings = ToySettings(size=96, margin_px=20)
    boxes = np.array([draw_toy_image("shapes", seed, settings).box for seed in range(100)])
    assert ((boxes[:, 2:] - boxes[:, :2]) == 39).all()


def test_written_data_are_read_back_as_training_items(tmp_path):
    summary = write_toy(tmp_path / "toy", "shapes", 4, 2, 1, seed=7, settings=SMALL)
    assert summary.images == {"training": 4, "validation": 2, "test": 1}
    records = load_records(tmp_path / "toy" / "datalist.json", "training", tmp_path / "toy")
    items = object_image_items(records, tmp_path / "toy")
    for k, item in enumerate(items):
        toy = draw_toy_image("shapes", [7, 0, k], SMALL)
        item = BoxesToTensord()(LoadObjectImaged("image")(item))
        assert np.array_equal(item["image"].numpy()[0], toy.image)
        assert item["masks"].shape == (1, 96, 96)
        assert np.array_equal(item["masks"][0].numpy().astype(bool), toy.mask)
        assert item["boxes"].tolist() == [list(toy.box)]
        assert item["labels"].tolist() == [toy.label]
        items[k] = item
    images, targets, arguments, _ = prepare_object_batch(items, "cpu")
    assert images[0].shape == (1, 96, 96)
    assert set(targets[0]) == {"boxes", "labels", "masks", "ignore"}
    assert arguments[0] is targets
    assert prepare_object_evaluation(items, "cpu")[1][1]["id"] == "training-00002"


def test_smaller_set_is_the_beginning_of_a_larger_one_and_bytes_repeat(tmp_path):
    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    write_toy(tmp_path / "a", "scales", 3, 1, 0, seed=1, settings=SMALL)
    write_toy(tmp_path / "b", "scales", 5, 1, 0, seed=1, settings=SMALL)
    write_toy(tmp_path / "c", "scales", 3, 1, 0, seed=2, settings=SMALL)
    for name in ("images/training-00003.npy", "masks/training-00003.png", "images/validation-00001.npy"):
        assert digest(tmp_path / "a" / name) == digest(tmp_path / "b" / name)
    assert digest(tmp_path / "a" / "images/training-00001.npy") != digest(tmp_path / "c" / "images/training-00001.npy")
    records = load_records(tmp_path / "b" / "datalist.json", "training", tmp_path / "b")
    assert [item["id"] for item in object_image_items(records, tmp_path / "b", 3)] == [
        f"training-{k:05d}" for k in (1, 2, 3)
    ]
    with pytest.raises(InputError, match="6 images were asked for"):
        object_image_items(records, tmp_path / "b", 6)


def test_faulty_requests_are_refused_and_leave_nothing(tmp_path, monkeypatch):
    for arguments, told in (
        (("donuts", 1, 1, 1), "no toy task"),
        (("shapes", 0, 0, 0), "at least one image"),
        (("shapes", -1, 0, 1), "numbers from 0"),
    ):
        with pytest.raises(InputError, match=told):
            write_toy(tmp_path / "out", *arguments)
        assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        write_toy(tmp_path / "full", "shapes", 1, 0, 0, settings=SMALL)
    assert (tmp_path / "full" / "keep").exists()
    monkeypatch.setattr("lesion_app.data.toy.write.np.save", full_disk)
    with pytest.raises(InputError, match="cannot be written"):
        write_toy(tmp_path / "out", "shapes", 1, 0, 0, settings=SMALL)
    assert not (tmp_path / "out").exists()


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sizes": "legacy"}, "published, paper"),
        ({"size": 39}, "does not fit"),
        ({"hole_px": 20}, "holes smaller"),
        ({"scale_px": (20, 20)}, "two different scales"),
        ({"contrast": 0.0}, "contrast"),
        ({"size": 96, "margin_px": 48}, "no room"),
    ],
)
def test_faulty_settings_are_told(settings, told):
    with pytest.raises(InputError, match=told):
        ToySettings(**settings)
