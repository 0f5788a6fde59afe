"""Writes what an inference found: lesions.json and a contact sheet for each CT."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError
from lesion_app.inferers.ct_list import CT_FILE_TYPES
from lesion_app.inferers.lesions_json import lesions_document, write_lesions_json
from lesion_app.visualize.lesion_sheet import draw_lesion_sheet

logger = logging.getLogger("lesion_app.inference")


class LesionWriter:
    """For each CT of an evaluator writes ``<output_dir>/<name>/lesions.json`` and ``lesions.png``.

    ``name`` is the CT's own without its file type, with ``_<first>-<last>`` for a run of slices; the whole file
    name where two CTs would share it. The files appear when all of them are complete. With one CT and ``flat``
    they go to ``output_dir`` itself. ``engine.state.metrics`` counts ``cts`` and reported ``lesions`` for the loggers.

    Args:
        output_dir: created when missing.
        model: identity of the weights, see :func:`lesion_app.inferers.lesions_json.lesions_document`.
        config: identity of the config files.
        min_score: lesions below it are not reported.
        flat: write into ``output_dir`` instead of a folder a CT.
        sheet: draw the contact sheet; without, one of an earlier run is removed.

    Raises:
        InputError: (while running) when ``output_dir`` cannot be written to.
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
        self._taken: dict[str, Path] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator on whole volumes."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        engine.state.metrics.update(cts=0.0, lesions=0.0)

    def _write(self, engine: Engine) -> None:
        output: dict[str, Any] = engine.state.output  # type: ignore[assignment]
        for item, lesions in zip(output["image"], output["pred"]):
            reported = [lesion for lesion in lesions if lesion.score >= self.min_score]
            self.write(item, reported)
            engine.state.metrics["cts"] += 1
            engine.state.metrics["lesions"] += len(reported)

    def write(self, item: dict[str, Any], lesions: list[Tracklet]) -> Path:
        """Write the results of one item; returns their folder."""
        path, source = Path(item["path"]).absolute(), item["source"]
        document = lesions_document(
            lesions,
            item["geometry"],
            model=self.model,
            config=self.config,
            source={"kind": source.source_kind, "name": path.name, "series_uid": source.series_uid},
            score_threshold=self.min_score,
            experts=self._reported_by_experts(item),
        )
        final = self.output_dir if self.flat else self.output_dir / self._name(path, item.get("slices"))
        with _staged(self.output_dir) as staged:
            write_lesions_json(document, staged / "lesions.json")
            if self.sheet:
                volume = source.read()  # anew where it is large: keeping it beside the resampled one doubles memory
                draw_lesion_sheet(
                    volume.numpy(),
                    lesions,
                    staged / "lesions.png",
                    spacing_mm=item["geometry"].spacing_mm,
                    min_score=self.min_score,
                    axes=None if source.source_kind == "png" else "LPS",  # PNG folders know no directions
                    first_slice_number=item["geometry"].first_slice_number,
                )
            final.mkdir(exist_ok=True)
            for file in sorted(staged.iterdir()):
                os.replace(file, final / file.name)
            if not self.sheet:
                (final / "lesions.png").unlink(missing_ok=True)  # it would show other lesions than the list
        logger.info("%d lesions, wrote %s", len(lesions), final / "lesions.json")
        return final

    def _reported_by_experts(self, item: dict[str, Any]) -> dict[str, list[Tracklet]] | None:
        """What each expert of a LENS found (see ``ExpertVolumeInferer``), None for another network."""
        if "expert_lesions" not in item:
            return None
        return {
            name: [lesion for lesion in found if lesion.score >= self.min_score]
            for name, found in item["expert_lesions"].items()
        }

    def _name(self, path: Path, slices: Sequence[int] | None) -> str:
        run = "" if slices is None else f"_{slices[0]:03d}-{slices[1]:03d}"
        stem = next((path.name[: -len(end)] for end in CT_FILE_TYPES if path.name.lower().endswith(end)), path.name)
        short, whole = stem + run, path.name + run
        name = short if self._taken.get(short, path) == path else whole
        self._taken[name] = path
        return name


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder inside ``folder`` (one file system, and the parent may be read-only), gone afterwards.

    Folders made for it go again when they stay empty.
    """
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    staged = folder / f".{uuid.uuid4().hex[:8]}.tmp"
    try:
        staged.mkdir(parents=True)
        yield staged
    except OSError as error:
        raise InputError(
            f"results cannot be written to {folder} ({error.strerror}); name a folder you may write to"
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        for path in made:
            with suppress(OSError):
                path.rmdir()
