"""Writes what an inference found: lesions.json and a contact sheet for each CT."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.lesions_json import lesions_document, write_lesions_json
from lesion_app.visualize.lesion_sheet import draw_lesion_sheet

logger = logging.getLogger("lesion_app.inference")


class LesionWriter:
    """For each CT of an evaluator writes ``<output_dir>/<name>/lesions.json`` and ``lesions.png``.

    A CT's folder appears only when it is complete. With one CT and ``flat`` the files go to ``output_dir`` itself.

    Args:
        output_dir: created when missing.
        model: identity of the weights, see :func:`lesion_app.inferers.lesions_json.lesions_document`.
        config: identity of the config files.
        min_score: lesions below it are not reported.
        flat: write into ``output_dir`` instead of a folder a CT.
        sheet: draw the contact sheet.
    """

    def __init__(
        self,
        output_dir: str | Path,
        model: dict[str, Any],
        config: dict[str, Any],
        min_score: float = 0.1,
        flat: bool = False,
        sheet: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.config = config
        self.min_score = min_score
        self.flat = flat
        self.sheet = sheet

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator on whole volumes."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        for item, lesions in zip(output["image"], output["pred"]):
            self.write(item, [lesion for lesion in lesions if lesion.score >= self.min_score])

    def write(self, item: dict[str, Any], lesions: list[Tracklet]) -> Path:
        """Write the results of one item; returns their folder."""
        path, source = Path(item["path"]), item["source"]
        document = lesions_document(
            lesions,
            item["geometry"],
            model=self.model,
            config=self.config,
            source={"kind": source.source_kind, "name": path.name, "series_uid": source.series_uid},
            score_threshold=self.min_score,
        )
        final = self.output_dir if self.flat else self.output_dir / path.name.split(".")[0]
        staged = self.output_dir.parent / f".{self.output_dir.name}.{uuid.uuid4().hex[:8]}.tmp"
        staged.mkdir(parents=True)
        try:
            write_lesions_json(document, staged / "lesions.json")
            if self.sheet:
                volume = source.read()  # anew: keeping the original beside the resampled one would double memory
                draw_lesion_sheet(
                    volume.numpy(),
                    lesions,
                    staged / "lesions.png",
                    spacing_mm=item["geometry"].spacing_mm,
                    min_score=self.min_score,
                    axes=None if source.source_kind == "png" else "LPS",  # PNG folders know no directions
                    first_slice_number=item["geometry"].first_slice_number,
                )
            final.mkdir(parents=True, exist_ok=True)
            for file in sorted(staged.iterdir()):
                os.replace(file, final / file.name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        logger.info("%d lesions, wrote %s", len(lesions), final / "lesions.json")
        return final
