"""Which CT series suits lesion detection, and which of two suits it better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lesion_app.clinical.series_kernel import SHARP, SOFT_TISSUE, UNKNOWN, kernel_kind
from transforms.dicom_kind import words
from transforms.dicom_slice import MULTI_FRAME, frame_value, named
from transforms.dicom_study import DicomSeries

MIN_SLICES = 3
MAX_OBLIQUE_DEGREES = 30.0
SPACING_MM = (1.0, 5.0)  # most of DeepLesion, and what slabs at 2 mm can be cut from
SPACING_TOLERANCE_MM = 0.05
REFORMATS = ("MPR", "REFORMATTED", "CPR", "MIP", "MINIP", "PROJECTION", "VRT", "SSD", "3D", "VOLREN", "RENDERED")
NO_CONTRAST = ("", "NONE", "NO", "OFF", "0")


@dataclass(frozen=True)
class SeriesTraits:
    """What a CT series is ranked by.

    Args:
        uid: SeriesInstanceUID.
        number: SeriesNumber; a large one when missing.
        original: pixels are as reconstructed (ImageType value 1).
        secondary: made after the examination (ImageType value 2).
        reformat: word of ImageType that names a reformat, "" without.
        kernel: ConvolutionKernel, "" when missing.
        contrast: a contrast agent is named.
        slices: number of them.
        oblique_degrees: angle between the slices' normal and the patient's long axis; None without orientation.
        spacing_mm: median distance of neighbouring slices, 0 when unknown.
        length_mm: from first to last slice along the normal.
    """

    uid: str
    number: int
    original: bool
    secondary: bool
    reformat: str
    kernel: str
    contrast: bool
    slices: int
    oblique_degrees: float | None
    spacing_mm: float
    length_mm: float

    @property
    def kernel_kind(self) -> str:
        """See `kernel_kind`."""
        return kernel_kind(self.kernel)

    @property
    def spacing_in_range(self) -> bool:
        """Whether slices lie 1 to 5 mm apart."""
        low, high = SPACING_MM
        return low - SPACING_TOLERANCE_MM <= self.spacing_mm <= high + SPACING_TOLERANCE_MM

    def unfit(self) -> str | None:
        """Why the series is not looked at at all, said of one of its files; or None."""
        if self.reformat or self.secondary:
            what = f"a reformat ({self.reformat})" if self.reformat else "made after the examination (SECONDARY)"
            return f"is {what} by {named('ImageType')}"
        if self.slices < MIN_SLICES:
            return f"is one of too few slices ({self.slices}) of its {named('SeriesInstanceUID')}"
        if self.oblique_degrees is not None and self.oblique_degrees > MAX_OBLIQUE_DEGREES:
            return (
                f"stands {self.oblique_degrees:.0f} degrees off axial by {named('ImageOrientationPatient')}, more than "
                f"{MAX_OBLIQUE_DEGREES:.0f}"
            )
        return None

    def merits(self, longest_mm: float) -> list[tuple[str, float]]:
        """(criterion, value) in the order in which they decide; more is better.

        Args:
            longest_mm: length of the longest series among the candidates.
        """
        low, _ = SPACING_MM
        kernels = {SOFT_TISSUE: 2.0, UNKNOWN: 1.0, SHARP: 0.0}
        thin = self.spacing_mm < low
        return [
            ("covering at least half of the longest series", float(self.length_mm >= longest_mm / 2)),
            ("ORIGINAL pixels", float(self.original)),
            ("soft-tissue kernel", kernels[self.kernel_kind]),
            ("slices 1 to 5 mm apart", 2.0 if self.spacing_in_range else float(thin)),
            ("contrast agent", float(self.contrast)),
            ("coverage in cm", float(np.rint(self.length_mm / 10))),
            ("number of slices", float(self.slices)),
            ("lower series number", -float(self.number)),
        ]

    def told(self) -> str:
        """The traits in words, for one line."""
        return ", ".join(
            [
                f"{'original' if self.original else 'derived'} axial slices",
                f"kernel {self.kernel} ({self.kernel_kind})" if self.kernel else self.kernel_kind,
                f"{self.slices} slices {self.spacing_mm:.2f} mm apart over {self.length_mm:.0f} mm",
                "contrast agent" if self.contrast else "no contrast agent named",
            ]
        )


def traits_of(series: DicomSeries) -> SeriesTraits:
    """Traits of a series of CT slices, from its first header and all its positions."""
    header = series.header
    frame = 0 if header.get("SOPClassUID") in MULTI_FRAME else None
    image_type = words((frame is not None and frame_value(header, frame, "FrameType")) or header.get("ImageType"))
    tokens = {token for part in image_type[2:] for token in part.replace("_", " ").split()}
    placed = [one for one in series.slices if one.position is not None and one.orientation is not None]
    oblique, spacing, length = None, 0.0, 0.0
    if placed:
        directions = placed[0].orientation
        assert directions is not None
        normal = np.cross(directions[0], directions[1])
        normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
        oblique = float(np.degrees(np.arccos(min(1.0, abs(normal[2])))))
        along = np.unique(np.round(np.array([one.position for one in placed]) @ normal, 2))
        length = float(along[-1] - along[0])
        spacing = float(np.median(np.diff(along))) if len(along) > 1 else 0.0
    return SeriesTraits(
        series.uid,
        _number(header.get("SeriesNumber")),
        bool(image_type) and image_type[0] == "ORIGINAL",
        len(image_type) > 1 and image_type[1] == "SECONDARY",
        next((word for word in REFORMATS if word in tokens), ""),
        _kernel(frame_value(header, frame, "ConvolutionKernel")),
        _contrast(header),
        len({(one.instance_uid or str(one.file), one.frame) for one in series.slices}),
        oblique,
        spacing,
        length,
    )


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 1 << 31


def _kernel(value: Any) -> str:
    """The first value's printable letters; a second one ("3") is the strength of the iterative reconstruction."""
    first = value if isinstance(value, str) or not value else value[0]
    return "".join(letter for letter in str(first or "") if letter.isprintable()).strip()[:16]


def _contrast(header: Any) -> bool:
    agent = header.get("ContrastBolusAgent")
    named_agent = str(agent if agent is not None else "").strip().upper() not in NO_CONTRAST
    return named_agent or bool(header.get("ContrastBolusAgentSequence"))
