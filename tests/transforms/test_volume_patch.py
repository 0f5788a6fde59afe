from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from transforms.lesion_patch import PatchGrid
from transforms.volume_patch import RandVolumePatchd

SPACING = (0.5, 0.5, 2.0)
BOXES = [[20.0, 30.0, 4.0, 32.0, 46.0, 8.0], [70.0, 50.0, 10.0, 74.0, 54.0, 11.0]]


@pytest.fixture
def item(tmp_path: Path) -> dict:
    """A CT of 80 x 64 x 14 voxels at 0.5 x 0.5 x 2 mm whose lesions are boxes of 500 HU in water."""
    volume = np.zeros((14, 64, 80), dtype=np.int16)
    volume[0, 0, 0] = -1000
    for x1, y1, z1, x2, y2, z2 in np.array(BOXES, dtype=int):
        volume[z1:z2, y1:y2, x1:x2] = 500
    path = tmp_path / "ct.nii"
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    nibabel.save(nibabel.nifti1.Nifti1Image(volume.transpose(2, 1, 0), affine), path)
    return {"image": str(path), "boxes": BOXES, "labels": [1, 2], "ignore": []}


def transform(**settings: object) -> RandVolumePatchd:
    grid = PatchGrid(num_slices=8, interval_mm=2.0, size_px=24, pixel_mm=1.0)
    return RandVolumePatchd(grid, **{"scale_range": (1.0, 1.0), **settings})


def draws(cut: RandVolumePatchd, item: dict, count: int = 12) -> list[dict]:
    found = []
    for seed in range(count):
        cut.set_random_state(seed=seed)
        found.append(cut(item))
    return found


@pytest.mark.parametrize("scale_range", [(1.0, 1.0), (0.8, 1.1)])
def test_boxes_lie_where_the_lesions_are(item: dict, scale_range: tuple[float, float]) -> None:
    seen = 0
    for one in draws(transform(foreground_probability=1.0, scale_range=scale_range), item):
        assert one["image"].shape == (1, 8, 24, 24)
        for box in one["boxes"]:
            x1, y1, z1, x2, y2, z2 = box.tolist()
            inner = one["image"][0, round(z1 + 0.9) : round(z2 - 0.9) or None, round(y1 + 1) : round(y2 - 1), :]
            inner = inner[..., round(x1 + 1) : round(x2 - 1)]
            if inner.numel():
                seen += 1
                assert inner.min() > 400
    assert seen >= 6


def test_patch_around_a_lesion_holds_its_centre_off_the_sides(item: dict) -> None:
    cut = transform(foreground_probability=1.0, mirrored=())
    for one in draws(cut, {**item, "boxes": BOXES[:1], "labels": [1]}):
        low, high = one["boxes"][0].chunk(2)
        assert ((low + high) / 2 >= torch.tensor([3.0, 3.0, 1.0]) - 1e-4).all()
        assert ((low + high) / 2 <= torch.tensor([21.0, 21.0, 7.0]) + 1e-4).all()


def test_patch_lies_within_the_volume(item: dict) -> None:
    assert all(one["image"].min() >= -1000 for one in draws(transform(foreground_probability=0.0), item))


def test_small_volume_is_surrounded_by_air(item: dict) -> None:
    cut = RandVolumePatchd(PatchGrid(8, 2.0, 64, 1.0), scale_range=(1.0, 1.0), mirrored=())
    cut.set_random_state(seed=0)
    one = cut(item)["image"][0]
    assert (one[:, :10] == -1024).all()
    assert (one[:, 20:44, 14:50] >= -1).all()


def test_lesion_hardly_seen_is_ignored(item: dict) -> None:
    results = draws(transform(foreground_probability=0.0, min_visible=0.9), item, 30)
    assert any(len(one["ignore"]) for one in results)
    for one in results:
        assert len(one["boxes"]) == len(one["labels"]) == len(one["masks"])
        every = torch.cat([one["boxes"], one["ignore"]])
        assert (every[:, 3:] > every[:, :3]).all()
        assert (every >= 0).all()
        assert (every <= torch.tensor([24.0, 24, 8, 24, 24, 8])).all()


def test_mask_fills_its_box(item: dict) -> None:
    for one in draws(transform(foreground_probability=1.0), item):
        for mask, (x1, y1, z1, x2, y2, z2) in zip(one["masks"], one["boxes"].tolist()):
            if mask.any():
                low, high = mask.nonzero().amin(dim=0).tolist(), mask.nonzero().amax(dim=0).tolist()
                assert all(a >= b - 1 for a, b in zip(low, (z1, y1, x1)))
                assert all(a < b + 1 for a, b in zip(high, (z2, y2, x2)))


def test_without_masks(item: dict) -> None:
    assert "masks" not in transform(masks="none")(item)


def test_draws_repeat_under_a_seed(item: dict) -> None:
    first, second = draws(transform(), item, 1), draws(transform(), item, 1)
    assert torch.equal(first[0]["image"], second[0]["image"])
    assert torch.equal(first[0]["boxes"], second[0]["boxes"])


def test_volume_without_lesions(item: dict) -> None:
    one = transform()({**item, "boxes": [], "labels": []})
    assert one["boxes"].shape == (0, 6)
    assert one["labels"].shape == (0,)
    assert one["masks"].shape == (0, 8, 24, 24)


@pytest.mark.parametrize(
    "settings",
    [{"foreground_probability": 1.5}, {"margin": 0.5}, {"scale_range": (1.2, 0.8)}, {"mirrored": "xw"},
     {"masks": "all"}, {"padding_px": -1.0}, {"min_visible": 0.0}],
)  # fmt: skip
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|must be one of"):
        transform(**settings)
