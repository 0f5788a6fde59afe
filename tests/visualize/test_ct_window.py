"""Display windows and the body mask."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.visualize.ct_window import LUNG, SOFT_TISSUE, Window, body_crop, body_mask, choose_window, window_named


def test_a_window_maps_its_ends_to_black_and_white():
    assert Window("w", 50, 400).apply(np.array([-2000, -150, 50, 250, 3000])).tolist() == [0, 0, 128, 255, 255]


def test_standard_windows_keep_their_names():
    assert window_named((50, 400)) is SOFT_TISSUE
    assert window_named((300, 1500)).name == "C 300 W 1500"
    with pytest.raises(ValueError, match="positive width"):
        window_named((0, 0))


def test_the_body_holds_the_lungs_but_not_the_couch(chest):
    mask = body_mask(chest[6])
    assert mask[44, 40]  # lung
    assert mask[44, 64]  # mediastinum
    assert not mask[84:, :].any()
    assert not mask[5, 5]


def test_a_lung_cut_by_the_field_of_view_still_belongs_to_the_body(chest):
    mask = body_mask(chest[6][20:70, 40:])  # cuts through the left lung: its air now touches the border
    assert mask[24, 0]


def test_the_space_below_a_patient_wider_than_the_image_is_not_body():
    hu = np.full((80, 60), -1000, np.int16)
    hu[20:50] = 30
    hu[56:78, 5:55] = -890  # foam of the couch, more than half of what is below
    mask = body_mask(hu)
    assert mask[30].all()
    assert not mask[52:].any()


def test_air_alone_has_no_body_and_is_shown_whole():
    mask = body_mask(np.full((20, 30), -1000, np.int16))
    assert not mask.any()
    assert body_crop(mask[None]) == (0, 0, 30, 20)


def test_tissue_alone_is_all_body():
    assert body_mask(np.full((20, 30), 40, np.int16)).all()


def test_the_crop_holds_the_bodies_of_all_slices_and_stays_inside_the_image():
    masks = np.zeros((2, 50, 60), bool)
    masks[0, 20:30, 2:20] = True
    masks[1, 25:40, 10:30] = True
    assert body_crop(masks, margin=6) == (0, 14, 36, 46)


def test_a_box_in_the_lung_gets_the_lung_window_and_one_in_the_mediastinum_does_not(chest):
    hu = chest[6].copy()
    hu[42:46, 38:42] = 30  # nodule
    body = body_mask(hu)
    assert choose_window(hu, np.array([37, 41, 43, 47]), body, (1, 1)) is LUNG
    assert choose_window(hu, np.array([62, 20, 66, 24]), body, (1, 1)) is SOFT_TISSUE


def test_without_a_box_the_body_decides(chest):
    assert choose_window(chest[6], None, body_mask(chest[6]), (1, 1)) is LUNG
    assert choose_window(chest[0], None, body_mask(chest[0]), (1, 1)) is SOFT_TISSUE
    assert choose_window(chest[0], None, np.zeros(chest[0].shape, bool), (1, 1)) is SOFT_TISSUE


def test_air_outside_the_body_does_not_make_a_skin_lesion_a_lung_lesion(chest):
    hu = chest[0]
    assert choose_window(hu, np.array([60, 9, 68, 15]), body_mask(hu), (0.5, 0.5)) is SOFT_TISSUE


def test_a_box_outside_the_image_is_shown_in_the_soft_tissue_window(chest):
    hu = chest[6]
    assert choose_window(hu, np.array([500.0, 500, 510, 510]), body_mask(hu), (1, 1)) is SOFT_TISSUE
