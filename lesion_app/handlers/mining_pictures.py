"""Shows what the teacher mines: pictures and score histograms while training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lesion_app.metrics.mining import hidden_truth
from lesion_app.visualize.mining_overlay import draw_mining_overlay, draw_mining_sheet

logger = logging.getLogger("lesion_app.training")


class MiningPictures:
    """Writes slabs with mined boxes and the teacher's score histogram to TensorBoard, and a last contact sheet.

    Labels are green, mined boxes blue and, where the truth is known, lesions without a label dashed orange.

    Args:
        folder: TensorBoard's folder; the sheet ``mined_lesions.png`` is written beside the event files.
        every: iterations between two histograms and pictures.
        sheet_tiles: how many of the latest slabs with mined boxes the sheet shows.
        hu_min, hu_max: what 0 and 255 of the slabs stand for, HU.
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 500,
        sheet_tiles: int = 12,
        hu_min: float = -1024.0,
        hu_max: float = 3071.0,
    ) -> None:
        self.hu_min = hu_min
        self.hu_max = hu_max
        self.folder = Path(folder)
        self.every = every
        self.sheet_tiles = sheet_tiles
        self._latest: list[tuple[int, dict[str, Any]]] = []
        self._counts = torch.zeros(10, dtype=torch.int64)
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the mean teacher."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        scores = getattr(engine.state, "teacher_scores", None)
        if scores is None:
            return
        self._counts += scores
        for item in engine.state.batch:  # type: ignore[union-attr]
            if len(item["mined"]["boxes"]):
                keep = ("image", "boxes", "mined", "truth_boxes", "spacing_mm")
                picture = {k: item[k] for k in keep if k in item}
                middle = picture["image"][picture["image"].shape[0] // 2]
                picture["image"] = self._on_full_scale(middle).half()
                self._latest = [*self._latest[-(self.sheet_tiles - 1) :], (int(engine.state.iteration), picture)]
        if engine.state.iteration % self.every == 0:
            self._write(int(engine.state.iteration))

    def _on_full_scale(self, image: Tensor) -> Tensor:
        """The image on the overlay's scale, 0..255 for HU -1024..3071."""
        hu = image / 255 * (self.hu_max - self.hu_min) + self.hu_min
        return (hu + 1024) * (255 / 4095)

    def _write(self, iteration: int) -> None:
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder))
        counts = self._counts.numpy()
        total = int(counts.sum())
        if total:
            middles = (np.arange(10) + 0.5) / 10
            self._writer.add_histogram_raw(
                "teacher_scores",
                min=0.0,
                max=1.0,
                num=total,
                sum=float(counts @ middles),
                sum_squares=float(counts @ middles**2),
                bucket_limits=((np.arange(10) + 1) / 10).tolist(),
                bucket_counts=counts.tolist(),
                global_step=iteration,
            )
            self._counts.zero_()
        if self._latest:
            self._writer.add_image("mined_lesions", overlay(self._latest[-1][1]), iteration, dataformats="HWC")
        self._writer.flush()

    def _finish(self, engine: Engine) -> None:
        if self._latest:
            titles = [f"iteration {iteration}" for iteration, _ in self._latest]
            sheet = draw_mining_sheet(
                [overlay(p) for _, p in self._latest], self.folder / "mined_lesions.png", titles=titles
            )
            logger.info("wrote %s", sheet)
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def overlay(picture: dict[str, Any]) -> np.ndarray:
    """RGB uint8 ``[h, w, 3]`` of one item's central slice with its boxes."""
    labelled = picture["boxes"]
    hidden = hidden_truth(picture["truth_boxes"], labelled).numpy() if "truth_boxes" in picture else None
    return draw_mining_overlay(
        picture["image"].float().numpy(),
        labelled.numpy(),
        picture["mined"]["boxes"].numpy(),
        picture["mined"]["scores"].numpy(),
        hidden,
    )
