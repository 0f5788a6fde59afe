"""Tiles over a volume; the detector is one that finds bright boxes, so that what must come out is known."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.boxes.overlap import box_overlap_3d
from lesion_app.inferers.mirrored_views import MirroredViews
from lesion_app.inferers.tiled_volume import TiledVolumeInferer, tile_starts, tiles_over
from transforms.view import View


class BrightBoxes(nn.Module):
    """Calls every connected part above 100 HU an object, the part itself its mask.

    Its score is 0.8, or 0.2 where the tile cuts it off.
    """

    def __init__(self, masks: bool = True) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.masks = masks
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: list[Tensor], targets: None = None) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            self.sizes.append(tuple(image.shape))
            parts, count = ndimage.label(image[0].numpy() > 100)
            spans = ndimage.find_objects(parts)
            boxes = [[s.start for s in span[::-1]] + [s.stop for s in span[::-1]] for span in spans]
            one = {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 6),
                "scores": torch.tensor([0.2 if cut(span, parts.shape) else 0.8 for span in spans]),
                "labels": torch.ones(count, dtype=torch.int64),
            }
            if self.masks:
                masks = np.stack([parts == i + 1 for i in range(count)]) if count else np.zeros((0, *parts.shape))
                one["masks"] = torch.from_numpy(masks).float()
            found.append(one)
        return found


def cut(span: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(s.start == 0 or s.stop == n for s, n in zip(span, shape))


def case(volume: Tensor, spacing: tuple[float, float, float] = (1.0, 1.0, 2.0), view: View | None = None) -> dict:
    shape = tuple(volume.shape)
    if view is not None:
        shape = (shape[0], round(shape[1] / view.scale_y), round(shape[2] / view.scale_x))
    geometry = SimpleNamespace(shape_zyx=shape)
    return {"image": volume, "spacing_mm": spacing, "view": view or View(), "geometry": geometry}


def inferer(**settings: object) -> TiledVolumeInferer:
    return TiledVolumeInferer(lambda hu: hu, **{"patch_size": (8, 32, 32), "interval_mm": 2.0, **settings})


def with_boxes(shape: tuple[int, int, int], boxes: list[list[int]]) -> Tensor:
    volume = torch.zeros(shape, dtype=torch.int16)
    for x1, y1, z1, x2, y2, z2 in boxes:
        volume[z1:z2, y1:y2, x1:x2] = 400
    return volume


BOXES = [[5, 6, 2, 15, 14, 5], [26, 24, 10, 34, 40, 14], [60, 50, 17, 64, 56, 20]]


def test_every_object_is_found_once_where_it_is() -> None:
    """Also those that lie across several tiles and those that touch the border."""
    (lesions,) = inferer(overlap=0.5)([case(with_boxes((20, 56, 64), BOXES))], BrightBoxes())
    found = torch.tensor([lesion.extent for lesion in lesions])
    iou = box_overlap_3d(torch.tensor(BOXES, dtype=torch.float32), found)
    assert iou.shape == (3, 3)
    assert (iou.amax(dim=1) > 0.7).all()
    assert lesions[0].score > 0.6


def test_small_volume_goes_through_in_one_tile() -> None:
    network = BrightBoxes()
    (lesions,) = inferer()([case(with_boxes((4, 20, 24), [[3, 4, 1, 9, 9, 3]]))], network)
    assert network.sizes == [(1, 8, 32, 32)]
    assert lesions[0].extent == (3.0, 4.0, 1.0, 9.0, 9.0, 3.0)
    assert lesions[0].score == pytest.approx(0.8)


def test_slices_are_resampled_to_the_networks_distance_and_back() -> None:
    volume = with_boxes((12, 32, 32), [[4, 4, 4, 12, 12, 8]])
    (found,) = inferer(patch_size=(24, 32, 32), interval_mm=1.0)([case(volume)], BrightBoxes())
    assert found[0].slices == (4, 5, 6, 7)
    assert found[0].boxes[0] == (4.0, 4.0, 12.0, 12.0)
    assert found[0].key_slice in (5, 6)


def test_boxes_and_masks_come_back_in_original_pixels() -> None:
    volume = with_boxes((6, 30, 30), [[4, 6, 1, 12, 12, 4]])
    view = View(0.5, 0.5)
    (found,) = inferer()([case(volume, view=view)], BrightBoxes())
    assert found[0].boxes[0] == (8.0, 12.0, 24.0, 24.0)
    assert isinstance(found[0], OutlinedTracklet)
    assert sorted(found[0].outlines) == [1, 2, 3]
    x, y, mask = found[0].outlines[2]
    assert (x, y, mask.shape) == (8, 12, (12, 16))
    assert mask.all()


def test_mask_keeps_its_shape() -> None:
    volume = torch.zeros(8, 32, 32, dtype=torch.int16)
    z, y, x = torch.meshgrid(torch.arange(8), torch.arange(32), torch.arange(32), indexing="ij")
    ball = ((z - 4) / 3) ** 2 + ((y - 15) / 10) ** 2 + ((x - 16) / 9) ** 2 <= 1
    volume[ball] = 400
    (found,) = inferer()([case(volume)], BrightBoxes())
    painted = torch.zeros(8, 32, 32, dtype=torch.bool)
    for slice_, (left, top, mask) in found[0].outlines.items():
        part = painted[slice_, top : top + mask.shape[0], left : left + mask.shape[1]]
        part |= torch.from_numpy(mask)
    common = (painted & ball).sum() / (painted | ball).sum()
    assert common > 0.9


def test_mirrored_views_are_members_of_one_clustering() -> None:
    network = BrightBoxes()
    (plain,) = inferer()([case(with_boxes((8, 32, 32), [[3, 4, 1, 9, 9, 3]]))], network)
    (merged,) = inferer()(
        [case(with_boxes((8, 32, 32), [[3, 4, 1, 9, 9, 3]]))], MirroredViews(network, ["", "x", "yz"])
    )
    assert len(network.sizes) == 4
    assert merged[0].extent == pytest.approx(plain[0].extent)
    assert merged[0].score == pytest.approx(plain[0].score)


def test_object_seen_by_few_of_its_tiles_loses_score() -> None:
    class OnlyOnce(BrightBoxes):
        def forward(self, images: list[Tensor], targets: None = None) -> list[dict[str, Tensor]]:
            found = super().forward(images)
            first = len(self.sizes) == 1
            return found if first else [{k: v[:0] for k, v in one.items()} for one in found]

    volume = with_boxes((8, 32, 48), [[18, 4, 1, 26, 9, 3]])  # in both tiles, which start at 0 and 16
    (both,) = inferer(overlap=0.5)([case(volume)], BrightBoxes())
    (once,) = inferer(overlap=0.5)([case(volume)], OnlyOnce())
    assert both[0].score == pytest.approx(0.8)
    assert once[0].score == pytest.approx(0.4)


def test_without_masks_and_without_objects() -> None:
    (found,) = inferer()([case(with_boxes((8, 32, 32), [[3, 4, 1, 9, 9, 3]]))], BrightBoxes(masks=False))
    assert found[0].outlines == {}
    assert inferer()([case(torch.zeros(20, 40, 40, dtype=torch.int16))], BrightBoxes()) == [[]]


@pytest.mark.parametrize("extent", [1, 31, 32, 33, 64, 100, 317])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_tiles_cover_everything_and_overlap(extent: int, overlap: float) -> None:
    starts = tile_starts(extent, 32, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, extent - 32)
    assert all(0 < b - a <= max(1, 32 * (1 - overlap)) + 1 for a, b in pairwise(starts))
    if extent > 32:
        assert len(starts) == 1 + -(-(extent - 32) // max(1, int(32 * (1 - overlap))))


def test_tiles_over_a_box_are_their_mean_over_its_voxels() -> None:
    size, patch = (20, 50, 60), (8, 32, 32)
    starts = [tile_starts(n, p, 0.4) for n, p in zip(size, patch)]
    cover = torch.zeros(size)
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                cover[z : z + 8, y : y + 32, x : x + 32] += 1
    rng = torch.Generator().manual_seed(0)
    low = (torch.rand(20, 3, generator=rng) * torch.tensor([50.0, 40, 15])).floor()
    boxes = torch.cat([low, low + 1 + (torch.rand(20, 3, generator=rng) * 5).floor()], dim=1)
    expected = [
        cover[int(z1) : int(z2), int(y1) : int(y2), int(x1) : int(x2)].mean().item()
        for x1, y1, z1, x2, y2, z2 in boxes.tolist()
    ]
    torch.testing.assert_close(tiles_over(boxes, size, starts, patch), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings", [{"patch_size": (8, 8)}, {"overlap": 1.0}, {"interval_mm": 0}, {"tiles_per_batch": 0}]
)
def test_nonsense_is_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match=r"expected a patch_size|start at 1"):
        inferer(**settings)
