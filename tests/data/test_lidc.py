"""LIDC-IDRI in TCIA's format becomes volume cases, quirks and all (see ``lidc_files``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesion_app.data.lidc import BENIGN, MALIGNANT, ReadNodules, read_lidc
from lesion_app.data.lidc_nodules import MarkedVoxels, agreed_voxels, same_nodule
from lesion_app.data.lidc_xml import Outline, ReaderNodule, ScanReading, filled, read_lidc_xml
from lesion_app.errors import InputError
from tests.data.lidc_files import DEPTH, DZ, SIDE, Z0, square, write_lidc
from transforms.ct_reader import open_ct
from transforms.geometry import VolumeGeometry


def pixel() -> Outline:
    """An outline around the pixel (4, 5) at z = 1 mm."""
    return Outline(1.0, np.array(square(4, 5, 1)), True)


@pytest.fixture
def lidc(tmp_path: Path) -> Path:
    return write_lidc(tmp_path)


def find(folder: Path, number: int = 0, **options):
    case = read_lidc(folder, **options).cases[number]
    return case.find_lesions(open_ct(case.image).geometry)


def test_series_and_readings_are_joined_by_uid(lidc):
    listed = read_lidc(lidc)
    assert [case.patient_id for case in listed.cases] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132", "LIDC-IDRI-0132"]
    assert [case.series_id for case in listed.cases] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132", "LIDC-IDRI-0132-2"]
    assert listed.cases[0].image.name == "3000566-03192"
    assert listed.warnings == ["2 of 3 scans have no nodule of at least 3 mm and are negative throughout."]
    assert find(lidc, 1).lesions == []


def test_voxels_of_half_of_the_readers_make_the_nodule_and_their_mean_its_class(lidc):
    found = find(lidc)
    single, big, little = found.lesions
    # ratings 5, 4, 2: mean 3.67; pixels of two of four readers
    assert (big.label, big.kind, big.lesion_type) == (MALIGNANT, "lesion", 5)
    assert big.slices.tolist() == [1, 2, 3]
    assert big.boxes.tolist() == [[10, 12, 16, 18]] * 3
    assert big.extent == (10, 12, 1, 16, 18, 4)
    # 2 and 1; the squares of 3 px share two columns
    assert (little.label, little.kind) == (BENIGN, "lesion")
    assert little.boxes.tolist() == [[31, 5, 33, 8]]
    # one reader of four: neither lesion nor background
    assert (single.kind, single.boxes.tolist()) == ("ignore", [[5, 30, 7, 32]])
    assert found.notes == []


def test_hole_stays_where_the_others_saw_none_and_falls_out_where_they_agree(lidc):
    case = read_lidc(lidc).cases[0]
    geometry = open_ct(case.image).geometry
    mask = case.find_lesions.instance_mask(geometry)
    assert mask.shape == (DEPTH, SIDE, SIDE)
    assert np.unique(mask).tolist() == [0, 2, 3]
    assert mask[2, 14, 12] == 2  # two of four readers have it
    assert (mask == 2).sum() == 3 * 36
    strict = read_lidc(lidc, agreement=0.75).cases[0].find_lesions.instance_mask(geometry)
    assert strict[2, 14, 12] == 0
    assert (strict == 2).sum() == 5 * 6 - 1  # slice 2, where three readers overlap on 5 x 6 px


@pytest.mark.parametrize(
    ("ratings", "mean", "median", "published"),
    [
        ((5, 4, 2), MALIGNANT, MALIGNANT, BENIGN),  # 3.67, 4, 11 / 4
        ((3, 3, 2), BENIGN, MALIGNANT, BENIGN),  # 2.67, 3, 8 / 4
        ((5, 5, 2), MALIGNANT, MALIGNANT, MALIGNANT),  # 4, 5, 12 / 4
        ((5, 2, 2), MALIGNANT, BENIGN, BENIGN),  # 3, 2, 9 / 4
    ],
)
def test_readers_malignancies_become_one_in_three_ways(ratings, mean, median, published):
    """Three of four readers rated; the fourth did not mark the nodule, which the paper's program counts as 0."""
    reading = ScanReading("1.2", 4, tuple(ReaderNodule(r, m, (pixel(),)) for r, m in enumerate(ratings)))
    geometry = VolumeGeometry((3, 9, 9), (1.0, 1.0, 1.0), np.eye(4), np.eye(4))
    for rating, label in (("mean", mean), ("median", median), ("published", published)):
        (lesion,) = ReadNodules(reading, rating=rating)(geometry).lesions
        assert (lesion.label, lesion.kind) == (label, "lesion")


def test_nodule_without_any_rating_is_ignored_and_told(lidc):
    path = next(lidc.rglob("069.xml"))
    text = path.read_text()
    for number in "12345":
        text = text.replace(f"<malignancy>{number}<", "<malignancy>0<")
    path.write_text(text)
    next(lidc.rglob("158.xml")).unlink()
    found = find(lidc)
    assert {lesion.kind for lesion in found.lesions} == {"ignore"}
    assert found.notes == ["a nodule has no rating of malignancy and is ignored"]


def test_outline_itself_is_outside():
    ring = Outline(0.0, np.array(square(3, 4, 2)), True)
    inside = filled(ring, (0, 0), (10, 10))
    assert np.argwhere(inside).tolist() == [[4, 3], [4, 4], [5, 3], [5, 4]]
    assert not filled(Outline(0.0, np.array([[3, 3], [4, 3]]), True), (0, 0), (10, 10)).any()


def test_marks_are_joined_through_each_other_and_parted_when_one_reader_would_count_too_often():
    def mark(reader: int, x: int) -> MarkedVoxels:
        return MarkedVoxels(reader, 3, np.array([[0, 0, x], [0, 0, x + 1]]))

    spacing = (1.0, 1.0, 2.5)
    chain = [mark(0, 0), mark(1, 3), mark(2, 6), mark(3, 30)]
    assert same_nodule(chain, spacing, 4, 2.0) == [[0, 1, 2], [3]]
    assert same_nodule(chain, spacing, 4, 1.9) == [[0], [1], [2], [3]]
    # six marks within reach, four readers: two nodules 2 mm apart, which a smaller tolerance parts
    six = [mark(r, 0) for r in range(3)] + [mark(r, 3) for r in range(3)]
    assert same_nodule(six, spacing, 4, 2.5) == [[0, 1, 2], [3, 4, 5]]
    assert same_nodule([], spacing, 4, 2.5) == []


def test_reader_votes_once_however_many_marks_he_made():
    twice = [MarkedVoxels(0, 3, np.array([[0, 0, 0]])), MarkedVoxels(0, 3, np.array([[0, 0, 0], [0, 0, 1]]))]
    other = MarkedVoxels(1, 3, np.array([[0, 0, 1]]))
    assert agreed_voxels([*twice, other], 2).tolist() == [[0, 0, 1]]
    assert len(agreed_voxels(twice, 2)) == 0


def test_what_is_missing_is_told_or_left_out(lidc):
    for path in lidc.rglob("early.xml"):
        path.unlink()
    with pytest.raises(InputError, match="1 of 3 CT series have no XML"):
        read_lidc(lidc)
    listed = read_lidc(lidc, allow_missing=True)
    assert [case.series_id for case in listed.cases] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132"]
    for path in lidc.rglob("late/*.dcm"):
        path.unlink()
    with pytest.raises(InputError, match="of 2 CT series have no XML"):
        read_lidc(lidc)
    assert len(read_lidc(lidc, allow_missing=True).cases) == 1


def test_two_different_readings_of_a_series_are_refused(lidc):
    path = next(lidc.rglob("158.xml"))
    path.write_text(path.read_text().replace("<malignancy>5<", "<malignancy>1<"))
    with pytest.raises(InputError, match="of one series and differ"):
        read_lidc(lidc)


def test_outline_outside_the_scan_is_refused(lidc):
    next(lidc.rglob("158.xml")).unlink()
    path = next(lidc.rglob("069.xml"))
    text = path.read_text()
    path.write_text(text.replace(f"<imageZposition>{Z0 + DZ:.6f} ", "<imageZposition>900.0 "))
    with pytest.raises(InputError, match="z = 900 mm"):
        find(lidc)
    path.write_text(text.replace("<xCoord>9<", "<xCoord>-4<"))
    with pytest.raises(InputError, match="outside the image"):
        find(lidc)


def test_faulty_files_are_told_in_one_sentence(lidc, tmp_path):
    path = next(lidc.rglob("early.xml"))
    text = path.read_text()
    for content, told in (
        (text[:200], "cannot be read as XML"),
        (text.replace("LidcReadMessage", "Other"), "<Other>"),
        (text.replace("SeriesInstanceUid", "StudyInstanceUID"), "names no SeriesInstanceUid"),
        (text.replace("<xCoord>8<", "<xCoord>eight<"), "cannot be read"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=told):
            read_lidc(lidc)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no CT of LIDC-IDRI"):
        read_lidc(tmp_path / "nothing")
    with pytest.raises(InputError, match="agreement"):
        read_lidc(lidc, agreement=0.0)


def test_reading_of_a_radiograph_is_none(lidc):
    assert read_lidc_xml(next(lidc.rglob("068.xml"))) is None
