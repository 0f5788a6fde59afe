"""The bundle's inference config kept in memory: find the lesions of one CT after another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lesion_app.bundle_run import config_paths, find_bundle
from lesion_app.config_errors import explain
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import config_identity, lesions_document, model_identity
from lesion_app.labeling.roi_markups import LESION, LesionRoi


class VolumeFinder:
    """Finds lesions as ``lesion-app detect`` does, but reads configs and weights once.

    Weights that have changed on disk are read anew before the next CT. One CT is looked at at a time.

    Args:
        weights: state dict.
        configs: overlays on the bundle's ``inference.json``, by name or file.
        bundle: see :func:`lesion_app.bundle_run.find_bundle`.

    Raises:
        InputError: no such config; the weights are only read when a CT is given.
    """

    def __init__(self, weights: Path, configs: Sequence[str | Path] = (), bundle: str | Path | None = None) -> None:
        self.weights = Path(weights)
        self._root = find_bundle(bundle)
        self._files = config_paths(self._root, ["inference.json", *configs])
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[str, int], dict[str, Any]] | None = None
        parser = self._parser("cpu")
        names = parser.get("class_names") or [LESION]
        self.type_names: list[str] = [str(name) for name in names]
        self.min_score = float(parser.get("min_score", 0.1))
        self.network_name = str(parser["writer#model#network"])

    def find(self, ct: Path, min_score: float | None = None, device: str = "cpu") -> dict[str, Any]:
        """The content of ``lesions.json`` (``bundle/docs/lesions_json.md``) for one CT.

        Args:
            ct: what ``transforms.open_ct`` reads.
            min_score: lowest score told, 0..1; None = the config's.
            device: torch device.

        Raises:
            InputError: about the CT, the score, the weights or the device.
        """
        lowest = self.min_score if min_score is None else float(min_score)
        if not 0 <= lowest <= 1:
            raise InputError(f"the lowest score to tell must lie in 0..1, got {lowest}")
        device = str(usable_device(device))
        with self._lock:
            parts = self._parts(device)
            try:
                item = parts["preprocessing"]({"image": str(ct)})
                lesions = parts["inferer"]([item], parts["network"])[0]
            except Exception as error:
                mistake = explain(error)
                if mistake is None or mistake is error:
                    raise
                raise mistake from error
        source = item["source"]
        return lesions_document(
            [lesion for lesion in lesions if lesion.score >= lowest],
            item["geometry"],
            model=parts["model"],
            config=parts["config"],
            source={"kind": source.source_kind, "name": Path(ct).name, "series_uid": source.series_uid},
            score_threshold=lowest,
        )

    def rois(self, document: dict[str, Any]) -> list[LesionRoi]:
        """The lesions of :meth:`find` as boxes with scores and the names of their types, best first."""
        return [
            LesionRoi(tuple(entry["box_lps_mm"]), self.type_name(entry["label"]), entry["score"])  # type: ignore[arg-type]
            for entry in document["lesions"]
        ]

    def type_name(self, label: int) -> str:
        """Name of a class, 1 = the first; one that the config does not name is told by its number."""
        return self.type_names[label - 1] if 1 <= label <= len(self.type_names) else f"type {label}"

    def label_of(self, type_name: str) -> int:
        """Class of a name, 1 when it is unknown."""
        return self.type_names.index(type_name) + 1 if type_name in self.type_names else 1

    def model_version(self) -> str:
        """SHA-256 of the weights; InputError when they cannot be read."""
        return model_identity(self.network_name, self.weights)["sha256"]

    def _parts(self, device: str) -> dict[str, Any]:
        try:
            changed = self.weights.stat().st_mtime_ns
        except OSError as error:
            raise InputError(
                f"there are no weights at {self.weights.name}; train a model first, or name its file with --weights"
            ) from error
        if self._loaded is None or self._loaded[0] != (device, changed):
            self._loaded = None  # before the next network is made, so that memory holds one
            parser = self._parser(device)
            try:
                parts = {
                    "preprocessing": parser.get_parsed_content("preprocessing"),
                    "inferer": parser.get_parsed_content("inferer"),
                    "network": parser.get_parsed_content("prepared_network"),
                }
            except Exception as error:
                mistake = explain(error)
                if mistake is None or mistake is error:
                    raise
                raise mistake from error
            parts["model"] = model_identity(self.network_name, self.weights)
            parts["config"] = config_identity(self._files)
            self._loaded = ((device, changed), parts)
        return self._loaded[1]

    def _parser(self, device: str) -> Any:
        from monai.bundle import ConfigParser

        parser = ConfigParser(ConfigParser.load_config_files(self._files))
        parser.update(
            {
                "bundle_root": str(self._root),
                "weights": str(self.weights.absolute()),
                "device": f"$torch.device('{device}')",
                "progress": False,
            }
        )
        return parser


def usable_device(name: str) -> torch.device:
    """The torch device of a name that a request gave; InputError when there is none like it here."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError("there is no such device here; use cpu, or a GPU like cuda:0 that torch can see") from error
    return device
