"""Made-up lesions in volumes whose tissues are known, and in real CTs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transforms import open_ct
from transforms.insert_lesions import InsertedLesion, InsertLesions, InsertLesionsd
from transforms.tissue_map import MapTissues, TissueClass

SPACING = (1.5, 1.5, 4.0)
SHAPE = (14, 160, 200)


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    return np.broadcast_to(((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1, SHAPE)


@pytest.fixture(scope="module")
def body() -> tuple[np.ndarray, np.ndarray]:
    """HU and classes of a trunk: fat, wall of muscle, lungs above, one thick organ below, a spine; noise of 10 HU."""
    classes = np.full(SHAPE, TissueClass.OUTSIDE, dtype=np.uint8)
    classes[ellipse(80, 100, 74, 94)] = TissueClass.FAT
    classes[ellipse(80, 100, 64, 84)] = TissueClass.SOFT
    classes[ellipse(80, 100, 58, 78)] = TissueClass.FAT
    upper = np.arange(SHAPE[0])[:, None, None] > 6
    classes[ellipse(75, 60, 48, 32) & upper] = TissueClass.LUNG
    classes[ellipse(75, 142, 48, 32) & upper] = TissueClass.LUNG
    classes[ellipse(75, 65, 40, 34) & ~upper] = TissueClass.SOFT
    classes[ellipse(120, 100, 12, 14)] = TissueClass.BONE
    of_class = np.zeros(len(TissueClass), dtype=np.float32)
    for kind, hu in zip(TissueClass, (-1000, -1000, -850, -100, 60, 180, 300)):
        of_class[kind] = hu
    noise = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
    return of_class[classes] + noise, classes


def insert(body: tuple[np.ndarray, np.ndarray], seed: int) -> tuple[np.ndarray, list[InsertedLesion]]:
    transform = InsertLesions(lesions_per_volume=(5, 8))
    transform.set_random_state(seed)
    volume, lesions = transform(body[0], SPACING, body[1])
    return volume.numpy(), lesions


@pytest.fixture(scope="module")
def many(body: tuple[np.ndarray, np.ndarray]) -> list[tuple[np.ndarray, list[InsertedLesion]]]:
    return [insert(body, seed) for seed in range(8)]


def test_same_seed_same_voxels(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    again = insert(body, 3)[0]
    np.testing.assert_array_equal(again, many[3][0])
    assert not np.array_equal(again, many[4][0])


def test_input_is_left_alone_and_a_second_call_draws_anew(body: tuple[np.ndarray, np.ndarray]) -> None:
    before = body[0].copy()
    transform = InsertLesions()
    transform.set_random_state(1)
    first, second = (transform(body[0], SPACING, body[1])[0] for _ in range(2))
    np.testing.assert_array_equal(body[0], before)
    assert not torch.equal(first, second)


def test_nothing_changes_outside_the_lesions(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    for volume, lesions in many:
        touched = np.zeros(SHAPE, dtype=bool)
        for lesion in lesions:
            touched[lesion.window] |= lesion.touched
        np.testing.assert_array_equal(volume[~touched], body[0][~touched])
        assert (volume[touched] != body[0][touched]).mean() > 0.99


def test_boxes_enclose_what_changed_tightly(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    for volume, lesions in many:
        change = np.abs(volume - body[0])
        for lesion in lesions:
            x1, y1, z1, x2, y2, z2 = (int(v) for v in lesion.box)
            part = np.zeros(SHAPE, dtype=bool)
            part[lesion.window] = lesion.mask
            assert part[z1:z2, y1:y2, x1:x2].sum() == part.sum()
            for axis, low, high in ((0, z1, z2), (1, y1, y2), (2, x1, x2)):
                others = tuple(a for a in range(3) if a != axis)
                assert part.any(axis=others)[[low, high - 1]].all()
            if lesion.type != 5:  # spicules reach beyond the box, as beyond a reader's
                outside = np.zeros(SHAPE, dtype=bool)
                outside[lesion.window] = lesion.touched
                outside[z1:z2, y1:y2, x1:x2] = False
                if outside.any():
                    assert change[outside].mean() < 0.6 * change[part].mean() + 10


def test_lesions_keep_to_plausible_hosts(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    classes, seen = body[1], set()
    for volume, lesions in many:
        for lesion in lesions:
            full = np.zeros(SHAPE, dtype=bool)
            full[lesion.window] = lesion.mask
            inside = classes[full]
            seen.add((lesion.type, lesion.host))
            assert not np.isin(inside, (TissueClass.OUTSIDE, TissueClass.GAS)).any()
            if lesion.host in (TissueClass.LUNG, TissueClass.BONE):
                assert np.mean(inside == lesion.host) > 0.8
                assert lesion.type == (5 if lesion.host == TissueClass.LUNG else 1)
            else:
                assert not np.isin(inside, (TissueClass.LUNG, TissueClass.BONE)).any()
            if lesion.type == 5:
                assert -750 < np.median(volume[full]) < 150
            elif lesion.type != 1:
                assert -100 < np.median(volume[full]) < 200
    assert {kind for kind, _ in seen} >= {1, 2, 5}
    assert {host for _, host in seen} == {TissueClass.LUNG, TissueClass.BONE, TissueClass.SOFT, TissueClass.FAT}


def test_air_around_the_patient_and_border_stay(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    outside = body[1] == TissueClass.OUTSIDE
    for volume, _ in many:
        np.testing.assert_array_equal(volume[outside], body[0][outside])


def test_lesions_do_not_overlap(many: list) -> None:
    for _, lesions in many:
        count = np.zeros(SHAPE, dtype=int)
        for lesion in lesions:
            count[lesion.window] += lesion.mask
        assert count.max() <= 1


def test_lesions_bear_the_noise_of_the_scan(body: tuple[np.ndarray, np.ndarray], many: list) -> None:
    """Neighbours within a lesion differ as neighbours in the scan do (white noise of 10 HU)."""
    differences = []
    for volume, lesions in many:
        for lesion in lesions:
            core = lesion.coverage > 0.999
            pairs = core[:, :, 1:] & core[:, :, :-1]
            differences.append(np.diff(volume[lesion.window], axis=2)[pairs])
    together = np.concatenate(differences)
    assert together.size > 1000
    spread = 1.4826 * np.median(np.abs(together)) / np.sqrt(2)
    assert 8 < spread < 15


def test_partial_volume_fades_along_z(many: list) -> None:
    graded = 0
    for _, lesions in many:
        for lesion in lesions:
            peaks = lesion.coverage.reshape(len(lesion.coverage), -1).max(axis=1)
            graded += bool(((peaks > 0.05) & (peaks < 0.9)).any())
    assert graded > 5


def test_dictionary_form_agrees(body: tuple[np.ndarray, np.ndarray]) -> None:
    array, dictionary = InsertLesions((2, 4)), InsertLesionsd("ct", (2, 4))
    array.set_random_state(7)
    dictionary.set_random_state(7)
    item = dictionary({"ct": body[0], "spacing_mm": SPACING, "tissues": body[1]})
    volume, lesions = array(body[0], SPACING, body[1])
    assert torch.equal(item["ct"], volume)
    assert [lesion.box for lesion in item["lesions"]] == [lesion.box for lesion in lesions]


def test_empty_room_gets_no_lesions() -> None:
    volume, lesions = InsertLesions()(np.full((6, 64, 64), -1000, dtype=np.int16), SPACING)
    assert lesions == []
    assert (volume == -1000).all()


def test_pixels_that_are_not_square_are_refused(body: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="square"):
        InsertLesions()(body[0], (1.0, 2.0, 5.0), body[1])


@pytest.mark.parametrize("name", ["lungdx_A0002_dicom/series_B40f", "totalseg_nifti/example_ct.nii.gz"])
def test_real_cts_take_lesions_inside_the_body(real_data, name: str) -> None:
    source = open_ct(real_data / "ct" / name)
    spacing = source.geometry.spacing_mm
    hu = source.read()[-12:]
    classes = MapTissues()(hu, spacing)
    transform = InsertLesions((4, 4))
    transform.set_random_state(2)
    volume, lesions = transform(hu, spacing, classes)
    assert lesions
    changed = volume.numpy() != hu.numpy()
    assert 0 < changed.mean() < 0.05
    assert not changed[classes.numpy() == TissueClass.OUTSIDE].any()
