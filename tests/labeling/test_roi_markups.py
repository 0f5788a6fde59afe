import json
from pathlib import Path

import pytest

from lesion_app.errors import InputError
from lesion_app.labeling.roi_markups import LesionRoi, markups_document, read_markups, write_markups

ROI = LesionRoi((-10.5, 20.0, -110.0, 9.5, 27.5, -98.6), "liver", 0.8765)


def saved(tmp_path: Path, *markups: object) -> Path:
    path = tmp_path / "label.json"
    path.write_text(json.dumps({"markups": list(markups)}))
    return path


def slicer_roi(**changes: object) -> dict[str, object]:
    """An ROI as Slicer saves it: renamed, and with nothing of ours but the description."""
    return {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "center": [1.0, 2.0, 3.0],
        "size": [10.0, 6.0, 4.0],
        "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1],
        "controlPoints": [{"id": "1", "position": [1.0, 2.0, 3.0]}],
    } | changes


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    drawn = LesionRoi((0.0, 0.0, 0.0, 1.0, 2.0, 3.0))
    back = read_markups(write_markups(tmp_path / "label.json", [ROI, drawn]))
    assert back[0].box == pytest.approx(ROI.box, abs=1e-4)
    assert (back[0].type_name, back[0].score) == ("liver", 0.8765)
    assert back[1] == drawn


def test_centre_and_size_are_lps_mm() -> None:
    markup = markups_document([ROI])["markups"][0]
    assert markup["coordinateSystem"] == "LPS"
    assert markup["center"] == pytest.approx([-0.5, 23.75, -104.3])
    assert markup["size"] == pytest.approx([20.0, 7.5, 11.4])
    assert "liver" in markup["name"]
    assert "0.88" in markup["name"]


def test_roi_without_our_description_is_a_lesion_a_reader_drew(tmp_path: Path) -> None:
    assert read_markups(saved(tmp_path, slicer_roi())) == [LesionRoi((-4.0, -1.0, 1.0, 6.0, 5.0, 5.0))]


@pytest.mark.parametrize("text", ["a remark", "[1]", '{"score": "high", "type": null}'])
def test_other_descriptions_tell_nothing(tmp_path: Path, text: str) -> None:
    roi = read_markups(saved(tmp_path, slicer_roi(controlPoints=[{"description": text}])))[0]
    assert (roi.type_name, roi.score) == ("lesion", None)


def test_ras_is_turned(tmp_path: Path) -> None:
    roi = read_markups(saved(tmp_path, slicer_roi(coordinateSystem="RAS")))[0]
    assert roi.box == (-6.0, -5.0, 1.0, 4.0, 1.0, 5.0)


def test_rotated_roi_becomes_the_bounds_of_its_corners(tmp_path: Path) -> None:
    c = 0.5**0.5
    turned = slicer_roi(center=[0, 0, 0], size=[2, 2, 4], orientation=[c, -c, 0, c, c, 0, 0, 0, 1])
    assert read_markups(saved(tmp_path, turned))[0].box == pytest.approx((-2 * c, -2 * c, -2, 2 * c, 2 * c, 2))


def test_empty_and_other_markups_are_left_out(tmp_path: Path) -> None:
    path = saved(
        tmp_path, slicer_roi(size=[0, 0, 0]), slicer_roi(controlPoints=[]), {"type": "Fiducial"}, "x", slicer_roi()
    )
    assert len(read_markups(path)) == 1


@pytest.mark.parametrize(
    "change", [{"center": [1, 2]}, {"size": "big"}, {"center": [1, 2, None]}, {"size": [1, 1, 1e999]}]
)
def test_faulty_roi_is_told_by_its_number(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="ROI 2"):
        read_markups(saved(tmp_path, slicer_roi(), slicer_roi(**change)))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"markups": 3}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "label.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"label\.json"):
        read_markups(path)
