"""Crops of fixed physical size, and two looks at one lesion."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lesion_app.data.lesion_items import lesion_items, prepare_pair_batch
from lesion_app.data.seeded_sampling import Draw, SeededDataset
from transforms.lesion_crop import crop_lesions
from transforms.lesion_pair import RandLesionPaird


def test_crop_without_resampling_is_a_window():
    slab = torch.arange(2 * 12 * 14, dtype=torch.float32).reshape(2, 12, 14)
    crop = crop_lesions(slab, torch.tensor([[4.0, 3.0, 8.0, 7.0]]), (0.5, 0.5), size_mm=3.0, size_px=6)
    torch.testing.assert_close(crop, slab[None, :, 2:8, 3:9])


def test_size_is_physical_in_both_axes():
    slab = torch.zeros(1, 40, 40)
    slab[0, 18:22, 16:24] = 1.0  # 8 mm by 8 mm at 1 mm x 2 mm
    crop = crop_lesions(slab, torch.tensor([[16.0, 18.0, 24.0, 22.0]]), (1.0, 2.0), size_mm=16.0, size_px=16)
    inside = crop[0, 0] > 0.5
    assert int(inside.any(dim=0).sum()) == int(inside.any(dim=1).sum()) == 8


def test_beyond_the_border_lies_air():
    crop = crop_lesions(
        torch.full((1, 8, 8), 50.0), torch.tensor([[0.0, 0.0, 2.0, 2.0]]), (1.0, 1.0), size_mm=8, size_px=8
    )
    assert float(crop[0, 0, 0, 0]) == -1024.0
    assert float(crop[0, 0, -1, -1]) == 50.0


def test_every_box_of_its_own_slab():
    slabs = torch.stack([torch.full((3, 9, 9), float(k)) for k in range(4)])
    crops = crop_lesions(slabs, torch.tensor([[3.0, 3.0, 6.0, 6.0]] * 4), (1.0, 1.0), size_mm=4, size_px=4)
    assert crops.mean(dim=(1, 2, 3)).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert crop_lesions(slabs[:0], torch.zeros(0, 4), (1.0, 1.0), size_px=4).shape == (0, 3, 4, 4)
    with pytest.raises(ValueError, match="one slab a box"):
        crop_lesions(slabs, torch.zeros(3, 4), (1.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        crop_lesions(slabs, torch.zeros(4, 4), (1.0, 0.0))


@pytest.fixture
def records(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "series").mkdir()
    for number in range(1, 9):
        hu = rng.integers(-100, 100, (40, 40)) + 100 * number
        Image.fromarray((hu + 32768).astype(np.uint16)).save(tmp_path / "series" / f"{number:03d}.png")
    common = {
        "image": str(tmp_path / "series"),
        "spacing_mm": [1.0, 1.0, 2.0],
        "size": [40, 40],
        "slices": [1, 8],
        "dataset": "phantom",
    }
    marks = [(3, "lesion", 0), (5, "mined", 0), (4, "lesion", 1), (6, "ignore", None)]
    annotations = [
        {"slice": z, "box": [10.0, 10.0, 20.0, 20.0], "kind": kind, **({} if n is None else {"lesion": n})}
        for z, kind, n in marks
    ]
    return [
        {**common, "id": "p_1_001-008", "patient_id": "p", "annotations": annotations},
        {**common, "id": "p_2_001-008", "patient_id": "p", "annotations": annotations[2:3]},
        {**common, "id": "q_1_001-008", "patient_id": "q", "annotations": annotations[2:3]},
    ]


def test_one_item_a_lesion_with_all_its_places(records):
    items = lesion_items(records)
    assert [[p["slice"] for p in item["places"]] for item in items] == [[3, 5], [4], [4], [4]]


def test_pairs_are_two_slices_of_a_lesion_and_repeatable(records):
    items = lesion_items(records)
    still = RandLesionPaird(
        size_mm=16, size_px=16, max_shift_mm=0, scale_range=(1, 1), hu_offset=0, hu_contrast=0, noise_hu=0
    )
    pair = SeededDataset(items, [still], seed=0)[0]["pair"]
    assert pair.shape == (2, 3, 16, 16)
    assert sorted(pair[:, 1].mean(dim=(1, 2)).div(100).round().tolist()) == [3.0, 5.0]
    dataset = SeededDataset(items, [RandLesionPaird(size_mm=16, size_px=16)], seed=0)
    first, again, other = (dataset[Draw(1, number)]["pair"] for number in (7, 7, 8))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


class WholeSlabs(RandLesionPaird):
    """The reference: every look is cut out of the whole slab, nothing is kept."""

    def _window(self, item, place):
        slab, source = self.loader(item["image"], place["slice"], item["spacing_mm"], item["slices"])
        return slab, 0, 0, source.geometry.spacing_mm


@pytest.mark.parametrize("box", [[10.0, 10.0, 20.0, 20.0], [-4.0, 0.0, 1.5, 3.0], [33.0, 36.5, 48.0, 44.0]])
@pytest.mark.parametrize("size_mm", [9.0, 50.0])
def test_kept_places_show_what_the_whole_slab_shows(records, box, size_mm):
    items = lesion_items(records)
    for item in items:
        for place in item["places"]:
            place["box"] = box
    kept, whole = (
        SeededDataset(items, [look(size_mm=size_mm, size_px=16)], seed=0) for look in (RandLesionPaird, WholeSlabs)
    )
    for number in range(12):
        draw = Draw(number % len(items), number)
        torch.testing.assert_close(kept[draw]["pair"], whole[draw]["pair"], rtol=0, atol=0.05)


def test_a_place_is_read_once_while_it_is_kept(records):
    item, read = lesion_items(records)[0], []
    look = RandLesionPaird(size_mm=8, size_px=8)
    load = look.loader
    look.loader = lambda *args: read.append(args[1]) or load(*args)
    for _ in range(5):
        look(item)
    assert sorted(read) == [3, 5]
    assert pickle.loads(pickle.dumps(RandLesionPaird()))._windows == {}


def test_no_more_is_kept_than_allowed(records):
    items = lesion_items(records)
    one = RandLesionPaird(size_mm=8, size_px=8)
    one(items[1])
    look = RandLesionPaird(size_mm=8, size_px=8, cache_bytes=2 * one._kept_bytes)
    for item in items * 2:
        look(item)
        assert sum(window[0].nbytes for window in look._windows.values()) == look._kept_bytes <= look.cache_bytes
    nothing = RandLesionPaird(size_mm=8, size_px=8, cache_bytes=0)
    assert nothing(items[0])["pair"].shape == (2, 3, 8, 8)
    assert not nothing._windows


def test_lesions_of_one_patient_in_two_scans_are_no_negatives(records):
    items = [{**item, "pair": torch.full((2, 3, 4, 4), float(i))} for i, item in enumerate(lesion_items(records))]
    crops, unknown = prepare_pair_batch(items, "cpu")
    assert crops[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0] * 2
    assert unknown.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
