"""What a measurement must state: the machine, its software and the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Processor and number of cores."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            model = f"{len(names)} x {names[0]}"
    return model


def commit() -> str:
    """Commit of the checkout, with ``+`` when it has changes."""
    here = Path(__file__).parent
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "")


def versions() -> str:
    """The libraries that decide about speed."""
    return ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "monai", "numpy"))
