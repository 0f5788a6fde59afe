"""What a CT's convolution kernel is made for."""

from __future__ import annotations

import re

SOFT_TISSUE = "soft tissue"
SHARP = "sharp"
UNKNOWN = "unknown kernel"

# Siemens: B40f, Br36d, Bl57, I31f, Qr40, H30s; the number is the sharpness, 10..48 soft, from 50 lung and bone.
SIEMENS = re.compile(r"^[BDIHJQTUS][A-Z]?(\d\d)")
SIEMENS_SHARP_FROM = 50
# Canon/Toshiba: FC01-FC19 body, FC20-FC29 head, FC30 and above bone, lung and high resolution; FL is lung.
CANON = re.compile(r"^FC?(\d\d)")
CANON_SHARP_FROM = 30
WORDS = {
    # GE
    **dict.fromkeys(("STANDARD", "STND", "STD", "STD+", "SOFT"), SOFT_TISSUE),
    **dict.fromkeys(("DETAIL", "LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "CHST"), SHARP),
    # Philips
    **dict.fromkeys(("A", "B", "C", "UA", "UB", "SA", "SB"), SOFT_TISSUE),
    **dict.fromkeys(("D", "E", "L", "YA", "YB", "YC", "YD", "YE"), SHARP),
}


def kernel_kind(kernel: str) -> str:
    """`SOFT_TISSUE`, `SHARP` (lung, bone, edges) or `UNKNOWN`, from the vendors' names for ConvolutionKernel.

    The names are the vendors' own (DICOM defines none); one that is not known is not guessed at.
    """
    name = kernel.strip().upper()
    if name in WORDS:
        return WORDS[name]
    for pattern, sharp_from in ((CANON, CANON_SHARP_FROM), (SIEMENS, SIEMENS_SHARP_FROM)):
        if match := pattern.match(name):
            return SHARP if int(match[1]) >= sharp_from else SOFT_TISSUE
    return SHARP if name.startswith(("LUNG", "BONE", "FL")) else UNKNOWN
