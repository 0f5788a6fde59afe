"""Crops of fixed physical size, and two looks at one lesion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lesion_app.data.lesion_items import lesion_items, prepare_pair_batch
from lesion_app.data.seeded_sampling import Draw, SeededDataset
from lesion_app.errors import InputError
from transforms.lesion_crop import crop_lesions
from transforms.lesion_pair import RandLesionPaird
from transforms.load_slab import LoadSlab
from transforms.read_lesion import ReadLesiond


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


def looks(num_slices=3, size_mm=50.0, size_px=16, max_shift_mm=2.0, scale_range=(0.85, 1.18), **rest):
    """The deterministic and the random part, told the same."""
    shared = {"size_mm": size_mm, "max_shift_mm": max_shift_mm, "scale_range": scale_range}
    return [ReadLesiond(num_slices, **shared), RandLesionPaird(size_px=size_px, **shared, **rest)]


def test_pairs_are_two_slices_of_a_lesion_and_repeatable(records):
    items = lesion_items(records)
    still = looks(size_mm=16, max_shift_mm=0, scale_range=(1, 1), hu_offset=0, hu_contrast=0, noise_hu=0)
    pair = SeededDataset(items, still, seed=0)[0]["pair"]
    assert pair.shape == (2, 3, 16, 16)
    assert sorted(pair[:, 1].mean(dim=(1, 2)).div(100).round().tolist()) == [3.0, 5.0]
    dataset = SeededDataset(items, looks(size_mm=16), seed=0, cache="memory")
    first, again, other = (dataset[Draw(1, number)]["pair"] for number in (7, 7, 8))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


class WholeSlabs(RandLesionPaird):
    """The reference: every look is cut out of the whole slab as `LoadSlab` gives it."""

    def __call__(self, data):
        places = data["places"]
        slabs = [LoadSlab(3)(data["image"], p["slice"], data["spacing_mm"], data["slices"])[0] for p in places]
        rows = torch.arange(3 * len(places)).reshape(-1, 3)
        box = torch.tensor([p["box"] for p in places])
        as_read = {"box": box, "lower": rows, "upper": rows, "weight": torch.zeros(rows.shape)}
        return super().__call__({**data, "pixels": torch.cat(slabs), "places": as_read})


@pytest.mark.parametrize("box", [[10.0, 10.0, 20.0, 20.0], [-4.0, 0.0, 1.5, 3.0], [33.0, 36.5, 48.0, 44.0]])
@pytest.mark.parametrize("size_mm", [9.0, 50.0])
def test_what_is_read_shows_what_the_whole_slab_shows(records, box, size_mm):
    items = lesion_items(records)
    for place in [place for item in items for place in item["places"]]:
        place["box"] = box
    read = SeededDataset(items, looks(size_mm=size_mm), seed=0)
    whole = SeededDataset(items, [WholeSlabs(size_mm=size_mm, size_px=16)], seed=0)
    for number in range(12):
        draw = Draw(number % len(items), number)
        torch.testing.assert_close(read[draw]["pair"], whole[draw]["pair"], rtol=0, atol=0.05)


def test_only_slices_and_pixels_within_reach_are_read(records):
    item = lesion_items(records)[0]  # slices 3 and 5, 2 mm apart
    read = ReadLesiond(1, size_mm=8, max_shift_mm=1, scale_range=(1, 1))(item)
    assert read["pixels"].dtype == torch.int16
    assert read["pixels"].shape == (2, 12, 12)  # 15 px +- 5 mm and one px on each side
    assert read["places"]["lower"].tolist() == [[0], [1]]
    assert read["places"]["box"].tolist() == [[1.0, 1.0, 11.0, 11.0]] * 2
    assert ReadLesiond(3)(item)["pixels"].shape == (5, 40, 40)


def test_a_lesion_on_no_slice_of_its_ct_is_told(records):
    item = lesion_items(records)[0]
    item["places"][1]["slice"] = 9
    with pytest.raises(InputError, match="outside 1 to 8"):
        ReadLesiond()(item)


def test_lesions_of_one_patient_in_two_scans_are_no_negatives(records):
    items = [{**item, "pair": torch.full((2, 3, 4, 4), float(i))} for i, item in enumerate(lesion_items(records))]
    crops, unknown = prepare_pair_batch(items, "cpu")
    assert crops[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0] * 2
    assert unknown.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
