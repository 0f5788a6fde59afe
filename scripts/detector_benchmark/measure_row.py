"""Speed, memory and size of one trained row, in a process of its own: ``python measure_row.py FOLDER``."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lesion_app.atomic_file import replacing

MIB = 2**20
SLICES = 20
WARM_UP = 3


def measure_row(folder: Path) -> dict[str, Any]:
    """Detect in test slices one by one, as they come from the row's preprocessing; writes ``speed.json``.

    Returns:
        ``parameters``; ``ms_per_slice`` (median), from slab to boxes, without reading the slice; ``peak_mib``: on a GPU
        the most memory allocated, on Linux what the process held at most beyond what it held before the first
        detection, None elsewhere; ``input_px`` (height, width) of the first slab; ``device``.
    """
    from monai.bundle import ConfigParser

    from lesion_app.bundle_run import config_paths, find_bundle

    row = json.loads((folder / "row.json").read_text())
    root = find_bundle()
    names = [*row["configs"], folder / "overlay.json", "typed_evaluate", folder / "in_evaluation.json"]
    parser = ConfigParser(ConfigParser.load_config_files(config_paths(root, names)))
    parser.update(
        {
            "bundle_root": str(root),
            "dataset_dir": row["dataset_dir"],
            "datalist": row["datalist"],
            "ckpt_dir": str(folder / "models"),
        }
    )
    trained = parser.get_parsed_content("network")
    parameters = sum(p.numel() for p in trained.parameters())
    network = parser.get_parsed_content("validate#evaluator#network").eval()
    device = parser.get_parsed_content("device")
    dataset = parser.get_parsed_content("validate#dataset")
    slabs = [dataset[i]["image"].to(device) for i in range(min(SLICES, len(dataset)))]
    before = _begin(device)
    times = []
    with torch.no_grad():
        for turn in range(-WARM_UP, len(slabs)):
            start = time.perf_counter()
            network([slabs[max(turn, 0)]])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 0:
                times.append(time.perf_counter() - start)
    found = {
        "parameters": parameters,
        "ms_per_slice": 1000 * statistics.median(times),
        "peak_mib": _peak(device, before),
        "input_px": list(slabs[0].shape[-2:]),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
    }
    with replacing(folder / "speed.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _begin(device: torch.device) -> int | None:
    """Forget the peak so far; bytes held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        return None
    forget.write_text("5")
    return _held("VmRSS")


def _peak(device: torch.device, before: int | None) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return None if before is None else (_held("VmHWM") - before) / MIB


def _held(name: str) -> int:
    """A size of ``/proc/self/status`` in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(json.dumps(measure_row(Path(sys.argv[1]).absolute())))
