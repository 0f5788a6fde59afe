"""Read a folder of DeepLesion's 16-bit PNG slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lesion_app.errors import InputError
from transforms.ct_source import CTSource, decoding
from transforms.geometry import VolumeGeometry

SIGN_BIT = 0x8000


def open_png_folder(folder: Path, spacing_mm: Sequence[float] | None, run: tuple[int, int] | None) -> CTSource:
    """Open the slices ``run`` (first, last, inclusive) of a folder of ``<number>.png``.

    A number missing inside the run is replaced by the nearest existing slice of the run. The format
    is that of DeepLesion (Yan et al. 2018): 16-bit grey, HU = value - 32768.

    Raises:
        InputError: no spacing, no numbered PNG, several runs to choose from, or not 16-bit grey.
    """
    files = {int(file.stem): file for file in folder.glob("*.[pP][nN][gG]") if file.stem.isdecimal()}
    if not files:
        raise InputError(
            f"folder {folder.name} has PNG files but none named by its slice number; expected DeepLesion's layout "
            "(012.png, 013.png, ...), so give such a folder"
        )
    spacing = _checked_spacing(folder, spacing_mm)
    numbers = np.array(sorted(files))
    notes = []
    if run is None:
        run = _only_run(folder, numbers)
    else:
        numbers = numbers[(numbers >= run[0]) & (numbers <= run[1])]
        if not len(numbers):
            raise InputError(
                f"folder {folder.name} holds no slice numbered {run[0]} to {run[1]} (it holds {min(files)} to "
                f"{max(files)}); give a run that it holds"
            )
        if missing := run[1] - run[0] + 1 - len(numbers):
            notes.append(f"{missing} slices of the run are missing; each was replaced by the nearest one there is")
    width, height = _size(files[int(numbers[0])])
    # The file's own grid is (column, row, slice number), with number run[0] at the origin.
    affine = np.diag([*spacing, 1.0])
    affine[2, 3] = -spacing[2] * run[0]
    geometry = VolumeGeometry.from_file_grid((width, height, run[1] + 1), affine, run)
    planes = PNGPlanes([files[int(n)] for n in numbers], numbers, (width, height))
    return CTSource(geometry, "png", planes, notes=notes)


@dataclass(frozen=True, eq=False)
class PNGPlanes:
    """Reads planes [column, row] by slice number; ``numbers`` ascend and name ``files``."""

    files: list[Path]
    numbers: np.ndarray
    size: tuple[int, int]

    def __call__(self, ks: Sequence[int]) -> Iterator[np.ndarray]:
        for k in ks:
            file = self.files[int(np.abs(self.numbers - k).argmin())]
            with decoding(file.name, "a 16-bit PNG slice"), Image.open(file) as image:
                _check_grey16(file, image)
                if image.size != self.size:
                    raise InputError(
                        f"slice {file.name} has {image.size[0]} x {image.size[1]} px where its neighbours have "
                        f"{self.size[0]} x {self.size[1]}; expected slices of one series, so mend the folder"
                    )
                # Flipping the top bit of an unsigned 16-bit value and reading it as signed is "- 32768".
                values = np.asarray(image, dtype=np.uint16) ^ np.uint16(SIGN_BIT)
            yield values.view(np.int16).T


def _size(file: Path) -> tuple[int, int]:
    with decoding(file.name, "a 16-bit PNG slice"), Image.open(file) as image:
        _check_grey16(file, image)
        return image.size


def _check_grey16(file: Path, image: Image.Image) -> None:
    if image.format != "PNG" or not image.mode.startswith("I;16"):
        raise InputError(
            f"{file.name} is a {image.format} picture of mode {image.mode}; expected 16-bit grey PNG with "
            "HU = value - 32768 as in DeepLesion, so give the original slices and not windowed pictures"
        )


def _only_run(folder: Path, numbers: np.ndarray) -> tuple[int, int]:
    """The unbroken run of ``numbers``, or a sentence that lists the runs to choose from."""
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    if len(breaks):
        starts = numbers[np.r_[0, breaks + 1]]
        ends = numbers[np.r_[breaks, len(numbers) - 1]]
        listed = ", ".join(f"{a}-{b}" for a, b in list(zip(starts, ends))[:6])
        raise InputError(
            f"folder {folder.name} holds {len(starts)} separate runs of slices ({listed}"
            f"{', ...' if len(starts) > 6 else ''}); expected one, so name it by slices=(first, last)"
        )
    return int(numbers[0]), int(numbers[-1])


def _checked_spacing(folder: Path, spacing_mm: Sequence[float] | None) -> list[float]:
    if spacing_mm is None:
        raise InputError(
            f"folder {folder.name} holds PNG slices, which carry no spacing; give spacing_mm=(x, y, z) in mm "
            "(column Spacing_mm_px_ of DL_info.csv)"
        )
    try:
        spacing = [float(value) for value in spacing_mm]
    except (TypeError, ValueError):
        spacing = []
    if len(spacing) != 3 or not all(np.isfinite(value) and value > 0 for value in spacing):
        raise InputError(f"spacing_mm={spacing_mm!r} was given; expected three positive numbers (x, y, z) in mm")
    return spacing
