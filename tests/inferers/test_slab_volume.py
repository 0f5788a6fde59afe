from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lesion_app.boxes.outlined_tracklet import OutlinedTracklet
from lesion_app.inferers.slab_volume import SlabVolumeInferer
from lesion_app.tracking.kalman_linker import KalmanLinker
from tests.networks.tiny_retina import make_tiny
from transforms.slab import cut_slab
from transforms.view import View

VIEW = View(0.5, 0.5, -2.0, -1.0)


def item(depth: int, spacing: float) -> dict:
    rng = torch.Generator().manual_seed(depth)
    volume = torch.randint(0, 2, (depth, 40, 52), generator=rng, dtype=torch.int16)
    geometry = SimpleNamespace(shape_zyx=(depth, 82, 108))
    return {"image": volume, "spacing_mm": (1.0, 1.0, spacing), "view": VIEW, "geometry": geometry}


@pytest.mark.parametrize("slices", [1, 7])
@pytest.mark.parametrize("spacing", [0.4, 5.0])
@torch.no_grad()
def test_every_slice_gets_the_detections_of_its_slab(slices: int, spacing: float) -> None:
    network = make_tiny("retina_unet", channels=slices, detection_score=0.01).eval()
    case = item(4, spacing)
    found = SlabVolumeInferer(lambda f: [], torch.Tensor.float).detect_slices(case, network)
    assert len(found) == 4
    for z, detections in enumerate(found):
        (expected,) = network([cut_slab(case["image"], z, spacing, num_slices=slices, interval_mm=2.0)])
        assert len(expected["scores"]) > 0
        torch.testing.assert_close(detections["scores"], expected["scores"])
        torch.testing.assert_close(VIEW.apply(detections["boxes"]), expected["boxes"], atol=1e-3, rtol=1e-4)
        assert detections["masks"].shape == (len(expected["boxes"]), 32, 32)


@torch.no_grad()
def test_lesions_carry_the_outlines_of_their_boxes() -> None:
    class Disc(torch.nn.Module):
        """Finds one disc on every slice."""

        num_slices = 1

        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, slabs: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(52) + 0.5, indexing="ij")
            disc = (((x - 20) ** 2 + (y - 16) ** 2) <= 36).float()
            one = {
                "boxes": torch.tensor([[14.0, 10, 26, 22]]),
                "scores": torch.tensor([0.9]),
                "labels": torch.tensor([1]),
                "masks": disc[None],
            }
            return [one] * len(slabs)

    ((lesion,),) = SlabVolumeInferer(KalmanLinker(), torch.Tensor.float)([item(3, 2.0)], Disc())
    assert isinstance(lesion, OutlinedTracklet)
    assert lesion.boxes[0] == pytest.approx((32.0, 22.0, 56.0, 46.0))
    assert sorted(lesion.outlines) == [0, 1, 2]
    x, y, mask = lesion.outlines[1]
    assert (x, y, mask.shape) == (32, 22, (24, 24))
    assert mask.sum() == pytest.approx(3.1416 * 12**2, rel=0.05)
    assert not mask[0, 0]
    assert mask[12, 12]


@torch.no_grad()
def test_detector_without_masks_gives_plain_lesions() -> None:
    network = make_tiny("retina_net", detection_score=0.01).eval()
    (lesions,) = SlabVolumeInferer(KalmanLinker(), torch.Tensor.float)([item(3, 2.0)], network)
    assert lesions
    assert not any(isinstance(lesion, OutlinedTracklet) for lesion in lesions)


@pytest.mark.parametrize("slices", [None, 6])
def test_number_of_slices_must_be_odd_and_known(slices: int | None) -> None:
    network = torch.nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="odd number of slices"):
        SlabVolumeInferer(lambda f: [], torch.Tensor.float, num_slices=slices).detect_slices(item(2, 2.0), network)
