"""Write a toy data set: images, masks and a datalist."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lesion_app.data.datalist import DATALIST, SPLITS, write_datalist
from lesion_app.data.record import UNKNOWN_TYPE, Annotation, Record
from lesion_app.data.toy.images import ToyImage, ToySettings, ToyTask, draw_toy_image
from lesion_app.errors import InputError

IMAGES, MASKS = "images", "masks"
CONVENTION = "boxes (x1, y1, x2, y2) px, 0-based, half-open; masks hold object numbers, 0 = background"


@dataclass(frozen=True)
class ToySummary:
    """What was written.

    Args:
        datalist: the file.
        images: number of images of each split.
        cut: objects that a border of the image cuts.
    """

    datalist: Path
    images: dict[str, int]
    cut: int


def write_toy(
    out: Path,
    task: ToyTask,
    training: int = 1000,
    validation: int = 500,
    test: int = 1000,
    seed: int = 0,
    *,
    settings: ToySettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ToySummary:
    """Write ``out/images/<id>.npy`` (float32 [H, W]), ``out/masks/<id>.png`` (8 bit) and ``out/datalist.json``.

    Image k of a split depends on (seed, split, k) alone: a smaller data set of the same seed is the beginning of a
    larger one, and the tasks ``shapes`` and ``patterns`` of one seed have the same images. Numbers of the three splits
    are Jaeger et al.'s, section 4.2.

    Args:
        out: new or empty folder.
        task: see `ToyTask`.
        training, validation, test: images of each split.
        seed: everything drawn follows from it.
        settings: None = the published ones.
        progress: called with (images written, images).

    Raises:
        InputError: ``out`` is not empty or cannot be written, or a number is out of its range. Nothing is left behind.
    """
    out = Path(out)
    wanted = settings or ToySettings()
    counts = dict(zip(SPLITS, (training, validation, test)))
    if min(counts.values()) < 0 or not sum(counts.values()) or seed < 0:
        raise InputError(
            f"{training} training, {validation} validation and {test} test images with seed {seed} were asked for; "
            "expected numbers from 0, at least one image, and a seed from 0."
        )
    draw_toy_image(task, seed, wanted)  # a faulty task must leave no folder behind
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name a new one or remove this one.")
    existed = out.exists()
    try:
        for folder in (IMAGES, MASKS):
            (out / folder).mkdir(parents=True, exist_ok=True)
        splits: dict[str, list[Record]] = {}
        done = cut = 0
        for number, (split, count) in enumerate(counts.items()):
            splits[split] = []
            for k in range(count):
                name = f"{split}-{k + 1:05d}"
                toy = draw_toy_image(task, [seed, number, k], wanted)
                splits[split].append(_write_one(out, name, task, toy))
                cut += toy.cut
                done += 1
                if progress is not None:
                    progress(done, sum(counts.values()))
        head = {"dataset": f"toy-{task}", "seed": seed, "settings": asdict(wanted), "convention": CONVENTION}
        write_datalist(out / DATALIST, head, splits)
    except BaseException as error:
        for folder in (IMAGES, MASKS):
            shutil.rmtree(out / folder, ignore_errors=True)
        if not existed:
            shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(
                f"{out} cannot be written ({error.strerror}); choose a folder with room that you may write to."
            ) from error
        raise
    return ToySummary(out / DATALIST, counts, cut)


def _write_one(out: Path, name: str, task: ToyTask, toy: ToyImage) -> Record:
    np.save(out / IMAGES / f"{name}.npy", toy.image, allow_pickle=False)
    Image.fromarray(toy.mask.astype(np.uint8)).save(out / MASKS / f"{name}.png")
    annotation = Annotation(
        slice=1,
        box=list(toy.box),
        label=toy.label,
        kind="lesion",
        lesion_type=UNKNOWN_TYPE,
        noisy=False,
        lesion=0,
    )
    return Record(
        id=name,
        image=f"{IMAGES}/{name}.npy",
        series_id=name,
        patient_id=name,
        dataset=f"toy-{task}",
        spacing_mm=[1.0, 1.0, 1.0],
        size=list(toy.image.shape[::-1]),
        slices=[1, 1],
        annotations=[annotation],
        mask=f"{MASKS}/{name}.png",  # type: ignore[typeddict-unknown-key]  # only 2D sets with masks have it
    )
