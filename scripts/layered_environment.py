"""Make a virtual environment on top of the one that runs this, without installing anything twice.

    .venv/bin/python scripts/layered_environment.py .venv-deploy
    .venv-deploy/bin/python -m pip install ...

What is installed in the new environment comes before the lower one's packages, its pip and torch (5 GB) are shared.
Needed because the MONAI Deploy SDK asks for older versions of packages that training uses newer ones of, and makes
every ``import monai`` take 10 s.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import venv
from pathlib import Path

# Read before the .pth files of what is installed above, one of which needs a package of the lower environment.
_PTH = "_lower_environment.pth"


def make_layered(folder: Path) -> Path:
    """Make the environment and return its interpreter; an existing one is made anew."""
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    lower = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    # addsitedir, not the bare path: the .pth files there (editable installs) count too
    (packages / _PTH).write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in lower))
    return folder / "bin" / "python"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a virtual environment on top of the one that runs this.")
    parser.add_argument("folder", type=Path)
    print(make_layered(parser.parse_args().folder))
