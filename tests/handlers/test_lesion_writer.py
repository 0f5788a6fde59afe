from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ignite.engine import Engine

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.handlers import lesion_writer
from lesion_app.handlers.lesion_writer import LesionWriter
from lesion_app.inferers.lesions_json import read_lesions_json
from transforms.ct_source import CTSource
from transforms.geometry import VolumeGeometry

MODEL = {"network": "FasterRCNN25D", "file": "model.pt", "sha256": "0" * 64}
CONFIG = {"files": [{"file": "inference.json", "sha256": "0" * 64}]}
SURE = Tracklet((1, 2), ((4.0, 4.0, 12.0, 12.0), (5.0, 4.0, 12.0, 12.0)), (0.9, 0.8))
UNSURE = Tracklet((3,), ((20.0, 20.0, 28.0, 28.0),), (0.05,))


def ct(path: str, kind: str = "nifti", **more):
    geometry = VolumeGeometry.from_file_grid((32, 32, 6), np.diag([1.0, 1.0, 2.0, 1.0]))

    plane = np.full((32, 32), -1000, dtype=np.int16)
    plane[4:28, 4:28] = 40
    source = CTSource(geometry, kind, lambda ks: (plane for _ in ks))
    return {"path": path, "source": source, "geometry": geometry, **more}


def run(writer: LesionWriter, *items, lesions=(SURE, UNSURE)) -> None:
    engine = Engine(lambda e, item: {"image": [item], "pred": [list(lesions)]})
    engine.logger.disabled = True
    writer.attach(engine)
    engine.run(list(items))


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_each_ct_gets_a_folder_named_like_it(tmp_path):
    out = tmp_path / "new" / "results"
    run(LesionWriter(out, MODEL, CONFIG), ct("a.nii.gz"), ct("b.c.nrrd", "nrrd"))
    assert tree(out) == ["a", "a/lesions.json", "a/lesions.png", "b.c", "b.c/lesions.json", "b.c/lesions.png"]
    assert tree(tmp_path / "new") == ["results", *(f"results/{p}" for p in tree(out))]


def test_dicom_series_named_by_their_uids_do_not_overwrite_each_other(tmp_path):
    run(LesionWriter(tmp_path, MODEL, CONFIG, sheet=False), ct("1.2.840.1"), ct("1.2.840.2"))
    assert tree(tmp_path) == ["1.2.840.1", "1.2.840.1/lesions.json", "1.2.840.2", "1.2.840.2/lesions.json"]


def test_files_that_differ_in_type_only_and_runs_of_one_series_keep_apart(tmp_path):
    items = [ct("x/a.nii"), ct("x/a.mha", "mha"), ct("s", "png", slices=[3, 15]), ct("s", "png", slices=[40, 60])]
    run(LesionWriter(tmp_path, MODEL, CONFIG, sheet=False), *items)
    assert [p for p in tree(tmp_path) if "/" not in p] == ["a", "a.mha", "s_003-015", "s_040-060"]


def test_flat_results_lie_in_the_folder_itself(tmp_path):
    run(LesionWriter(tmp_path / "out", MODEL, CONFIG, flat=True), ct("a.nii.gz"))
    assert tree(tmp_path / "out") == ["lesions.json", "lesions.png"]


def test_lesions_below_the_score_are_left_out(tmp_path):
    run(LesionWriter(tmp_path, MODEL, CONFIG, min_score=0.1, flat=True, sheet=False), ct("a.nii.gz"))
    document = read_lesions_json(tmp_path / "lesions.json")
    assert [lesion["score"] for lesion in document["lesions"]] == [0.9]
    assert document["score_threshold"] == 0.1
    assert document["source"] == {"kind": "nifti", "name": "a.nii.gz"}


def test_ct_without_a_lesion_gets_an_empty_list(tmp_path):
    run(LesionWriter(tmp_path, MODEL, CONFIG, flat=True), ct("a.nii.gz"), lesions=())
    assert read_lesions_json(tmp_path / "lesions.json")["lesions"] == []
    assert (tmp_path / "lesions.png").is_file()


@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_when_drawing_fails(tmp_path, monkeypatch, there):
    def fail(*args, **kwargs):
        args[2].write_bytes(b"half")
        raise RuntimeError("no font")

    out = tmp_path / "deep" / "out"
    if there:
        run(LesionWriter(out, MODEL, CONFIG, flat=True, sheet=False), ct("a.nii.gz"), lesions=())
    before = tree(tmp_path)
    monkeypatch.setattr(lesion_writer, "draw_lesion_sheet", fail)
    with pytest.raises(RuntimeError, match="no font"):
        run(LesionWriter(out, MODEL, CONFIG, flat=True), ct("a.nii.gz"))
    assert tree(tmp_path) == before
    if there:
        assert read_lesions_json(out / "lesions.json")["lesions"] == []


def test_picture_of_an_earlier_run_does_not_stay_beside_a_new_list(tmp_path):
    run(LesionWriter(tmp_path, MODEL, CONFIG, flat=True), ct("a.nii.gz"))
    run(LesionWriter(tmp_path, MODEL, CONFIG, flat=True, sheet=False), ct("a.nii.gz"))
    assert tree(tmp_path) == ["lesions.json"]


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written to"):
        run(LesionWriter(tmp_path / "file" / "out", MODEL, CONFIG), ct("a.nii.gz"))
    assert tree(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_parent_need_not_be_writable(tmp_path):
    out = tmp_path / "parent" / "out"
    out.mkdir(parents=True)
    out.parent.chmod(0o555)
    try:
        run(LesionWriter(out, MODEL, CONFIG, flat=True, sheet=False), ct("a.nii.gz"))
    finally:
        out.parent.chmod(0o755)
    assert tree(out) == ["lesions.json"]


def test_staging_never_leaves_the_output_folder(tmp_path, monkeypatch):
    seen = []
    write = lesion_writer.write_lesions_json
    monkeypatch.setattr(lesion_writer, "write_lesions_json", lambda d, p: seen.append(p) or write(d, p))
    run(LesionWriter(tmp_path / "out", MODEL, CONFIG, flat=True, sheet=False), ct("a.nii.gz"))
    assert seen[0].parent.parent == tmp_path / "out"  # another file system may begin there
