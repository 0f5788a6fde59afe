"""An environment on top of this one: shares its packages, keeps its own to itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "layered_environment.py"
LOOK = "import sys, numpy, pip, lesion_app; print(sys.prefix, numpy.__file__, getattr(numpy, 'own', ''))"


def test_lower_packages_are_seen_and_own_ones_come_first(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: object) -> str:
        return subprocess.run(
            [*map(str, command)], check=True, capture_output=True, text=True, env=environment, cwd=tmp_path
        ).stdout.strip()

    python = Path(run(sys.executable, SCRIPT, tmp_path / "upper"))
    prefix, lower = run(python, "-c", LOOK).split()
    assert prefix == str(tmp_path / "upper")
    assert not lower.startswith(prefix)

    (packages,) = (tmp_path / "upper").glob("lib/python*/site-packages")
    (packages / "numpy.py").write_text("own = 'own'")
    assert run(python, "-c", LOOK).split()[1:] == [str(packages / "numpy.py"), "own"]
