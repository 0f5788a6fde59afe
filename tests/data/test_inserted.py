"""Data sets of made-up lesions in CTs: the phantom's layout, splits that share no voxel, known lesions left out."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lesion_app.data.datalist import load_records, prepare_deeplesion
from lesion_app.data.inserted import InsertedSummary, write_inserted
from lesion_app.data.inserted.background import Stretch, free_stretches, load_background, read_known_lesions
from lesion_app.data.inserted.dealing import deal_stretches
from lesion_app.data.inserted.view import draw_view
from lesion_app.data.phantom.anatomy import draw_anatomy
from lesion_app.data.phantom.scanner import draw_scanner, draw_texture
from lesion_app.data.phantom.shapes import SliceGrid
from lesion_app.data.phantom.sub_volume import SubVolumeSettings
from lesion_app.errors import InputError
from transforms import open_ct

SETTINGS: dict[str, Any] = {"size": 96, "thickness_mm": (25.0, 30.0), "z_spacings": (5.0,)}
WANTED = SubVolumeSettings(96, (5.0,), (25.0, 30.0), None, 0.0)


def write_background(path: Path, seed: int, slices: int = 40) -> Path:
    """A trunk without lesions as NIfTI, 128 px of 2.5 mm, 4 mm slices."""
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng, 320.0, (300.0, 420.0))
    x = ((np.arange(128) - 63.5) * 2.5).astype(np.float32)
    texture, scanner = draw_texture(rng, 128, 2.5), draw_scanner(rng, 128, 2.5, 4.0)
    planes = []
    for index in range(slices):
        grid = SliceGrid(x, x, -(290.0 + 4.0 * index) * anatomy.scale, 4.0, 2.5)
        planes.append(scanner.expose(anatomy.render(grid, texture), rng).astype(np.int32) - 32768)
    # NIfTI counts x to the right and y to the front.
    nibabel.Nifti1Image(
        np.stack(planes).transpose(2, 1, 0).astype(np.int16), np.diag([-2.5, -2.5, 4.0, 1.0])
    ).to_filename(path)
    return path


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_background(tmp_path_factory.mktemp("ct") / "trunk.nii.gz", 5)


@pytest.fixture(scope="module")
def inserted(background: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InsertedSummary]:
    out = tmp_path_factory.mktemp("inserted") / "data"
    return out, write_inserted([background], out, 8, seed=3, lesions_per_volume=(3, 5), **SETTINGS)


def fingerprint(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def sub_volumes(out: Path) -> dict[str, dict[str, Any]]:
    return json.loads((out / "truth.json").read_text())["sub_volumes"]


def test_same_seed_gives_the_same_bytes_for_any_worker_count(background: Path, tmp_path: Path) -> None:
    for name, seed, workers in (("a", 4, 1), ("b", 4, 2), ("c", 5, 1)):
        write_inserted([background], tmp_path / name, 2, seed=seed, workers=workers, **SETTINGS)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "c")


def test_prepare_accepts_the_output(inserted: tuple[Path, InsertedSummary], tmp_path: Path) -> None:
    out, summary = inserted
    prepared = prepare_deeplesion(out, tmp_path)
    assert {name: c.patients for name, c in prepared.counts.items()} == {"training": 6, "validation": 1, "test": 1}
    assert sum(c.slices for c in prepared.counts.values()) == summary.slices
    record = load_records(prepared.datalist, "training", out)[0]
    volume = open_ct(record["image"], spacing_mm=record["spacing_mm"], slices=record["slices"]).read()
    assert volume.shape[1:] == (96, 96)
    assert record["truth"]


def test_labels_go_missing_and_rows_are_the_labelled_lesions(inserted: tuple[Path, InsertedSummary]) -> None:
    out, summary = inserted
    with open(out / "DL_info.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    marks = [lesion for volume in sub_volumes(out).values() for lesion in volume["lesions"] if lesion["labelled"]]
    assert len(rows) == len(marks) == summary.labels < summary.lesions
    assert 0.2 < summary.missing_rate < 0.75
    assert all(any(one["labelled"] for one in volume["lesions"]) for volume in sub_volumes(out).values())
    everything = write_inserted(
        [write_background(out.parent / "other.nii.gz", 6)], out.parent / "all", 2, missing_law="none", **SETTINGS
    )
    assert everything.missing_rate == 0


def test_lesions_stand_out_where_the_truth_says(inserted: tuple[Path, InsertedSummary]) -> None:
    out, _ = inserted
    differences = []
    for volume in sub_volumes(out).values():
        for lesion in volume["lesions"]:
            path = out / "Images_png" / volume["series_id"] / f"{lesion['key_slice']:03d}.png"
            image = np.asarray(Image.open(path)).astype(np.int32) - 32768
            x1, y1, x2, y2 = lesion["key_box"]
            rows, columns = np.mgrid[:96, :96] + 0.5
            u, v = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2 - 5), (rows - (y1 + y2) / 2) / ((y2 - y1) / 2 - 5)
            inside, around = image[np.hypot(u, v) < 0.7], image[(np.hypot(u, v) > 1.3) & (np.hypot(u, v) < 2.0)]
            if inside.size and around.size:
                differences.append(abs(inside.mean() - around.mean()))
    assert len(differences) > 10
    assert np.mean(np.array(differences) > 12) > 0.75


def test_one_background_is_split_by_z_and_says_so(inserted: tuple[Path, InsertedSummary]) -> None:
    _, summary = inserted
    assert summary.split_rule == "z_range"
    assert "share the backgrounds' patients" in summary.leakage
    ranges = sorted((low, high) for parts in summary.z_ranges_mm.values() for _, low, high in parts)
    assert all(after[0] - before[1] >= 4.0 - 1e-6 for before, after in itertools.pairwise(ranges))
    assert all(summary.z_ranges_mm[name] for name in ("train", "val", "test"))


def test_enough_backgrounds_are_split_by_volume() -> None:
    stretches = [Stretch(number, 0.0, 100.0) for number in range(5)]
    rule, dealt = deal_stretches(stretches, [5.0] * 5, (0.6, 0.2, 0.2), (40.0, 60.0), "auto", np.random.default_rng(0))
    assert rule == "volume"
    assert sorted(one.background for parts in dealt.values() for one in parts) == [0, 1, 2, 3, 4]
    assert [len(dealt[name]) for name in ("train", "val", "test")] == [3, 1, 1]


def test_views_stay_in_their_stretch_and_use_no_other_slice(background: Path) -> None:
    loaded = load_background(background)
    stretch = Stretch(0, 40.0, 80.0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        view = draw_view(rng, loaded, stretch, WANTED)
        half = 0.5 * view.step_mm * view.scale
        assert view.z_mm[0] - half >= 40.0 - 1e-6
        assert view.z_mm[-1] + half <= 80.0 + 1e-6
        used = np.flatnonzero(view._weights(len(loaded.hu), 4.0).sum(axis=0))
        assert used.min() >= 10
        assert used.max() <= 20


def test_known_lesions_are_left_out(background: Path, tmp_path: Path) -> None:
    known = tmp_path / "lesions.json"
    source = open_ct(background)
    lesion = source.geometry.boxes_to_lps([[50, 50, 18, 60, 60, 22]])[0].tolist()
    name = "trunk.nii.gz"
    (tmp_path / name).symlink_to(background)
    known.write_text(json.dumps({"datasets": {name: {"lesions": [{"box_lps_mm": lesion}]}}}))
    boxes = read_known_lesions(known)[(tmp_path / name).resolve()]
    free = free_stretches(0, source.geometry, boxes)
    # slices 18 to 21 at 4 mm, box faces 70..86 mm, 5 mm of margin, ends on slices
    assert [(one.low_mm, one.high_mm) for one in free] == [(0.0, 64.0), (92.0, 156.0)]
    thin = {**SETTINGS, "thickness_mm": (15.0, 20.0)}
    summary = write_inserted([tmp_path / name], tmp_path / "out", 2, known_lesions=known, **thin)
    for parts in summary.z_ranges_mm.values():
        assert all(high <= 64.0 or low >= 92.0 for _, low, high in parts)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"patients": 0}, "patients 0"),
        ({"size": 10}, "64 px"),
        ({"size": 1024}, "size up to"),
        ({"split_rule": "coin"}, "split_rule"),
        ({"split_rule": "volume"}, "use the rule z_range"),
        ({"thickness_mm": (500.0, 500.0)}, "z-ranges"),
        ({"missing_rate": 0.9}, "missing_rate"),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(
    background: Path, tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        write_inserted([background], tmp_path / "out", **{"patients": 2, **SETTINGS, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_no_or_repeated_backgrounds_are_refused(background: Path, tmp_path: Path) -> None:
    for given in ([], [background, background]):
        with pytest.raises(InputError, match="different CTs"):
            write_inserted(given, tmp_path / "out", 1, **SETTINGS)


@pytest.mark.parametrize("text", ["{}", "[1]", '{"datasets": {"a": {"lesions": [{"box_lps_mm": [1]}]}}}', "not JSON"])
def test_other_files_of_known_lesions_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lesions.json").write_text(text)
    with pytest.raises(InputError, match="known lesions"):
        read_known_lesions(tmp_path / "lesions.json")


def test_command_writes_and_tells_what_the_splits_share(background: Path, tmp_path: Path) -> None:
    import typer

    from lesion_app.data.inserted_command import insert_lesions_command

    app = typer.Typer()
    app.command()(insert_lesions_command)
    options = ["--patients", "3", "--size", "96", "--thickness", "25-30", "--workers", "1", "--lesions", "2-3"]
    result = CliRunner().invoke(app, [str(tmp_path / "out"), str(background), *options])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "truth.json").exists()
    assert "share the" in result.output


def test_real_cts_without_their_known_tumour(real_data: Path, tmp_path: Path) -> None:
    ct = real_data / "ct"
    paths = [ct / "lungdx_A0002_dicom" / "series_B40f", ct / "totalseg_nifti" / "example_ct.nii.gz"]
    settings: dict[str, Any] = {**SETTINGS, "size": 192, "known_lesions": ct / "lesions.json"}
    summary = write_inserted(paths, tmp_path / "data", 6, seed=1, **settings)
    assert summary.split_rule == "z_range"
    # lesions.json has the tumour at z 172 to 252 mm; the lowest slice lies at 80 mm.
    for parts in summary.z_ranges_mm.values():
        assert all(high < 92.0 or low > 172.0 for number, low, high in parts if number == 0)
    prepared = prepare_deeplesion(tmp_path / "data", tmp_path / "data")
    assert prepared.counts["training"].patients == 4
