"""Side letters (R, L, A, P, H, F) for the edges of pictures, told from the directions of the voxel axes."""

from __future__ import annotations

from dataclasses import dataclass

_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
_SHOWN = {"S": "H", "I": "F"}  # radiologists read head and feet


@dataclass(frozen=True)
class SideLetters:
    """Letters at the edges of axial and coronal pictures; all empty when the orientation is unknown.

    ``first_slice_on_top`` is False when slices run from the feet to the head.
    """

    left: str = ""
    right: str = ""
    first_slice: str = ""
    last_slice: str = ""
    first_slice_on_top: bool = True


def side_letters(axes: str | None) -> SideLetters:
    """Letters for a volume whose x, y, z indices grow towards the three directions of ``axes``.

    Args:
        axes: such as "LPS" (x to the patient's left, y to the back, z to the head), as in
            ``nibabel.orientations.aff2axcodes``; None when unknown.

    Raises:
        ValueError: when the three letters do not name three different axes of the body, or z runs neither to the
            head nor to the feet.
    """
    if axes is None:
        return SideLetters()
    pairs = {frozenset((letter, _OPPOSITE.get(letter, ""))) for letter in axes}
    if len(axes) != 3 or len(pairs) != 3 or not all(letter in _OPPOSITE for letter in axes) or axes[2] not in "SI":
        raise ValueError(f"axes are three letters such as 'LPS' with S or I last, got {axes!r}")
    x, z = axes[0], axes[2]
    return SideLetters(
        left=_OPPOSITE[x],
        right=x,
        first_slice=_SHOWN[_OPPOSITE[z]],
        last_slice=_SHOWN[z],
        first_slice_on_top=z == "I",
    )
