"""Display windows of CT slices, and where the body lies in a slice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Window(NamedTuple):
    """A display window in HU: everything below ``center - width / 2`` is black, above ``center + width / 2`` white."""

    name: str
    center: float
    width: float

    def apply(self, hu: np.ndarray) -> np.ndarray:
        """Map HU of any shape to grey uint8 of the same shape."""
        low = self.center - self.width / 2
        return np.round(np.clip((np.asarray(hu, np.float32) - low) / self.width, 0, 1) * 255).astype(np.uint8)


SOFT_TISSUE = Window("soft tissue", 50, 400)
LUNG = Window("lung", -600, 1500)

_TISSUE_HU = -400  # between air-filled lung and fat
_AERATED_HU = -500
_OUTSIDE_AIR_HU = -930  # lung cut by a small field of view also touches the border, but is denser than this
_BARE_AIR_HU = -970
_LUNG_SHARE = 0.35  # a nodule on the pleura has chest wall on half of its surroundings
_LUNG_SHARE_OF_BODY = 0.2
_MARGIN_MM = 10.0


def window_named(window: tuple[float, float]) -> Window:
    """The window of a (center, width) pair in HU; the two standard ones keep their names.

    Raises:
        ValueError: when the width is not positive.
    """
    center, width = float(window[0]), float(window[1])
    if not width > 0:
        raise ValueError(f"a display window needs a positive width in HU, got {width:g}")
    for standard in (SOFT_TISSUE, LUNG):
        if (center, width) == (standard.center, standard.width):
            return standard
    return Window(f"C {center:g} W {width:g}", center, width)


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Find the body in a slice, lungs and bowel gas included, the couch and the air around it left out.

    Args:
        hu: [H, W] HU.

    Returns:
        bool [H, W]; all False when there is nothing denser than air.
    """
    tissue = ndimage.binary_opening(hu > _TISSUE_HU, iterations=2)  # detaches couch and sheets
    parts, count = ndimage.label(tissue)
    if not count:
        return np.zeros(hu.shape, bool)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = (areas >= 0.1 * areas.max())[parts]  # both legs, raised arms
    gaps, _ = ndimage.label(~kept)
    border = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    border = border[border > 0]
    if not border.size:
        return np.ones(hu.shape, bool)
    corners = {int(gaps[row, column]) for row in (0, -1) for column in (0, -1)}
    outside = [part for part in border.tolist() if _is_outside(hu[gaps == part], part in corners)]
    return ~np.isin(gaps, outside)


def _is_outside(hu: np.ndarray, in_corner: bool) -> bool:
    """Whether a gap at the border of the slice is air around the patient (or the couch in it), not a lung cut off."""
    if np.median(hu) < _OUTSIDE_AIR_HU:
        return True
    # under a patient wider than the field of view lies the couch, dense foam with some bare air around it
    return in_corner and np.percentile(hu, 10) < _BARE_AIR_HU


def body_crop(masks: np.ndarray, margin: int = 6) -> tuple[int, int, int, int]:
    """Smallest (x1, y1, x2, y2) px holding the body in every mask, widened by ``margin`` px.

    Args:
        masks: bool [N, H, W].

    Returns:
        Half-open pixel box inside the image; the whole image when the masks are empty.
    """
    height, width = masks.shape[1:]
    rows = np.flatnonzero(masks.any(axis=(0, 2)))
    columns = np.flatnonzero(masks.any(axis=(0, 1)))
    if not rows.size:
        return 0, 0, width, height
    return (
        max(int(columns[0]) - margin, 0),
        max(int(rows[0]) - margin, 0),
        min(int(columns[-1]) + 1 + margin, width),
        min(int(rows[-1]) + 1 + margin, height),
    )


def choose_window(hu: np.ndarray, box: np.ndarray | None, body: np.ndarray, spacing_mm: tuple[float, float]) -> Window:
    """Lung window for a box with aerated lung around it, soft-tissue window otherwise.

    Looks at the frame of 10 mm around the box, inside the body: lung when at least 35 % of it is below -500 HU.
    Without a box the whole body decides, by 20 % of it.

    Args:
        hu: [H, W] HU.
        box: (x1, y1, x2, y2) px of the slice, or None.
        body: bool [H, W] of ``body_mask``.
        spacing_mm: (x, y) mm per px.
    """
    place = body if box is None else body & _frame(hu.shape, box, spacing_mm)
    if not place.any():
        return SOFT_TISSUE
    share = _LUNG_SHARE_OF_BODY if box is None else _LUNG_SHARE
    return LUNG if np.mean(hu[place] < _AERATED_HU) >= share else SOFT_TISSUE


def _frame(shape: tuple[int, ...], box: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Bool [H, W], True within 10 mm around the box but not in it."""
    height, width = shape
    margin = _MARGIN_MM / np.asarray(spacing_mm, float)
    x1, y1, x2, y2 = np.asarray(box, float)
    inner = np.round([x1, y1, x2, y2]).astype(int)
    outer = np.round([x1 - margin[0], y1 - margin[1], x2 + margin[0], y2 + margin[1]]).astype(int)
    inner, outer = (np.clip(b, 0, [width, height, width, height]) for b in (inner, outer))
    frame = np.zeros((height, width), bool)
    frame[outer[1] : outer[3], outer[0] : outer[2]] = True
    frame[inner[1] : inner[3], inner[0] : inner[2]] = False
    return frame
