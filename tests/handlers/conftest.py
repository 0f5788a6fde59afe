"""A mean-teacher training in miniature: items, a scripted teacher and a plain MONAI trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from lesion_app.data.batches import prepare_student_batch, sum_losses
from transforms.view import View


class ScriptedDetector(nn.Module):
    """Follows torchvision's protocol; says in evaluation what it is told to, and has one weight to train."""

    def __init__(self, said: Sequence[dict[str, Tensor]] = (), weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.said = list(said)
        self.calls: list[str] = []
        self.targets: Any = None

    def forward(self, slabs: list[Tensor], targets: Any = None) -> Any:
        self.calls.append("train" if self.training else "eval")
        if self.training:
            self.targets = targets
            return {"loss_weight": self.weight.sum() * 1.0}
        return [{k: v.clone() for k, v in said.items()} for said in self.said[: len(slabs)]]


def detections(*rows: tuple[float, float, float, float, float]) -> dict[str, Tensor]:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": torch.ones(len(table), dtype=torch.int64)}


def make_item(boxes: Sequence[Sequence[float]] = ((10, 10, 20, 20),), size: int = 64, **more: Any) -> dict[str, Any]:
    """One training item in the teacher's view, half the original's pixels with the first 4 columns cropped."""
    rng = torch.Generator().manual_seed(size)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "image": torch.rand(9, size, size, generator=rng) * 255,
        "boxes": tensor,
        "labels": torch.ones(len(tensor), dtype=torch.int64),
        "ignore": torch.zeros(0, 4),
        "view": View(0.5, 0.5, -4.0, 0.0),
        "spacing_mm": (1.6, 1.6, 2.0),
        **more,
    }


@pytest.fixture
def scripted() -> Callable[..., ScriptedDetector]:
    """``scripted(said, weight)``: see :class:`ScriptedDetector`."""
    return ScriptedDetector


@pytest.fixture
def said() -> Callable[..., dict[str, Tensor]]:
    """``said((x1, y1, x2, y2, score), ...)``: a detector's answer for one image."""
    return detections


@pytest.fixture
def item() -> Callable[..., dict[str, Any]]:
    """``item(boxes, size, **more)``: see :func:`make_item`."""
    return make_item


@pytest.fixture
def trainer() -> Callable[..., SupervisedTrainer]:
    """``trainer(network, batches, handlers, ...)``: a plain MONAI trainer on the CPU, SGD without momentum."""

    def make(
        network: nn.Module,
        batches: Iterable[list[dict[str, Any]]],
        handlers: Sequence[Any] = (),
        *,
        epochs: int = 1,
        epoch_length: int | None = None,
        learning_rate: float = 0.1,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> SupervisedTrainer:
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            epoch_length=epoch_length,
            train_data_loader=batches,
            network=network,
            optimizer=optimizer or torch.optim.SGD(network.parameters(), lr=learning_rate),
            loss_function=sum_losses,
            prepare_batch=prepare_student_batch,
            decollate=False,
            train_handlers=list(handlers),
        )

    return make
