"""The teacher as an exponential moving average of its student."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

BufferRule = Literal["average", "copy"]


def warmed_up_decay(decay: float, updates: int, warmup: bool) -> float:
    """Decay of update number ``updates`` (0-based).

    With ``warmup`` it is ``min(decay, (1 + n) / (10 + n))`` as in TensorFlow's ExponentialMovingAverage, so
    that the teacher leaves the random start in a few steps; ours, the paper states a constant 0.999.
    """
    return min(decay, (1 + updates) / (10 + updates)) if warmup else decay


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, decay: float, buffers: BufferRule = "average") -> None:
    """Move the teacher towards the student: ``t <- decay * t + (1 - decay) * s``, in place.

    Args:
        teacher, student: networks of the same structure.
        decay: in [0, 1); the paper's EMA momentum 0.999.
        buffers: ``average`` treats floating-point buffers (BatchNorm's running statistics) like
            parameters, since averaged weights need statistics of the same age; ``copy`` takes the
            student's. Integer buffers are always copied, never shared.

    Raises:
        ValueError: when the two differ in structure, or on an unknown rule.
    """
    if buffers not in ("average", "copy"):
        raise ValueError(f"buffers must be 'average' or 'copy', got {buffers!r}")
    averaged = _paired(teacher.parameters(), student.parameters())
    for t, s in _paired(teacher.buffers(), student.buffers()):
        if buffers == "average" and t.is_floating_point():
            averaged.append((t, s))
        else:
            t.copy_(s)
    if averaged:
        teachers, students = zip(*averaged)
        torch._foreach_lerp_(list(teachers), list(students), 1.0 - decay)


def _paired(first, second) -> list[tuple[Tensor, Tensor]]:  # type: ignore[no-untyped-def]
    left, right = [t.detach() for t in first], [t.detach() for t in second]
    if len(left) != len(right) or any(a.shape != b.shape for a, b in zip(left, right)):
        raise ValueError("teacher and student must be networks of the same structure")
    return list(zip(left, right))
