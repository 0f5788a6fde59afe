"""One toy image: a circle or a donut, brighter than the noise around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lesion_app.errors import InputError

ToyTask = Literal["shapes", "patterns", "scales"]
"""``shapes``: circle or donut, the hole is missing from the mask, too. ``patterns``: the same images, masks without a
hole. ``scales``: two sizes of circle."""
TASKS: tuple[str, ...] = get_args(ToyTask)
Sizes = Literal["published", "paper"]


@dataclass(frozen=True)
class ToySettings:
    """What the images look like; the defaults are those of the paper's program.

    Jaeger et al., "Retina U-Net", 2019, section 4.2 (320 x 320 px, objects 0.2 above the background, uniform noise on
    all pixels, 19 and 20 px in task 3); what the paper leaves open is that of ``generate_toys.py`` of the
    medicaldetectiontoolkit: noise from 0 to 1, 20 px objects and 4 px holes in tasks 1 and 2, centres at least half of
    the largest object's nominal size from the border.

    Args:
        size: side of the image, px.
        object_px: nominal size of the objects of ``shapes`` and ``patterns``.
        hole_px: nominal size of the hole.
        scale_px: nominal sizes of the two classes of ``scales``.
        sizes: ``published`` takes nominal sizes for radii, as the program does, which calls them diameters: objects of
            20 are 39 px wide and may be cut by the border. ``paper`` takes them for diameters, as the paper's text
            does: 20 px wide, never cut.
        contrast: added inside an object.
        margin_px: least distance of an object's centre from the border; None = half of the largest nominal size.

    Raises:
        InputError: when a value is out of its range or the objects do not fit into the image.
    """

    size: int = 320
    object_px: int = 20
    hole_px: int = 4
    scale_px: tuple[int, int] = (19, 20)
    sizes: Sizes = "published"
    contrast: float = 0.2
    margin_px: int | None = None

    def __post_init__(self) -> None:
        if self.sizes not in get_args(Sizes):
            raise InputError(f"sizes is '{self.sizes}'; expected one of {', '.join(get_args(Sizes))}.")
        nominal = (self.object_px, self.hole_px, *self.scale_px)
        if min(nominal) < 1 or self.hole_px >= self.object_px or self.scale_px[0] == self.scale_px[1]:
            raise InputError(
                f"objects of {self.object_px} px, holes of {self.hole_px} px and scales of {self.scale_px} px were "
                "asked for; expected sizes from 1, holes smaller than objects and two different scales."
            )
        widest = max(nominal) if self.sizes == "paper" else 2 * max(nominal) - 1
        if self.size <= widest:
            raise InputError(
                f"an object of {widest} px does not fit into an image of {self.size} px; enlarge the image or choose "
                "smaller objects."
            )
        if not 0 < self.contrast < 100:
            raise InputError(f"the contrast is {self.contrast}; expected a number above 0 (the paper's is 0.2).")
        if self.margin_px is not None and not 0 <= 2 * self.margin_px < self.size:
            raise InputError(
                f"a margin of {self.margin_px} px leaves no room for centres in an image of {self.size} px; expected "
                "a number from 0 on, less than half of that."
            )

    def nominal_px(self, task: ToyTask) -> tuple[int, int]:
        """Nominal sizes of the two classes of ``task``."""
        return self.scale_px if task == "scales" else (self.object_px, self.object_px)


@dataclass(frozen=True, eq=False)
class ToyImage:
    """An image with its object.

    Args:
        image: ``[H, W]`` float32, noise in [0, 1) plus the object; never clipped.
        mask: ``[H, W]`` bool, the object as it is annotated.
        label: class, 1 or 2 (the donut; the larger one).
        box: (x1, y1, x2, y2) px, half-open, tight around ``mask``.
        cut: whether a border of the image cuts the object.
    """

    image: np.ndarray
    mask: np.ndarray
    label: int
    box: tuple[float, float, float, float]
    cut: bool


def draw_toy_image(task: ToyTask, seed: int | list[int], settings: ToySettings | None = None) -> ToyImage:
    """Draw one image; ``shapes`` and ``patterns`` of one seed differ in the mask only.

    Args:
        task: see `ToyTask`.
        seed: everything drawn follows from it.
        settings: None = the published ones.

    Raises:
        InputError: an unknown task.
    """
    if task not in TASKS:
        raise InputError(f"there is no toy task '{task}'; expected one of {', '.join(TASKS)}.")
    wanted = settings or ToySettings()
    generator = np.random.default_rng(seed)
    image = generator.random((wanted.size, wanted.size))
    label = int(generator.integers(2)) + 1
    nominal = wanted.nominal_px(task)
    half = -(-max(nominal) // 2) if wanted.sizes == "paper" else max(nominal) // 2
    margin = half if wanted.margin_px is None else wanted.margin_px
    centre = generator.integers(margin, wanted.size - margin, size=2, endpoint=wanted.sizes == "paper")
    disc = _disc(wanted.size, centre, nominal[label - 1], wanted.sizes)
    image[disc] += wanted.contrast
    mask = disc
    if task != "scales" and label == 2:
        hole = _disc(wanted.size, centre, wanted.hole_px, wanted.sizes)
        image[hole] -= wanted.contrast
        mask = disc & ~hole if task == "shapes" else disc
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    whole = nominal[label - 1] if wanted.sizes == "paper" else 2 * nominal[label - 1] - 1
    cut = min(box[2] - box[0], box[3] - box[1]) < whole
    return ToyImage(image.astype(np.float32), mask, label, box, cut)


def _disc(size: int, centre: np.ndarray, nominal: int, sizes: Sizes) -> np.ndarray:
    """``[size, size]`` bool.

    ``published``: pixels whose index is nearer to the centre's than ``nominal``. ``paper``: pixels whose middle is
    within half of ``nominal`` of the centre, which is a pixel's corner for even sizes and its middle for odd ones, so
    that the disc is ``nominal`` px wide.
    """
    if sizes == "published":
        reach, offset = float(nominal), 0.0
    else:
        reach, offset = nominal / 2, (0.5 if nominal % 2 == 0 else 1.0)
    x = np.arange(size) - centre[0] + offset
    y = np.arange(size) - centre[1] + offset
    return x[None, :] ** 2 + y[:, None] ** 2 < reach**2
