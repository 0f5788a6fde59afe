"""The phantom data set: layout, conventions, and truth that agrees with the images."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lesion_app.data.phantom import PhantomSummary, write_phantom
from lesion_app.errors import InputError

SETTINGS: dict[str, Any] = {"size": 128, "thickness_mm": (40.0, 50.0), "z_spacings": (5.0,)}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomSummary]:
    out = tmp_path_factory.mktemp("phantom") / "data"
    summary = write_phantom(out, 10, seed=2, lesions_per_volume=(2, 5), **{**SETTINGS, "z_spacings": (2.0, 5.0)})
    return out, summary


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "DL_info.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(text: str) -> list[float]:
    return [float(v) for v in text.split(", ")]


def sub_volumes(out: Path) -> dict[str, dict[str, Any]]:
    return json.loads((out / "truth.json").read_text())["sub_volumes"]


def fingerprint(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def slice_hu(out: Path, volume: dict[str, Any], number: int) -> np.ndarray:
    path = out / "Images_png" / volume["series_id"] / f"{number:03d}.png"
    return np.asarray(Image.open(path)).astype(np.int32) - 32768


def test_same_seed_gives_the_same_bytes_for_any_worker_count(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 4, 1), ("b", 4, 2), ("c", 5, 1)):
        write_phantom(tmp_path / name, 3, seed=seed, workers=workers, **SETTINGS)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "c")


def test_columns_are_those_of_the_real_file(phantom: tuple[Path, PhantomSummary], real_data: Path) -> None:
    real = (real_data / "deeplesion" / "dl_info" / "DL_info_niftiID_test.csv").read_text().splitlines()[0].split(",")
    assert (phantom[0] / "DL_info.csv").read_text().splitlines()[0].split(",") == real[:18]


def test_rows_follow_deeplesion_conventions(phantom: tuple[Path, PhantomSummary]) -> None:
    out, _ = phantom
    for row in rows_of(out):
        points = np.reshape(numbers(row["Measurement_coordinates"]), (4, 2))
        box = numbers(row["Bounding_boxes"])
        np.testing.assert_allclose(box, [*(points.min(axis=0) - 5), *(points.max(axis=0) + 5)], atol=1e-3)
        lengths = np.hypot(*(points[1::2] - points[::2]).T)
        np.testing.assert_allclose(numbers(row["Lesion_diameters_Pixel_"]), lengths, atol=5e-3)
        assert lengths[0] >= lengths[1] > 0
        series = f"{int(row['Patient_index']):06d}_{int(row['Study_index']):02d}_{int(row['Series_ID']):02d}"
        assert row["File_name"] == f"{series}_{int(row['Key_slice_index']):03d}.png"
        low, high = numbers(row["Slice_range"])
        assert low <= int(row["Key_slice_index"]) <= high
        assert (out / "Images_png" / series / f"{int(low):03d}.png").exists()
        assert row["Image_size"] == "128, 128"
        pixel, other, step = numbers(row["Spacing_mm_px_"])
        assert pixel == other
        assert 0.6 <= pixel <= 1.0
        assert step in (2.0, 5.0)
        kind, split = int(row["Coarse_lesion_type"]), row["Train_Val_Test"]
        assert (kind == -1) if split == "1" else (1 <= kind <= 8)
        assert all(-0.1 <= v <= 1.1 for v in numbers(row["Normalized_lesion_location"]))


def test_folders_hold_exactly_the_named_run(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    volumes = sub_volumes(out)
    for name, volume in volumes.items():
        low, high = volume["slices"]
        assert name == f"{volume['series_id']}_{low:03d}-{high:03d}"
        files = sorted(p.name for p in (out / "Images_png" / volume["series_id"]).iterdir())
        assert files == sorted(f"{n:03d}.png" for n in range(low, high + 1))
    assert any(volume["slices"][0] > 1 for volume in volumes.values())
    assert len(list(out.rglob("*.png"))) == summary.slices


def test_rows_are_exactly_the_labelled_lesions(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    labelled = set()
    for volume in sub_volumes(out).values():
        marks = [lesion for lesion in volume["lesions"] if lesion["labelled"]]
        assert marks
        for lesion in marks:
            x1, y1, x2, y2 = lesion["key_box"]
            box = tuple(round(v, 2) for v in (x1 + 1, y1 + 1, x2, y2))
            labelled.add((volume["series_id"], lesion["key_slice"], box))
    rows = {
        (r["File_name"][:12], int(r["Key_slice_index"]), tuple(round(v, 2) for v in numbers(r["Bounding_boxes"])))
        for r in rows_of(out)
    }
    assert rows == labelled
    assert len(rows) == summary.labels < summary.lesions


def test_slice_boxes_agree_with_extent_and_key(phantom: tuple[Path, PhantomSummary]) -> None:
    for volume in sub_volumes(phantom[0]).values():
        for lesion in volume["lesions"]:
            x1, y1, z1, x2, y2, z2 = lesion["extent"]
            numbers_of = sorted(int(n) for n in lesion["slice_boxes"])
            assert numbers_of == list(range(int(z1), int(z2)))
            assert volume["slices"][0] <= numbers_of[0]
            assert numbers_of[-1] <= volume["slices"][1]
            assert lesion["slice_boxes"][str(lesion["key_slice"])] == lesion["key_box"]
            boxes = np.array(list(lesion["slice_boxes"].values())) + [5, 5, -5, -5]
            # RECIST end points lie on the outline: inside the tight box, and close to it somewhere.
            assert (boxes[:, :2] >= np.array([x1, y1]) - 0.501).all()
            assert (boxes[:, 2:] <= np.array([x2, y2]) + 0.501).all()
            long = lesion["long_diameter_mm"] / volume["spacing_mm"][0]
            assert max(x2 - x1, y2 - y1) >= long / np.sqrt(2) - 1
            assert lesion["long_diameter_mm"] >= lesion["short_diameter_mm"] > 0
            assert lesion["volume_mm3"] > 0


def test_lesions_stand_out_from_their_surroundings(phantom: tuple[Path, PhantomSummary]) -> None:
    out, _ = phantom
    differences = []
    for volume in sub_volumes(out).values():
        for lesion in volume["lesions"]:
            image = slice_hu(out, volume, lesion["key_slice"])
            x1, y1, x2, y2 = lesion["key_box"]
            rows, columns = np.mgrid[:128, :128] + 0.5
            u, v = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2 - 5), (rows - (y1 + y2) / 2) / ((y2 - y1) / 2 - 5)
            inside, around = image[np.hypot(u, v) < 0.7], image[(np.hypot(u, v) > 1.3) & (np.hypot(u, v) < 2.0)]
            if inside.size and around.size:
                differences.append(abs(inside.mean() - np.median(around)))
    assert len(differences) > 20
    assert np.mean(np.array(differences) > 15) > 0.9


def test_images_are_16_bit_hu_plus_32768(phantom: tuple[Path, PhantomSummary]) -> None:
    out, _ = phantom
    path = next((out / "Images_png").rglob("*.png"))
    with Image.open(path) as image:
        assert image.mode == "I;16"
        hu = np.asarray(image).astype(np.int32) - 32768
    assert hu.shape == (128, 128)
    assert hu.min() >= -1024
    assert hu[:3, :3].mean() == pytest.approx(-1000, abs=25)
    assert -120 < np.median(hu[50:80, 30:100]) < 200 or hu[50:80, 30:100].min() < -700


def test_complete_files_hold_every_lesion_on_its_key_slice(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    volumes = sub_volumes(out)
    for split in ("val", "test"):
        complete = json.loads((out / f"complete_{split}.json").read_text())
        expected = {
            name: sorted(
                [lesion["key_slice"] - volume["slices"][0]]
                + [round(v, 3) for v in np.add(lesion["key_box"], [1, 1, 0, 0]).tolist()]
                for lesion in volume["lesions"]
            )
            for name, volume in volumes.items()
            if volume["split"] == split
        }
        assert {name: sorted(boxes) for name, boxes in complete.items()} == expected
        assert len(complete) == summary.patients_by_split[split]


def test_every_split_gets_patients_and_none_is_shared(phantom: tuple[Path, PhantomSummary]) -> None:
    out, summary = phantom
    assert summary.patients_by_split == {"train": 6, "val": 2, "test": 2}
    splits: dict[str, set[str]] = {}
    for volume in sub_volumes(out).values():
        splits.setdefault(volume["patient_id"], set()).add(volume["split"])
    assert len(splits) == 10
    assert all(len(found) == 1 for found in splits.values())


def test_law_none_labels_everything_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    summary = write_phantom(
        tmp_path / "all", 2, missing_law="none", progress=lambda done, total: told.append((done, total)), **SETTINGS
    )
    assert summary.labels == summary.lesions
    assert summary.missing_rate == 0
    assert told == [(1, 2), (2, 2)]


def test_vessels_do_not_change_with_the_labels(tmp_path: Path) -> None:
    for name, law in (("a", "none"), ("b", "random")):
        write_phantom(tmp_path / name, 1, seed=9, missing_law=law, **SETTINGS)  # type: ignore[arg-type]
    pictures = [{k: v for k, v in fingerprint(tmp_path / n).items() if k.endswith(".png")} for n in ("a", "b")]
    assert pictures[0] == pictures[1]


def test_no_lesion_is_smaller_than_asked(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data", 4, seed=5, lesions_per_volume=(3, 5), smallest_mm=18.0, **SETTINGS)
    sizes = [
        lesion["long_diameter_mm"] for volume in sub_volumes(tmp_path / "data").values() for lesion in volume["lesions"]
    ]
    assert len(sizes) >= 4
    assert min(sizes) > 0.8 * 18.0  # measured on slices, which need not cut the middle


def test_filled_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        write_phantom(tmp_path / "out", 1, **SETTINGS)
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "out", 2, progress=stop, **SETTINGS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"patients": 0}, "patients 0"),
        ({"split": (0.5, 0.5, 0.5)}, "add up to 1"),
        ({"size": 10}, "64 px"),
        ({"z_spacings": ()}, "spacings"),
        ({"thickness_mm": (50.0, 20.0)}, "thickness_mm"),
        ({"lesions_per_volume": (0, 2)}, "lesions_per_volume"),
        ({"missing_law": "coin"}, "missing_law"),
        ({"missing_rate": 0.9}, "missing_rate"),
        ({"missing_rate": 0.2, "missing_law": "none"}, "missing_rate"),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(tmp_path: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        write_phantom(tmp_path / "out", **{"patients": 1, **SETTINGS, **wrong})
    assert list(tmp_path.iterdir()) == []
