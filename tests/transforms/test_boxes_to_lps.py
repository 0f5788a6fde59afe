import numpy as np
import pytest
import torch

from transforms.boxes_to_lps import BoxesToLPS, BoxesToLPSd
from transforms.geometry import VolumeGeometry
from transforms.view import View
from transforms.volume_in_meta import VolumeInMetad

GEOMETRY = VolumeGeometry.from_file_grid(
    (100, 80, 12), np.array([[0.5, 0, 0, -25], [0, 0.5, 0, 7], [0, 0, 4, -90], [0, 0, 0, 1.0]])
)


def test_one_voxel_is_its_centre_and_its_size() -> None:
    boxes = torch.tensor([[0, 0, 0, 1, 1, 1], [10, 20, 2, 14, 22, 5]], dtype=torch.float32)
    assert BoxesToLPS()(boxes, GEOMETRY).tolist() == [
        [-25, 7, -90, 0.5, 0.5, 4],
        [-25 + 0.5 * 11.5, 7 + 0.5 * 20.5, -90 + 4 * 3, 2, 1, 12],
    ]


def test_dictionary_form_takes_no_boxes_too() -> None:
    item = BoxesToLPSd()({"box": torch.zeros(0, 6), "geometry": GEOMETRY, "label": 1})
    assert item["box"].shape == (0, 6)
    assert item["label"] == 1


def test_volume_carries_view_and_spacing() -> None:
    item = {"image": torch.ones(2, 3, 3, dtype=torch.int16), "view": View(2.0, 2.0), "spacing_mm": (1, 1, 5)}
    image = VolumeInMetad()(item)["image"]
    assert image.meta["view"] == View(2.0, 2.0)
    assert image[None].meta["spacing_mm"] == (1, 1, 5)
    assert torch.equal(image.as_subclass(torch.Tensor), item["image"])
    with pytest.raises(KeyError):
        VolumeInMetad()({"image": item["image"]})
