from __future__ import annotations

from pathlib import Path

import pytest

from lesion_app.atomic_file import replacing, replacing_folder


def test_new_content_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    for text in ("old", "new"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
            assert temporary.suffix == ".json"
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_error_before_anything_was_written_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "a.txt"):
        raise ValueError("early")
    assert not list(tmp_path.iterdir())


def test_a_new_folder_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "set"
    for name in ("old", "new"):
        with replacing_folder(path) as temporary:
            (temporary / name).touch()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in path.parent.iterdir()] == ["set"]


def test_error_while_filling_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.mkdir()
    (path / "old").touch()

    def fill_half() -> None:
        with replacing_folder(path) as temporary:
            (temporary / "new").touch()
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fill_half()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_filled_by_somebody_else_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "set"

    def fill() -> None:
        with replacing_folder(path, only_empty=True) as temporary:
            (temporary / "ours").touch()
            path.mkdir()
            (path / "theirs").touch()

    with pytest.raises(OSError, match="not empty"):
        fill()
    assert [p.name for p in path.iterdir()] == ["theirs"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
