"""How fast is the detector, and everything around it, beside its peers?

    python scripts/benchmark_speed.py --out benchmark

Measures each section (``--sections``) with warm-up, interleaved repetitions and medians, and writes ``speed.json``,
``speed.md`` and ``speed.png`` into ``--out``. Sections measured before stay; run it on a machine that does nothing
else. About 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measured_on import commit, machine, versions
from rich.console import Console
from speed_sections import afterwards, dicom, experts, inference, memory, pooling, report, retinanet, roofline, training

from lesion_app.atomic_file import replacing
from lesion_app.progress import progress_bar


def sections(quick: bool) -> dict[str, Callable[[], Any]]:
    """What each section measures; ``quick`` = sizes that only show that it runs."""
    small = {"small": quick}
    size = 96 if quick else 512
    return {
        "inference": lambda: inference.measure(
            size, **({"long": 4, "short": 1, "repetitions": 1} if quick else {}), **small
        ),
        "experts": lambda: experts.measure(size, **({"slices": 1, "repetitions": 1} if quick else {}), **small),
        "roofline": lambda: roofline.measure(size, matrix=128 if quick else 2048, **small),
        "retinanet": lambda: retinanet.measure(*(((32, 32, 32), 64, 1) if quick else ())),
        "linking": lambda: afterwards.measure_linking(*((10, 5, 1) if quick else ())),
        "evaluation": lambda: afterwards.measure_evaluation(*((20, 400, 1) if quick else ())),
        "training": lambda: {
            "pooling": pooling.measure_pooling(*((1,) if quick else ()), **small),
            "step": training.measure_step(size, repetitions=1 if quick else 3, **small),
            "loading": training.measure_loading(*((2, 128, (0,), 4) if quick else ())),
            "waiting": training.measure_waiting(*((2, 4) if quick else ())),
        },
        "dicom": lambda: dicom.measure(*((12, 96) if quick else ()), **small),
        "memory": lambda: (
            memory.measure(*(((6, 12), 96) if quick else ()))
            + memory.measure((4,) if quick else (24,), size, "small" if quick else "full")
        ),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure; 0 = everything asked for is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; the same one to add sections")
    parser.add_argument("--sections", nargs="+", choices=sorted(sections(False)), help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    options = parser.parse_args(argv)
    console = Console()
    logging.disable(logging.INFO)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "speed.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"sections": {}}
    here = {"machine": machine(), "threads": torch.get_num_threads(), "versions": versions(), "quick": options.quick}
    if found["sections"] and any(found[key] != value for key, value in here.items()):
        console.print(
            f"error: {path} was measured on another machine, with other versions or at other sizes; name another --out",
            style="red",
        )
        return 2
    found.update(here)
    jobs = {
        name: job for name, job in sections(options.quick).items() if not options.sections or name in options.sections
    }
    with progress_bar(console, "sections") as bar:
        task = bar.add_task("", total=len(jobs))
        for name, job in jobs.items():
            console.print(f"measuring {name}", highlight=False)
            now = datetime.datetime.now(datetime.timezone.utc)
            found["sections"][name] = {"figures": job(), "commit": commit(), "date": f"{now:%Y-%m-%d %H:%M} UTC"}
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n")
            bar.advance(task)
    with replacing(options.out / "speed.md") as temporary:
        temporary.write_text(report.markdown(found), encoding="utf-8")
    if "inference" in found["sections"]:
        report.draw(found, options.out / "speed.png")
    console.print(
        f"wrote speed.json, speed.md and speed.png to {options.out}; next: copy what is new to docs/results/speed.md"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
