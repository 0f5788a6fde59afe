"""One run: its end, its limits, what is told of it."""

from __future__ import annotations

import sys
import time

import pytest

from lesion_app.clinical.node.run import RunEnd, crash_told, reason_told, run_command


@pytest.fixture
def run(tmp_path):
    """``run(code, time_limit_s=60, stop=...)``: run Python code with folders as arguments."""
    images = tmp_path / "input"
    images.mkdir()

    def call(code: str, time_limit_s: float = 60.0, stop=lambda: False) -> RunEnd:
        command = [sys.executable, "-I", "-S", "-c", code, "{input}", "{output}"]
        return run_command(command, images, tmp_path / "output", time_limit_s=time_limit_s, stop=stop)

    return call


@pytest.mark.parametrize("code", [0, 1, 2, 77])
def test_exit_codes_are_the_commands(run, code):
    assert run(f"import sys; sys.exit({code})").code == code


def test_folders_are_filled_in(run, tmp_path):
    end = run("import sys; print(*sys.argv[1:], sep='|', file=sys.stderr)")
    assert end.stderr.strip() == f"{tmp_path / 'input'}|{tmp_path / 'output'}"


def test_a_signal_is_told(run):
    end = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert crash_told(end) == "the command was killed by signal 9"


def test_a_run_that_takes_too_long_is_cut(run):
    start = time.monotonic()
    end = run("import time; time.sleep(60)", time_limit_s=0.5)
    assert (end.cut, end.code) == ("too long", None)
    assert time.monotonic() - start < 20


def test_a_run_is_stopped_with_its_children(run):
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"
    )
    start = time.monotonic()
    assert run(code, stop=lambda: time.monotonic() > start + 0.5).cut == "stopped"
    assert time.monotonic() - start < 20


def test_endless_stderr_stays_small_and_its_end_is_kept(run):
    end = run("import sys; [print('x' * 1000, file=sys.stderr) for _ in range(2000)]; print('last', file=sys.stderr)")
    assert len(end.stderr) <= 64 * 1024
    assert end.stderr.endswith("last\n")


def test_a_program_that_cannot_be_started_is_a_crash(tmp_path):
    end = run_command(["/no/such/program"], tmp_path, tmp_path / "out", time_limit_s=60, stop=lambda: False)
    assert end.code == 125


def test_the_reason_is_the_last_line_without_patient_and_uids(tmp_path, make_ct):
    make_ct().save_as(tmp_path / "image.dcm", enforce_file_format=True)
    stderr = f"loading\nerror: ZIMMERBLUME (P-77881), 1.2.840.113619.2.5 in {tmp_path}:\x1b[31m too few slices\n\n"
    assert reason_told(stderr, tmp_path) == "[removed] ([removed]), [uid] in the series: [31m too few slices"
    assert reason_told("", tmp_path) == "the command refused the series without a word"
    assert len(reason_told("x" * 5000, tmp_path)) == 400


def test_of_a_crash_only_the_exception_is_told():
    end = RunEnd(1, None, "Traceback\n  File ...\npkg.mod.OddError: Zimmerblume^Ottilie\n")
    assert crash_told(end) == "the command crashed with exit code 1 (pkg.mod.OddError)"
