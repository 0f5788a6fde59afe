"""The benchmark's report as a page of the documentation."""

from __future__ import annotations

import shutil
from pathlib import Path

from detector_benchmark.report import PICTURES
from lesion_app.atomic_file import replacing


def publish(out: Path, docs: Path) -> Path:
    """Copy ``out/table.md`` to ``docs/results/detectors.md`` and its pictures to ``docs/pictures/detectors_*.png``.

    Args:
        out: folder of the benchmark; ``table.md`` is there.
        docs: folder of the documentation.

    Returns:
        the page.
    """
    text = (out / "table.md").read_text(encoding="utf-8")
    for name in PICTURES:
        copy = docs / "pictures" / f"detectors_{name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (out / name).is_file():
            with replacing(copy) as temporary:
                shutil.copyfile(out / name, temporary)
        text = text.replace(f"]({name})", f"](../pictures/{copy.name})")
    page = docs / "results" / "detectors.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as temporary:
        temporary.write_text(text.replace("docs/detectors.md", "[detectors.md](../detectors.md)"), encoding="utf-8")
    return page
