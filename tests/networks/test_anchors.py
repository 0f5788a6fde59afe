from __future__ import annotations

import torch
from torchvision.models.detection.image_list import ImageList

from lesion_app.networks.anchors import SingleLevelAnchors, base_anchors


def test_shapes_are_mulans_rounded_ones() -> None:
    anchors = base_anchors((16, 24, 32, 48, 96), (0.5, 1.0, 2.0), 4)
    sides = [(int(w), int(h)) for w, h in (anchors[:, 2:] - anchors[:, :2]).tolist()]
    wide = [(24, 12), (36, 18), (48, 24), (72, 36), (144, 72)]
    assert sides == wide + [(s, s) for s in (16, 24, 32, 48, 96)] + [(h, w) for w, h in wide]


def test_anchors_sit_in_the_middle_of_their_cells_in_row_major_order() -> None:
    generator = SingleLevelAnchors((8,), (1.0,), 4)
    images = ImageList(torch.zeros(2, 9, 8, 12), [(8, 12), (8, 12)])
    first, second = generator(images, [torch.zeros(2, 1, 2, 3)])
    centres = ((first[:, :2] + first[:, 2:]) / 2).tolist()
    assert centres == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]
    assert torch.equal(first, second)
    assert generator.num_anchors_per_location() == [1]
