"""Results appear whole or not at all, whatever the results folder is and whenever a run dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lesion_app.clinical import publishing
from lesion_app.clinical.publishing import MANIFEST, check_output, staged_results, write_manifest
from lesion_app.errors import InputError


def publish(out: Path, series: str = "1.2.3", text: str = "new") -> None:
    with staged_results(out) as stage:
        (stage / "dicom").mkdir()
        (stage / "dicom" / "report.dcm").write_text(text)
        (stage / "lesions.json").write_text(text)
        write_manifest(stage, {"series": {"uid": series}})


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(params=["replaced by a rename", "filled, as a mount point is"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param.startswith("filled"):
        monkeypatch.setattr(publishing, "_is_mount_point", lambda path: True)
    return request.param


WHOLE = ["dicom", "dicom/report.dcm", "lesions.json", MANIFEST]


@pytest.mark.parametrize("state", ["missing", "empty", "earlier results"])
def test_results_appear_and_nothing_else(tmp_path: Path, way: str, state: str) -> None:
    out = tmp_path / "deep" / "out"
    if state != "missing":
        out.mkdir(parents=True)
    if state == "earlier results":
        publish(out, text="old")
        (out / "dicom" / "key_image.dcm").touch()  # of an earlier version of the program, which listed it
        manifest = json.loads((out / MANIFEST).read_text())
        manifest["files"].append({"file": "dicom/key_image.dcm", "sha256": "0"})
        (out / MANIFEST).write_text(json.dumps(manifest))
    publish(out)
    assert tree(out) == WHOLE
    assert (out / "dicom" / "report.dcm").read_text() == "new"
    assert os.listdir(tmp_path) == ["deep"]
    assert os.listdir(out.parent) == ["out"]


def test_manifest_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    publish(tmp_path / "out", text="abc")
    listed = {e["file"]: e["sha256"] for e in json.loads((tmp_path / "out" / MANIFEST).read_text())["files"]}
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, example B.1
    assert listed == {"dicom/report.dcm": abc, "lesions.json": abc}


def test_permissions_of_an_existing_folder_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o2770)
    publish(out)
    assert out.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.parametrize("state", ["missing", "empty", "earlier results"])
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, way: str, state: str) -> None:
    out = tmp_path / "deep" / "out"
    if state != "missing":
        out.mkdir(parents=True)
    if state == "earlier results":
        publish(out, text="old")
    before = tree(tmp_path)

    def break_half_way() -> None:
        with staged_results(out) as stage:
            (stage / "lesions.json").write_text("half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_half_way()
    assert tree(tmp_path) == before
    if state == "earlier results":
        assert (out / "lesions.json").read_text() == "old"


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda out: out.write_text(""), "is a file; name a folder"),
        (lambda out: (out.mkdir(), (out / "notes.txt").touch()), "not empty and holds no earlier results"),
        (lambda out: (out.mkdir(), (out / MANIFEST).write_text("{}")), "not empty and holds no earlier results"),
        (lambda out: (out.mkdir(), (out / MANIFEST).write_text("[1]")), "not empty and holds no earlier results"),
        (lambda out: (publish(out), (out / "dicom" / "notes.txt").touch()), r"holds dicom/notes\.txt, which is not"),
        (lambda out: publish(out, series="9.9"), "holds the results of another series"),
    ],
)
def test_foreign_folder_is_refused_and_untouched(
    tmp_path: Path, way: str, prepare: Callable[[Path], object], told: str
) -> None:
    out = tmp_path / "out"
    prepare(out)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=told):
        publish(out)
    assert tree(tmp_path) == before
    with pytest.raises(InputError, match=told):
        check_output(out, "1.2.3")


def test_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="name a folder"):
        publish(tmp_path / "file" / "out")


def test_two_runs_at_once_do_not_mix(tmp_path: Path, way: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with staged_results(out) as stage:
        with pytest.raises(InputError, match="another run is writing"):
            publish(out)
        (stage / "lesions.json").write_text("first")
        write_manifest(stage, {"series": {"uid": "1"}})
    assert tree(out) == ["lesions.json", MANIFEST]


@pytest.mark.parametrize("moves", range(6))
def test_run_killed_while_publishing_leaves_no_mixture(tmp_path: Path, moves: int) -> None:
    """Killed before each of its steps in a mount point: no manifest until complete, and the next run clears it."""
    out = tmp_path / "out"
    publish(out, text="old")
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from lesion_app.clinical import publishing
        publishing._is_mount_point = lambda path: True
        steps = 0
        def dying(function):
            def step(*arguments, **options):
                global steps
                if steps == {moves}:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps += 1
                return function(*arguments, **options)
            return step
        from test_publishing import publish
        os.rename = dying(os.rename)
        publishing._remove = dying(publishing._remove)
        publish(Path({str(out)!r}))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False).returncode
    if ended == 0:
        assert moves >= 4  # entries removed, then two entries and the manifest moved
    else:
        assert ended == -signal.SIGKILL
        whole = (out / MANIFEST).exists()
        assert not whole or (out / "dicom" / "report.dcm").read_text() == (out / "lesions.json").read_text()
    publish(out, text="newest")
    assert tree(out) == WHOLE
    assert (out / "dicom" / "report.dcm").read_text() == "newest"
    assert os.listdir(tmp_path) == ["out"]


def test_bind_mount_is_seen(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs unshare and root to make a bind mount")
    out = tmp_path / "a b"
    (tmp_path / "source").mkdir()
    out.mkdir()
    code = f"from pathlib import Path; from lesion_app.clinical.publishing import _is_mount_point as m; \
print(m(Path({str(out)!r})), m(Path({str(tmp_path / 'source')!r})))"
    script = 'mount --bind "$1" "$2" && exec "$3" -c "$4"'
    command = ["unshare", "-m", "sh", "-c", script, "-", str(tmp_path / "source"), str(out), sys.executable, code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip(f"this machine makes no bind mounts: {ran.stderr.strip()}")
    assert ran.stdout.split() == ["True", "False"]
