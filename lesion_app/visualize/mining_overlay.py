"""What the teacher mined, drawn over the slice it saw (as in Fig. 3 of Bai & Xia's end-to-end mining)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesion_app.visualize.ct_window import Window, body_mask, choose_window, window_named
from lesion_app.visualize.legend import draw_legend
from lesion_app.visualize.page import Page, bare_axes
from lesion_app.visualize.palette import LABELLED, MINED, MUTED, UNLABELLED
from lesion_app.visualize.tile import DrawnBox, draw_boxes, show_slice

_DPI = 100
_HU_RANGE = (-1024.0, 3071.0)
_LONG_SIDE = 448


def draw_mining_overlay(
    image: np.ndarray,
    ground_truth: np.ndarray,
    mined: np.ndarray,
    mined_scores: np.ndarray,
    hidden_truth: np.ndarray | None = None,
    *,
    window: tuple[float, float] | str = "auto",
    spacing_mm: tuple[float, float] = (0.8, 0.8),
    scale: int | None = None,
) -> np.ndarray:
    """Draw ground truth (green), mined boxes with their scores (blue) and hidden truth (orange, dashed).

    Args:
        image: [H, W] centre slice of a slab, 0..255 standing for HU -1024..3071.
        ground_truth: [N, 4] (x1, y1, x2, y2) px of ``image``, half-open.
        mined: [M, 4] px.
        mined_scores: [M] 0..1.
        hidden_truth: [K, 4] px, lesions that the training labels leave out; None where nobody knows them.
        window: (center, width) in HU, or "auto": lung or soft tissue by the surroundings of the first box, or by
            the whole body without one.
        spacing_mm: (x, y) mm per px, used by "auto" only.
        scale: output px per image px, a whole number; by default the smallest that makes the long side 448 px or more.

    Returns:
        RGB uint8 [H * scale, W * scale, 3].

    Raises:
        ValueError: when image, boxes and scores do not fit together.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or not image.size:
        raise ValueError(f"a mining overlay needs one slice [H, W], got an array of shape {image.shape}")
    truth, found = _boxes(ground_truth, "ground_truth"), _boxes(mined, "mined")
    hidden = _boxes(hidden_truth, "hidden_truth") if hidden_truth is not None else np.zeros((0, 4))
    scores = np.asarray(mined_scores, float).reshape(-1)
    if len(scores) != len(found):
        raise ValueError(f"every mined box needs a score, got {len(found)} boxes and {len(scores)} scores")
    height, width = image.shape
    if scale is None:
        scale = max(-(-_LONG_SIDE // max(height, width)), 1)
    hu = image / 255 * (_HU_RANGE[1] - _HU_RANGE[0]) + _HU_RANGE[0]
    chosen = _window(hu, np.concatenate([truth, found, hidden]), window, spacing_mm)

    page = Page(width * scale / _DPI, height * scale / _DPI, dpi=_DPI)
    axes = page.axes(0, 0, page.width, page.height)
    show_slice(axes, chosen.apply(hu), (0, 0, width, height))
    # hidden truth last: where a mined box hits it, its dashes lie on the solid line and both are seen
    drawn = [DrawnBox(tuple(b), MINED, f"{s:.2f}") for b, s in zip(found.tolist(), scores)]
    drawn += [DrawnBox(tuple(b), LABELLED) for b in truth.tolist()]
    drawn += [DrawnBox(tuple(b), UNLABELLED) for b in hidden.tolist()]
    draw_boxes(axes, drawn)
    return page.pixels()


def draw_mining_sheet(overlays: Sequence[np.ndarray], out: Path, *, titles: Sequence[str] = ()) -> Path:
    """Put overlays of ``draw_mining_overlay`` side by side on one page with a legend.

    Args:
        overlays: RGB uint8 [h, w, 3] each, of any sizes.
        out: .png, .pdf or .svg file.
        titles: one caption an overlay, or none at all.

    Returns:
        ``out``.

    Raises:
        ValueError: when there is no overlay, or not one title an overlay.
        InputError: when ``out`` cannot be written.
    """
    if not len(overlays):
        raise ValueError("a mining sheet needs at least one overlay, got none")
    if len(titles) not in (0, len(overlays)):
        raise ValueError(f"a mining sheet needs one title an overlay, got {len(titles)} for {len(overlays)}")
    columns = min(len(overlays), 4 if len(overlays) > 6 or len(overlays) == 4 else 3)
    rows = -(-len(overlays) // columns)
    tile = 4.2 if columns <= 3 else 3.7
    tall = tile * min(max(o.shape[0] / o.shape[1] for o in overlays), 1.25)
    caption = 0.26 if titles else 0.0
    page = Page(max(0.3 + columns * (tile + 0.12) + 0.18, 6.6), 1.0 + rows * (tall + caption + 0.12) + 0.15)
    page.text(0.3, 0.2, "Lesions mined by the teacher", size=14, weight="bold")
    draw_legend(
        page,
        0.3,
        0.58,
        [("labelled lesion", LABELLED), ("mined, with its score", MINED), ("unlabelled lesion (truth)", UNLABELLED)],
    )
    for index, overlay in enumerate(overlays):
        row, column = divmod(index, columns)
        left, top = 0.3 + column * (tile + 0.12), 1.0 + row * (tall + caption + 0.12)
        if titles:
            page.text(left, top + 0.03, titles[index], size=9, color=MUTED)
        axes = page.axes(left, top + caption, tile, tall)
        axes.imshow(overlay, interpolation="hanning")
        bare_axes(axes)
    return page.save(out)


def _window(
    hu: np.ndarray, boxes: np.ndarray, window: tuple[float, float] | str, spacing_mm: tuple[float, float]
) -> Window:
    if isinstance(window, str):
        if window != "auto":
            raise ValueError(f"window is (center, width) in HU or 'auto', got {window!r}")
        return choose_window(hu, boxes[0] if len(boxes) else None, body_mask(hu), spacing_mm)
    return window_named(window)


def _boxes(boxes: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(boxes, float)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must be [N, 4] boxes (x1, y1, x2, y2), got shape {array.shape}")
    return array
