"""The right CT series is chosen out of a study, or the study is refused in one sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

import transforms.dicom_pixels
import transforms.dicom_study
from lesion_app.clinical.series import choose_series
from lesion_app.errors import InputError
from tests.transforms.dicom_slices import write_slice
from transforms import open_ct


def write_series(folder, number, zs, *, seed=0, **changes):
    """Write CT slices at heights ``zs`` under meaningless names in shuffled order; returns the SeriesInstanceUID."""
    rng = np.random.default_rng([number, seed])
    folder.mkdir(parents=True, exist_ok=True)
    uid = changes.pop("SeriesInstanceUID", f"1.2.826.0.1.{number}")
    for z in rng.permutation(np.asarray(zs, dtype=float)):
        values = {
            "SeriesInstanceUID": uid,
            "SeriesNumber": number,
            "PatientName": "Doe^Jane",
            "PatientID": "4711",
            "SeriesDescription": "Jane abdomen",
            "ConvolutionKernel": "B40f",
            "PixelSpacing": [0.8, 0.8],
            **changes,
        }
        name = f"{rng.integers(1 << 60):x}"
        write_slice(folder, name, (0, 0, float(z)), rng.integers(0, 2000, (8, 8), dtype=np.uint16), **values)
    return uid


def heights(files):
    return [float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in files]


ZS = range(0, 60, 3)


def test_files_come_from_feet_to_head_whatever_they_are_called(tmp_path):
    uid = write_series(tmp_path / "a" / "b", 1, ZS)
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    (tmp_path / "empty").touch()
    choice = choose_series(tmp_path)
    assert choice.series_uid == uid
    assert heights(choice.files) == [float(z) for z in ZS]
    assert choice.rejected == ()
    assert open_ct(choice.files).shape == (20, 8, 8)


def test_slices_whose_normal_points_down_come_from_feet_to_head_too(tmp_path):
    write_series(tmp_path, 1, ZS, ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    assert heights(choose_series(tmp_path).files) == [float(z) for z in ZS]


BETTER = [
    ("original before derived", {}, {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "ORIGINAL"),
    ("soft kernel before sharp", {}, {"ConvolutionKernel": "B70f"}, "soft-tissue kernel"),
    ("soft kernel before an unknown one", {}, {"ConvolutionKernel": None}, "soft-tissue kernel"),
    ("unknown kernel before a sharp one", {"ConvolutionKernel": "?"}, {"ConvolutionKernel": "LUNG"}, "kernel"),
    ("contrast before none", {"ContrastBolusAgent": "Iohexol"}, {"ContrastBolusAgent": "NONE"}, "contrast agent"),
    ("1 to 5 mm before thicker", {"zs": ZS}, {"zs": range(0, 60, 8)}, "1 to 5 mm"),
    ("1 to 5 mm before thinner", {"zs": ZS}, {"zs": [k * 0.75 for k in range(80)]}, "1 to 5 mm"),
    ("whole before half", {"zs": ZS, "ConvolutionKernel": "B70f"}, {"zs": range(0, 27, 3)}, "half of the longest"),
    ("longer before shorter", {"zs": range(0, 90, 3)}, {"zs": ZS}, "coverage"),
    ("more slices before fewer", {"zs": range(0, 60, 2)}, {"zs": range(0, 60, 4)}, "number of slices"),
    ("lower number before higher", {}, {}, "lower series number"),
    ("the kernel decides before contrast", {}, {"ConvolutionKernel": "B70f", "ContrastBolusAgent": "I"}, "kernel"),
]


@pytest.mark.parametrize(("better", "worse", "criterion"), [case[1:] for case in BETTER], ids=[c[0] for c in BETTER])
def test_better_series_is_taken_and_the_reason_told(tmp_path, better, worse, criterion):
    numbers = (1, 2) if better == worse else (2, 1)
    expected = write_series(tmp_path, numbers[0], **{"zs": ZS, **better})
    write_series(tmp_path, numbers[1], **{"zs": ZS, **worse})
    choice = choose_series(tmp_path)
    assert choice.series_uid == expected
    assert criterion in choice.explanation
    assert "\n" not in choice.explanation
    (other,) = choice.rejected
    assert other.label.startswith(f"series {numbers[1]} (CT, ")
    assert criterion in other.reason


def test_choice_does_not_depend_on_names_or_folders(tmp_path):
    for number in (3, 1, 2):
        write_series(tmp_path / "one", number, ZS, SeriesInstanceUID=f"1.2.{9 - number}", SeriesNumber=7)
    (tmp_path / "two").mkdir()
    for index, file in enumerate(sorted((tmp_path / "one").iterdir(), reverse=True)):
        shutil.copy(file, tmp_path / "two" / f"{index}.x")
    one, two = choose_series(tmp_path / "one"), choose_series(tmp_path / "two")
    assert one.series_uid == two.series_uid == "1.2.6"
    assert (one.explanation, heights(one.files)) == (two.explanation, heights(two.files))


UNFIT = [
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, r"ImageType \(0008,0008\)"),
    ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, r"SECONDARY\) by ImageType \(0008,0008\)"),
    ({"ImageType": ["DERIVED", "PRIMARY", "MPR", "THICK"]}, r"\(MPR\) by ImageType \(0008,0008\)"),
    ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI MPR"]}, r"\(MPR\) by ImageType"),
    (
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        r"90 degrees off axial by ImageOrientationPatient \(0020,0037\)",
    ),
    ({"SOPClassUID": SecondaryCaptureImageStorage}, r"SOPClassUID \(0008,0016\)"),
    ({"Modality": "PT"}, r"PT object by Modality \(0008,0060\)"),
    ({"RescaleType": "Z_EFF"}, r"RescaleType \(0028,1054\)"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, r"PhotometricInterpretation \(0028,0004\)"),
    ({"zs": [0, 3]}, r"too few slices \(2\)"),
]


@pytest.mark.parametrize(("changes", "reason"), UNFIT)
def test_what_is_no_axial_ct_is_never_taken(tmp_path, changes, reason):
    write_series(tmp_path, 1, **{"zs": range(0, 300, 3), **changes})
    with pytest.raises(InputError, match=rf"^no CT series .*{reason}.*; expected an axial CT series") as caught:
        choose_series(tmp_path)
    assert any(file.name in str(caught.value) for file in tmp_path.iterdir())
    uid = write_series(tmp_path, 2, range(0, 30, 3), ConvolutionKernel="LUNG")
    choice = choose_series(tmp_path)
    assert choice.series_uid == uid
    assert len(choice.rejected) == 1


def test_oblique_of_a_few_degrees_counts_as_axial(tmp_path):
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    for k in range(4):  # along the normal: a straight stack that stands oblique in the patient
        position = np.round(k * 3 * np.array([0, -s, c]), 5).tolist()
        write_series(
            tmp_path, 1, [0], seed=k, ImagePositionPatient=position, ImageOrientationPatient=[1, 0, 0, 0, c, s]
        )
    assert len(choose_series(tmp_path).files) == 4


def test_series_that_is_no_grid_makes_way_for_the_next(tmp_path):
    write_series(tmp_path, 1, [*range(0, 90, 3), *range(0, 90, 3)])  # two phases in one series
    uid = write_series(tmp_path, 2, range(0, 60, 3))
    choice = choose_series(tmp_path)
    assert choice.series_uid == uid
    assert "1 that ranked higher form no regular volume (series 1 (CT, 60 files))" in choice.explanation
    assert "ImagePositionPatient (0020,0032)" in choice.rejected[0].reason


def test_best_series_that_lacks_slices_is_not_replaced_by_a_lesser_one(tmp_path):
    write_series(tmp_path, 1, [z for z in range(0, 90, 3) if z != 45])
    write_series(tmp_path, 2, range(0, 90, 3), ConvolutionKernel="B70f")
    with pytest.raises(InputError, match=r"^in series 1 \(CT, 29 files\), which suits best, .* 1 CT slices .* missing"):
        choose_series(tmp_path)


def test_slice_cut_anywhere_is_refused_by_name_and_never_overlooked(tmp_path):
    write_series(tmp_path, 1, range(0, 12, 3))
    last = choose_series(tmp_path).files[-1]  # at the end, where no gap would tell
    whole = last.read_bytes()
    for length in range(len(whole) - 1, 132, -3):
        last.write_bytes(whole[:length])
        with pytest.raises(InputError, match=last.name) as caught:
            choose_series(tmp_path)
        assert "\n" not in str(caught.value)


def test_damage_does_not_lower_the_rank(tmp_path):
    write_series(tmp_path / "a", 1, ZS)
    write_series(tmp_path / "b", 2, ZS, ConvolutionKernel="B70f")
    first = min((tmp_path / "a").iterdir())
    first.write_bytes(first.read_bytes()[:760])
    with pytest.raises(InputError, match=rf"^in series 1 \(CT, 20 files\), which suits best, {first.name}"):
        choose_series(tmp_path)


def test_scrambled_headers_never_end_in_a_traceback(tmp_path, caplog):
    write_series(tmp_path, 1, range(0, 12, 3))
    file = next(tmp_path.iterdir())
    whole = bytearray(file.read_bytes())
    rng, told = np.random.default_rng(0), []
    for _ in range(300):
        damaged = whole.copy()
        for place in rng.integers(132, len(whole), 6):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            open_ct(choose_series(tmp_path).files).read()
        except InputError as error:
            told.append(str(error))
    assert len(told) > 50
    assert not any(word in text for text in told for word in ("\n", "Jane", "4711"))
    assert "Jane" not in caplog.text


def test_other_damaged_series_does_no_harm(tmp_path):
    uid = write_series(tmp_path / "good", 1, ZS)
    write_series(tmp_path / "bad", 2, ZS, ConvolutionKernel="B70f")
    file = next((tmp_path / "bad").iterdir())
    file.write_bytes(file.read_bytes()[:-20])
    assert choose_series(tmp_path).series_uid == uid


def test_only_headers_are_read_and_each_once(tmp_path, monkeypatch):
    write_series(tmp_path, 1, ZS)
    write_series(tmp_path, 2, ZS)
    read, inner = [], transforms.dicom_study.read_dicom_file
    monkeypatch.setattr(transforms.dicom_study, "read_dicom_file", lambda path: (read.append(path), inner(path))[1])
    monkeypatch.setattr(transforms.dicom_study, "stored_pixels", None)
    monkeypatch.setattr(transforms.dicom_pixels, "pixel_array", None)
    choose_series(tmp_path)
    assert len(read) == len(set(read)) == 40


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "readme.txt").write_text("nothing")])
def test_folder_without_dicom_is_refused(tmp_path, make):
    make(tmp_path)
    with pytest.raises(InputError, match="no DICOM file was found"):
        choose_series(tmp_path)
    with pytest.raises(InputError, match="folder was not found"):
        choose_series(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file_is_named(tmp_path):
    write_series(tmp_path, 1, ZS)
    file = next(tmp_path.iterdir())
    file.chmod(0)
    with pytest.raises(InputError, match=file.name):
        choose_series(tmp_path)


def test_nothing_that_is_told_holds_patient_data(tmp_path):
    folder = tmp_path / "Doe_Jane"
    write_series(folder, 1, ZS)
    write_series(folder, 2, [0, 3, 4, 9], ConvolutionKernel="B70f")
    write_series(folder, 3, [0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    choice = choose_series(folder)
    told = [choice.explanation, *(text for one in choice.rejected for text in (one.label, one.reason))]
    for file in list(choice.files):
        Path(file).unlink()
    with pytest.raises(InputError) as caught:
        choose_series(folder)
    for text in (*told, str(caught.value)):
        assert not any(word in text for word in ("Doe", "Jane", "4711", "abdomen"))
