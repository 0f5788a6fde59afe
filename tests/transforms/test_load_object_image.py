"""2D images that are no CTs, and the masks of their objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lesion_app.errors import InputError
from transforms.load_object_image import LoadInstanceMasks, LoadObjectImage, LoadObjectImaged


def test_values_are_read_as_they_are_and_plain_images_get_a_channel(tmp_path):
    values = np.array([[-1.5, 0.0, 2.25], [1.0, 3.0, 300.0]])
    np.save(tmp_path / "plain.npy", values)
    np.save(tmp_path / "slab.npy", np.stack([values, values + 1]).astype(np.int16))
    plain, slab = LoadObjectImage()(tmp_path / "plain.npy"), LoadObjectImage()(str(tmp_path / "slab.npy"))
    assert plain.dtype == slab.dtype == torch.float32
    assert plain.tolist() == [values.tolist()]
    assert slab.shape == (2, 2, 3)


def test_faulty_files_are_told(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "flat.npy", np.zeros(5))
    np.save(tmp_path / "image.npy", np.zeros((4, 5)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "mask.png")
    for name in ("objects.npy", "flat.npy", "missing.npy"):
        with pytest.raises(InputError, match=name):
            LoadObjectImage()(tmp_path / name)
    with pytest.raises(InputError, match=r"broken\.png"):
        LoadInstanceMasks()(tmp_path / "broken.png", [1])
    with pytest.raises(InputError, match="object numbers"):
        LoadInstanceMasks()(tmp_path / "image.npy", [1])
    with pytest.raises(InputError, match="one size"):
        LoadObjectImaged("image")({"image": tmp_path / "image.npy", "mask": tmp_path / "mask.png", "instances": [1]})


def test_masks_of_several_objects_follow_the_order_of_the_boxes(tmp_path):
    Image.fromarray(np.array([[0, 1, 2], [2, 0, 1]], np.uint8)).save(tmp_path / "mask.png")
    masks = LoadInstanceMasks()(tmp_path / "mask.png", [2, 1, 3])
    assert masks.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    assert LoadInstanceMasks()(tmp_path / "mask.png", []).shape == (0, 2, 3)


def test_image_without_a_mask_gets_none_and_a_missing_image_is_passed_over(tmp_path):
    np.save(tmp_path / "image.npy", np.zeros((4, 5)))
    item = LoadObjectImaged("image")({"image": tmp_path / "image.npy", "boxes": [[0, 0, 1, 1]]})
    assert set(item) == {"image", "boxes"}
    assert LoadObjectImaged("image", allow_missing_keys=True)({"boxes": []}) == {"boxes": []}
    with pytest.raises(KeyError):
        LoadObjectImaged("image")({"boxes": []})
