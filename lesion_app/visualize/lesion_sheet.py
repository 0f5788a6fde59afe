"""Contact sheet of the lesions found in one CT: key slices, zooms, a scout view and a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesion_app.boxes.tracklet import Box2D, Tracklet
from lesion_app.visualize.axes_letters import SideLetters, side_letters
from lesion_app.visualize.ct_window import Window, body_crop, body_mask, choose_window, window_named
from lesion_app.visualize.legend import draw_legend
from lesion_app.visualize.page import Page
from lesion_app.visualize.palette import INK, MUTED, PREDICTED, PREDICTED_ELSEWHERE, RULE, TRUTH, BoxStyle
from lesion_app.visualize.scout import coronal_projection, draw_scout
from lesion_app.visualize.tile import DrawnBox, Rect, draw_boxes, show_slice, write_side_letter
from lesion_app.visualize.zoom import draw_zoom, zoom_corner

_MARGIN, _GAP, _HEAD, _CAPTION = 0.3, 0.14, 1.0, 0.26
_PANEL, _SCOUT_WIDTH, _ROW = 3.3, 2.6, 0.21
_SCOUT_HEIGHT = (0.9, 4.2)
_TILE_SHAPE = (0.4, 1.35)  # least and greatest height over width
_EMPTY_TILES = 12
_NUMBERED = 15  # lesions numbered in the scout view; more numbers would hide it


@dataclass(frozen=True)
class _Ranked:
    """A lesion and its rank by score, from 1: the number it has on the sheet and in the result file."""

    rank: int
    lesion: Tracklet


def draw_lesion_sheet(
    volume_hu: np.ndarray,
    lesions: Sequence[Tracklet],
    out: Path,
    *,
    spacing_mm: tuple[float, float, float],
    truth: Sequence[tuple[int, Box2D]] = (),
    min_score: float = 0.0,
    max_tiles: int = 24,
    window: tuple[float, float] | str = "auto",
    axes: str | None = None,
    first_slice_number: int = 0,
    title: str = "Lesions found",
) -> Path:
    """Draw the key slices of the best lesions, best first; lesions with the same key slice share a tile.

    Predicted boxes are solid with number and score, boxes of lesions whose key slice is another one are thin, truth
    is dashed. A zoom without boxes lies in a corner the body leaves free. Without lesions the sheet shows evenly
    spaced slices and says so. The picture names no patient, file or date.

    Args:
        volume_hu: [Z, H, W] HU, axial, the grid the lesions live on.
        lesions: in any order; numbered by descending score (equal scores keep their order) before ``min_score``
            is applied, as in the result file.
        out: .png, .pdf or .svg file.
        spacing_mm: (x, y, z) mm per voxel.
        truth: (slice, box) pairs, px of the same grid.
        min_score: lesions below it are left out.
        max_tiles: most slices shown, >= 1.
        window: (center, width) in HU for all tiles, or "auto": lung or soft tissue, tile by tile.
        axes: directions in which x, y, z grow ("LPS", as nibabel's axis codes), None when unknown: no side letters.
        first_slice_number: number printed for slice 0 (1 or the file number for DeepLesion's PNG slices).
        title: heading; must not name the patient.

    Returns:
        ``out``.

    Raises:
        ValueError: for a volume that is not [Z, H, W], a lesion or truth box outside its slices, or bad settings.
        InputError: when ``out`` cannot be written.
    """
    volume_hu = np.asarray(volume_hu)
    _check(volume_hu, lesions, truth, max_tiles, window)
    ranked = [_Ranked(i, x) for i, x in enumerate(sorted(lesions, key=lambda x: -x.score), start=1)]
    kept = [r for r in ranked if r.lesion.score >= min_score]
    depth = volume_hu.shape[0]
    if kept:
        slices = list(dict.fromkeys(r.lesion.key_slice for r in kept))[:max_tiles]
    else:
        count = min(max_tiles, _EMPTY_TILES, depth)
        slices = [int(z) for z in (np.arange(count) + 0.5) * depth / count]
    sheet = _Sheet(volume_hu, kept, truth, slices, spacing_mm, window, side_letters(axes), first_slice_number)
    return sheet.draw(title, min_score).save(out)


def _check(
    volume: np.ndarray,
    lesions: Sequence[Tracklet],
    truth: Sequence[tuple[int, Box2D]],
    max_tiles: int,
    window: tuple[float, float] | str,
) -> None:
    if volume.ndim != 3 or not volume.size:
        raise ValueError(f"a lesion sheet needs a volume [Z, H, W], got shape {volume.shape}")
    if max_tiles < 1:
        raise ValueError(f"max_tiles is at least 1, got {max_tiles}")
    if isinstance(window, str) and window != "auto":
        raise ValueError(f"window is (center, width) in HU or 'auto', got {window!r}")
    depth = volume.shape[0]
    slices = [z for lesion in lesions for z in lesion.slices] + [z for z, _ in truth]
    outside = [z for z in slices if not 0 <= z < depth]
    if outside:
        raise ValueError(f"slice {outside[0]} of a lesion lies outside the volume's 0..{depth - 1}")


class _Sheet:
    """Layout and drawing of one sheet; made, drawn once and thrown away."""

    def __init__(
        self,
        volume: np.ndarray,
        kept: Sequence[_Ranked],
        truth: Sequence[tuple[int, Box2D]],
        slices: Sequence[int],
        spacing_mm: tuple[float, float, float],
        window: tuple[float, float] | str,
        letters: SideLetters,
        first_slice_number: int,
    ) -> None:
        self.volume, self.kept, self.truth, self.slices = volume, kept, truth, slices
        self.spacing = spacing_mm
        self.window = None if isinstance(window, str) else window_named(window)
        self.letters, self.first = letters, first_slice_number
        self.bodies = np.stack([body_mask(volume[z]) for z in slices])
        self.crop = self._crop()
        self.aspect = spacing_mm[1] / spacing_mm[0]

        x1, y1, x2, y2 = self.crop
        self.columns, self.tile_width = _grid(len(slices))
        self.rows = -(-len(slices) // self.columns)
        # a frame taller or flatter than that gets bars, not a page without end
        self.tile_height = self.tile_width * float(np.clip((y2 - y1) * self.aspect / (x2 - x1), *_TILE_SHAPE))
        tiles = self.rows * (self.tile_height + _CAPTION + _GAP)
        scout = _SCOUT_WIDTH * (volume.shape[0] * spacing_mm[2]) / ((x2 - x1) * spacing_mm[0])
        self.scout_height = float(np.clip(scout, *_SCOUT_HEIGHT))
        list_height = 0.75 + _ROW * min(max(len(kept), 1), 8)
        self.height = _HEAD + max(tiles, _CAPTION + self.scout_height + list_height + 0.3) + 0.1
        self.panel = _MARGIN + self.columns * (self.tile_width + _GAP) + 0.3
        self.width = self.panel + _PANEL + _MARGIN

    def _crop(self) -> tuple[int, int, int, int]:
        """One crop for all tiles (same scale everywhere), never cutting through a box that is drawn."""
        crop = np.array(body_crop(self.bodies), float)
        drawn = [r.lesion.boxes[i] for r in self.kept for i, z in enumerate(r.lesion.slices) if z in self.slices]
        drawn += [box for z, box in self.truth if z in self.slices]
        if drawn:
            boxes = np.asarray(drawn)
            crop[:2] = np.minimum(crop[:2], boxes[:, :2].min(axis=0) - 3)
            crop[2:] = np.maximum(crop[2:], boxes[:, 2:].max(axis=0) + 3)
        height, width = self.volume.shape[1:]
        low, high = np.floor(crop[:2]).astype(int), np.ceil(crop[2:]).astype(int)
        return max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)

    def draw(self, title: str, min_score: float) -> Page:
        page = Page(self.width, self.height)
        page.text(_MARGIN, 0.2, title, size=15, weight="bold")
        if self.kept:
            shown = sum(r.lesion.key_slice in self.slices for r in self.kept)
            caption = f"{_count(len(self.kept), 'lesion')} with a score of {min_score:.2f} or more"
            caption += "" if shown == len(self.kept) else f", {shown} of them with their key slice among those shown"
            legend = [("found: number, score", PREDICTED)]
            if any(z in self.slices and z != r.lesion.key_slice for r in self.kept for z in r.lesion.slices):
                legend.append(("found, key slice is another", PREDICTED_ELSEWHERE))
        else:
            caption = f"No lesion found above score {min_score:.2f}: evenly spaced slices are shown"
            legend = []
        if self.truth:
            legend.append((f"truth ({_count(len(self.truth), 'box', 'boxes')})", TRUTH))
        page.text(_MARGIN, 0.56, caption, size=10, color=MUTED)
        draw_legend(page, self.panel, 0.14, legend[:1])
        draw_legend(page, self.panel, 0.39, legend[1:2])
        draw_legend(page, self.panel, 0.64, legend[2:])
        for index, z in enumerate(self.slices):
            row, column = divmod(index, self.columns)
            left = _MARGIN + column * (self.tile_width + _GAP)
            top = _HEAD + row * (self.tile_height + _CAPTION + _GAP)
            self._tile(page, left, top, z, self.bodies[index])
        self._panel(page)
        return page

    def _tile(self, page: Page, left: float, top: float, z: int, body: np.ndarray) -> None:
        here = [r for r in self.kept if z in r.lesion.slices]
        keyed = [r for r in here if r.lesion.key_slice == z]
        drawn = [_on_slice(r, z, PREDICTED, f"{r.rank}  {r.lesion.score:.2f}") for r in keyed]
        drawn += [_on_slice(r, z, PREDICTED_ELSEWHERE, str(r.rank)) for r in here if r not in keyed]
        drawn += [DrawnBox(box, TRUTH) for slice_, box in self.truth if slice_ == z]
        chosen = self._window_for(z, keyed, body)

        page.text(left, top + 0.04, f"slice {z + self.first}", size=9.5, weight="bold")
        page.text(left + self.tile_width, top + 0.05, chosen.name, size=8.5, color=MUTED, ha="right")
        axes = page.axes(left, top + _CAPTION, self.tile_width, self.tile_height)
        show_slice(axes, chosen.apply(self.volume[z]), self.crop, self.aspect)
        obstacles: list[Rect] = []
        if keyed:
            box = keyed[0].lesion.boxes[keyed[0].lesion.slices.index(z)]
            corner = zoom_corner(self.crop, self.spacing[:2], box, [d.box for d in drawn], body)
            if corner is not None:
                label = str(keyed[0].rank) if len(here) > 1 else ""
                draw_zoom(axes, chosen.apply(self.volume[z]), corner, box, self.spacing[:2], label)
                obstacles.append(corner)
        draw_boxes(axes, drawn, obstacles)
        for x, letter, align in ((0.012, self.letters.left, "left"), (0.988, self.letters.right, "right")):
            write_side_letter(axes, x, letter, align)

    def _window_for(self, z: int, keyed: Sequence[_Ranked], body: np.ndarray) -> Window:
        if self.window is not None:
            return self.window
        box = np.asarray(keyed[0].lesion.boxes[keyed[0].lesion.slices.index(z)]) if keyed else None
        return choose_window(self.volume[z], box, body, (self.spacing[0], self.spacing[1]))

    def _panel(self, page: Page) -> None:
        """Right column: the scout view with all lesions, and the list of them."""
        page.text(self.panel, _HEAD + 0.04, "Where they lie" if self.kept else "Slices shown", size=9.5, weight="bold")
        page.text(self.panel + _PANEL, _HEAD + 0.05, "coronal projection", size=8.5, color=MUTED, ha="right")
        boxes = []
        for item in self.kept:
            x1, _, z1, x2, _, z2 = item.lesion.extent
            numbered = item.rank <= _NUMBERED
            style, label = (PREDICTED, str(item.rank)) if numbered else (PREDICTED_ELSEWHERE, "")
            boxes.append(DrawnBox((x1, z1, x2, z2), style, label))
        truth = [((box[0] + box[2]) / 2, z) for z, box in self.truth]
        top = _HEAD + _CAPTION + (0.14 if self.letters.last_slice else 0.0)
        axes = page.axes(self.panel + 0.4, top, _SCOUT_WIDTH, self.scout_height)
        projection = coronal_projection(self.volume)
        draw_scout(axes, projection, (self.crop[0], self.crop[2]), boxes, truth, self.slices, self.letters, self.first)
        if self.kept:
            self._list(page, top + self.scout_height + 0.35)

    def _list(self, page: Page, top: float) -> None:
        columns = {"no.": 0.3, "score": 0.85, "key slice": 1.6, "size (mm)": _PANEL}
        for name, right in columns.items():
            page.text(self.panel + right, top, name, size=8.5, color=MUTED, ha="right")
        rule = page.axes(self.panel, top + 0.2, _PANEL, 0.01)
        rule.axis("off")
        rule.axhline(0.5, color=RULE, linewidth=1)
        room = max(int((self.height - top - 0.3) / _ROW), 1)
        listed = self.kept if len(self.kept) <= room else self.kept[: room - 1]
        for index, item in enumerate(listed):
            x1, y1, z1, x2, y2, z2 = item.lesion.extent
            size = np.array([x2 - x1, y2 - y1, z2 - z1]) * self.spacing
            cells = (
                str(item.rank),
                f"{item.lesion.score:.2f}",
                str(item.lesion.key_slice + self.first),
                " \u00d7 ".join(f"{side:.0f}" for side in size),
            )
            for right, cell in zip(columns.values(), cells):
                page.text(self.panel + right, top + 0.25 + _ROW * index, cell, size=9, color=INK, ha="right")
        if len(listed) < len(self.kept):
            rest = f"and {len(self.kept) - len(listed)} more"
            page.text(self.panel + 0.3, top + 0.25 + _ROW * len(listed), rest, size=9, color=MUTED)


def _grid(count: int) -> tuple[int, float]:
    """Columns and tile width in inches for ``count`` tiles."""
    for most, columns, width in ((1, 1, 7.0), (2, 2, 5.6), (4, 2, 4.6), (6, 3, 4.2), (12, 4, 3.5), (15, 5, 3.0)):
        if count <= most:
            return columns, width
    return 6, 2.75


def _on_slice(item: _Ranked, z: int, style: BoxStyle, label: str) -> DrawnBox:
    return DrawnBox(item.lesion.boxes[item.lesion.slices.index(z)], style, label)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
