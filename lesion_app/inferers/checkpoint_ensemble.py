"""Several checkpoints of one detector as one detector."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from lesion_app.errors import InputError
from lesion_app.inferers.pooled_views import Look, PooledViews, looks_of
from lesion_app.networks.checkpoint import load_weights


class CheckpointEnsemble(PooledViews):
    """A detector that asks several networks and merges what they found by weighted box clustering.

    Jaeger et al., "Retina U-Net", 2019, section 4.3: "testing on multiple models selected as the 5 highest scoring
    epochs". Obeys the detector protocol in evaluation. Memory grows with the number of networks.

    Args:
        networks: detectors or ensembles of them, at least one.
        iou_threshold, min_score, max_detections: see `PooledViews`.

    Raises:
        ValueError: no network.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        iou_threshold: float = 1e-5,
        min_score: float = 0.01,
        max_detections: int | None = None,
    ) -> None:
        super().__init__(iou_threshold, min_score, max_detections)
        if not networks:
            raise ValueError("an ensemble needs at least one network, got none")
        self.networks = nn.ModuleList(networks)

    @classmethod
    def from_files(
        cls,
        network: nn.Module,
        paths: Sequence[str | Path] | str | Path,
        device: str | torch.device = "cpu",
        iou_threshold: float = 1e-5,
        min_score: float = 0.01,
        max_detections: int | None = None,
    ) -> CheckpointEnsemble:
        """Copies of ``network``, one for the weights of every file.

        Args:
            network: of the architecture that was trained; it is copied.
            paths: bare state dicts, or a folder, of which every ``*.pt`` is taken.
            device: where the weights are read to.

        Raises:
            InputError: no file, one that cannot be read, or weights of another network.
        """
        if isinstance(paths, (str, Path)):
            folder = Path(paths)
            paths = sorted(folder.glob("*.pt")) if folder.is_dir() else [folder]
            if not paths:
                raise InputError(f"{folder} holds no checkpoint; expected files ending in .pt, so train first")
        members = [load_weights(deepcopy(network), Path(path), device) for path in paths]
        return cls(members, iou_threshold, min_score, max_detections)

    def looks(self) -> list[Look]:
        """The looks of every network."""
        return [look for network in self.networks for look in looks_of(network)]
