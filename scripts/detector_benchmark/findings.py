"""Whether the paper's findings hold here: each one a comparison of rows, the paper's numbers and ours side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detector_benchmark.rows import Row

Mean = Callable[[str, str], "float | None"]
LEARNT_NOTHING = 0.1
OVER_FITTED = 2.0


@dataclass(frozen=True)
class Finding:
    """One finding.

    ``holds`` is None where nothing can be said: a row it needs is missing, or a gain was asked for and the two rows
    are ``close`` (within `LEVEL`).
    """

    claim: str
    paper: str
    here: str
    holds: bool | None
    close: bool = False


def findings(results: Mapping[tuple[str, int], Mapping[str, Any]], rows: Mapping[str, Row]) -> list[Finding]:
    """Compare the rows that are done.

    Args:
        results: by (row, seed): ``{"test": summary, "training": summary}``, figures as fractions.
        rows: by name.
    """
    # YOLOv4 is set against the Faster R-CNN that starts from as much as it does.
    peer = "frcnn-coco" if rows["yolov4-816"].pretrained else "frcnn-scratch"

    def mean(row: str, split: str) -> float | None:
        values = [r[split]["map11"] or 0.0 for (name, _), r in results.items() if name == row]
        return statistics.fmean(values) if values else None

    return [
        _sgd(mean),
        _over_fitting(mean),
        _faster_sgd(mean),
        *(_gain(mean, *comparison) for comparison in _GAINS),
        _gain(mean, "YOLOv4 is level with Faster R-CNN", peer, "yolov4-816", "19 to 20 %"),
    ]


_GAINS = (
    ("balanced batches help", "frcnn-coco-unbalanced", "frcnn-coco", "12 to 19 %"),
    ("COCO's weights help", "frcnn-scratch", "frcnn-coco", "15 to 19 %"),
    ("augmentation changes little on the test set", "frcnn-coco", "frcnn-coco-augmented", "19 to 19 %"),
    ("a finer YOLOv4 is better", "yolov4-416", "yolov4-816", "18 to 20 %"),
    ("three slices are better than one (2.5D)", "ours-1", "ours-3", "not in the paper"),
    ("nine slices are better than one (2.5D)", "ours-1", "ours-9", "not in the paper"),
)
LEVEL = 0.02
"""Mean mAPs so close are level; a gain that small is not called one."""
_LEVEL_CLAIMS = ("changes little", "is level with")


def _sgd(mean: Mean) -> Finding:
    pairs = [("frcnn-scratch-sgd", "frcnn-scratch"), ("frcnn-coco-sgd", "frcnn-coco")]
    values = [(mean(a, "test"), mean(b, "test")) for a, b in pairs]
    holds, shown = None, "-"
    known = [(a, b) for a, b in values if a is not None and b is not None]
    if len(known) == len(pairs):
        holds = all(a <= LEARNT_NOTHING * b for a, b in known) and all(b > 0 for _, b in known)
        shown = "; ".join(f"{100 * a:.1f} % against {100 * b:.1f} % with Adam" for a, b in known)
    return Finding(
        f"SGD at a fifth of Adam's rate learns nothing (mAP at most {LEARNT_NOTHING:g} of Adam's)",
        "0 % against 15 and 19 %",
        shown,
        holds,
    )


def _faster_sgd(mean: Mean) -> Finding:
    fast, slow, adam = (mean(r, "test") for r in ("frcnn-coco-sgd-faster", "frcnn-coco-sgd", "frcnn-coco"))
    if fast is None or slow is None or adam is None:
        return Finding("it is the learning rate, not SGD", "not in the paper", "-", None)
    return Finding(
        "it is the learning rate, not SGD (100 x the rate reaches half of Adam's mAP)",
        "not in the paper",
        f"{100 * slow:.1f} % at the paper's ratio, {100 * fast:.1f} % at 100 x, {100 * adam:.1f} % with Adam",
        fast >= 0.5 * adam and adam > 0,
    )


def _over_fitting(mean: Mean) -> Finding:
    rows = ("frcnn-coco-unbalanced", "frcnn-scratch", "frcnn-coco", "frcnn-coco-augmented")
    values = [(mean(r, "training"), mean(r, "test")) for r in rows]
    known = [(a, b) for a, b in values if a is not None and b is not None]
    shown, holds = "-", None
    if len(known) == len(rows):
        shown = ", ".join(f"{100 * a:.0f} / {100 * b:.0f}" for a, b in known) + " %"
        holds = all(a >= OVER_FITTED * b and a > 0 for a, b in known)
    return Finding(
        f"every Adam row over-fits (training mAP at least {OVER_FITTED:g} times the test's; train / test)",
        "38 / 12, 65 / 15, 79 / 19, 49 / 19 %",
        shown,
        holds,
    )


def _gain(mean: Mean, claim: str, before: str, after: str, paper: str) -> Finding:
    a, b = mean(before, "test"), mean(after, "test")
    if a is None or b is None:
        return Finding(claim, paper, "-", None)
    level = any(words in claim for words in _LEVEL_CLAIMS)
    close = abs(b - a) <= LEVEL
    holds = close if level else None if close else b > a
    return Finding(claim, paper, f"{100 * a:.1f} to {100 * b:.1f} %", holds, close)
