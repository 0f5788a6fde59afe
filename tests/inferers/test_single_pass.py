"""Detectors without two halves go through a volume slab by slab."""

from __future__ import annotations

import pytest
import torch

from lesion_app.inferers.whole_volume import WholeVolumeInferer
from tests.networks.tiny_yolo import used_yolo
from transforms.scale_hu import ScaleHU
from transforms.slab import cut_slab
from transforms.view import View


def item(depth: int, spacing: float):
    rng = torch.Generator().manual_seed(depth)
    volume = torch.randint(-1000, 3000, (depth, 40, 52), generator=rng, dtype=torch.int16)
    return {"image": volume, "spacing_mm": (1.0, 1.0, spacing), "view": View()}


@pytest.mark.parametrize("slices", [1, 3, 9])
@pytest.mark.parametrize("spacing", [1.0, 5.0])
@torch.no_grad()
def test_every_slice_gets_the_detections_of_its_slab(slices: int, spacing: float):
    network = used_yolo(num_slices=slices)
    scale = ScaleHU(-1024, 3071)
    case = item(4, spacing)
    found = WholeVolumeInferer(lambda found: [], scale, slabs_per_batch=1).detect_slices(case, network)
    assert len(found) == 4
    for z, detections in enumerate(found):
        (expected,) = network([scale(cut_slab(case["image"], z, spacing, num_slices=slices, interval_mm=2.0))])
        assert len(expected["scores"]) > 3
        for key in expected:
            torch.testing.assert_close(detections[key], expected[key], atol=1e-2, rtol=1e-4)


def test_slabs_that_no_plan_can_make_are_refused():
    network = torch.nn.Conv2d(1, 1, 1)
    for slices in (2, 5, 6):
        with pytest.raises(ValueError, match="odd multiple of 3"):
            WholeVolumeInferer(lambda found: [], ScaleHU(-1024, 3071), num_slices=slices).detect_slices(
                item(3, 2.0), network
            )
