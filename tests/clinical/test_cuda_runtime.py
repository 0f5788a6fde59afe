"""A machine without a CUDA toolkit finds the runtime library that pip installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_app.clinical.cuda_runtime import LIBRARY, preload_cuda_runtime

LOADED = f"""
import ctypes
from lesion_app.clinical.cuda_runtime import preload_cuda_runtime
print(preload_cuda_runtime() is not None)
ctypes.CDLL("{LIBRARY}")  # what the linker does for holoscan, by name
"""


def pip_has_it() -> bool:
    return any((Path(folder) / "nvidia/cu13/lib" / LIBRARY).is_file() for folder in sys.path)


def test_nothing_installed_is_no_error(tmp_path: Path) -> None:
    assert preload_cuda_runtime([str(tmp_path), ""]) is None


def test_library_for_another_machine_is_no_error(tmp_path: Path) -> None:
    library = tmp_path / "nvidia" / "cu13" / "lib" / LIBRARY
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF nothing else")
    assert preload_cuda_runtime([str(tmp_path)]) is None


def test_library_is_found_by_name_afterwards_without_a_toolkit() -> None:
    if not pip_has_it():
        pytest.skip("pip's nvidia-cuda-runtime is not installed")
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    hidden: list[str] = []
    toolkits = sorted({str(path.resolve()) for path in Path("/usr/local").glob("cuda*") if path.is_dir()})
    if toolkits:
        if shutil.which("unshare") is None or os.geteuid() != 0:
            pytest.skip("a CUDA toolkit is installed, and hiding it needs unshare and root")
        mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in toolkits)
        hidden = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "-"]
        trial = subprocess.run(
            [*hidden, sys.executable, "-c", f"import ctypes; ctypes.CDLL('{LIBRARY}')"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if "mount" in trial.stderr:
            pytest.skip(f"the CUDA toolkit cannot be hidden here: {trial.stderr.strip()}")
        assert "cannot open shared object file" in trial.stderr, "the toolkit is not hidden"
    ran = subprocess.run([*hidden, sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr
