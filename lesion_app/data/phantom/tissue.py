"""What the phantom is made of: the names a lesion's host is looked up by."""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """Tissue of a solid; the placement of lesions reads a map of these."""

    AIR = 0
    SUBCUTANEOUS_FAT = 1
    MUSCLE = 2
    ABDOMINAL_FAT = 3
    MEDIASTINAL_FAT = 4
    PELVIC_FAT = 5
    BONE = 6
    LUNG = 7
    LIVER = 8
    KIDNEY = 9
    SPLEEN = 10
    VESSEL = 11
    BOWEL = 12
    OTHER_ORGAN = 13
