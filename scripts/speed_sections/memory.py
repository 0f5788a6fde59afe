"""Working memory and time of whole CTs of 100, 400 and 1,500 slices, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

MIB = 2**20


def measure(depths: Sequence[int] = (100, 400, 1500), size: int = 512, network: str = "small") -> list[dict[str, Any]]:
    """Peak memory beside the volume's own, and seconds, of reading, preparing and detecting in a NIfTI file.

    Args:
        depths: slices.
        size: px.
        network: ``small`` (the demo's, so that 1,500 slices take minutes) or ``full``.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for depth in depths:
            path = Path(folder) / f"{depth}.nii"
            write_ct(path, depth, size)
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            done = subprocess.run(
                [sys.executable, "-m", "speed_sections.memory", str(path), network],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{depth} slices failed: {done.stderr[-2000:]}")
            found.append({"slices": depth, "network": network, **json.loads(done.stdout.splitlines()[-1])})
            path.unlink()
    return found


def write_ct(path: Path, depth: int, size: int) -> None:
    """A body of noise in air, int16, 0.8 x 0.8 x 1 mm, written slice block by slice block."""
    image = nibabel.Nifti1Image(
        np.lib.stride_tricks.as_strided(np.zeros(1, np.int16), (size, size, depth), (0, 0, 0)),
        np.diag([-0.8, -0.8, 1, 1]),
    )
    header = image.header.copy()
    header.set_data_dtype(np.int16)
    header.set_data_offset(352)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = (x / 0.85) ** 2 + (y / 0.65) ** 2 < 1
    with path.open("wb") as file:
        header.write_to(file)
        file.write(b"\0" * (352 - file.tell()))
        for _ in range(depth):
            file.write(np.where(inside, rng.integers(0, 90, (size, size)), -1000).astype(np.int16).T.tobytes("F"))


def look(path: Path, network: str) -> dict[str, Any]:
    """Detect in one file as ``lesion-app detect`` does, without its pictures; peak over what stood before it was
    read."""
    from speed_sections.subjects import our_network, scale

    from lesion_app.inferers.whole_volume import WholeVolumeInferer
    from lesion_app.networks.inference_detector import inference_detector
    from lesion_app.tracking.kalman_linker import KalmanLinker
    from transforms.crop_black_border import CropBlackBorderd
    from transforms.in_plane_spacing import InPlaneSpacingd
    from transforms.load_ct import LoadCTd

    detector = inference_detector(our_network(small=network == "small"), "auto")
    detector([torch.zeros(9, 64, 64)])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of building the network
    before = resident()
    start = time.perf_counter()
    item: dict[str, Any] = LoadCTd("image")({"image": str(path)})
    own = nbytes(item["image"])
    for step in (
        CropBlackBorderd("image", body_slices="all", body_hu=-768),
        InPlaneSpacingd("image", spacing_mm=0.8, max_size=512),
    ):
        item = step(item)
    read = time.perf_counter() - start
    prepared = nbytes(item["image"])
    lesions = WholeVolumeInferer(KalmanLinker(0.3), scale, 2.0)([item], detector)[0]
    return {
        "ct_mib": own / MIB,
        "prepared_mib": prepared / MIB,
        "peak_mib": (peak() - before) / MIB,
        "seconds_reading": read,
        "seconds": time.perf_counter() - start,
        "lesions": len(lesions),
    }


def nbytes(volume: torch.Tensor) -> int:
    """Bytes of a tensor's values."""
    return volume.numel() * volume.element_size()


def resident() -> int:
    """Bytes in memory now."""
    return status("VmRSS")


def peak() -> int:
    """Most bytes that were in memory."""
    return status("VmHWM")


def status(name: str) -> int:
    """A size of ``/proc/self/status`` in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}; memory is measured on Linux only")


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]), sys.argv[2])))
