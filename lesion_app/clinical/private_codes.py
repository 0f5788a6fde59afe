"""Coded concepts of the findings that no public coding scheme has."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

SCHEME = "99LESIONAPP"

DETECTION_SCORE = Code("score", SCHEME, "Detection score (0 to 1, not a probability)")
SCORE_THRESHOLD = Code("threshold", SCHEME, "Lowest detection score reported")
LONGEST_DIAMETER = Code("key-long", SCHEME, "Longest diameter, as longer side of box on key slice")
SHORT_DIAMETER = Code("key-short", SCHEME, "Shorter side of box on key slice")
HEIGHT = Code("height", SCHEME, "Extent of 3D box across slices")
BOX_3D = Code("box-3d", SCHEME, "End face of 3D bounding box in patient coordinates")
NUMBER_FOUND = Code("count", SCHEME, "Number of lesions found")
DETECTION_RESULT = Code("result", SCHEME, "Result of lesion detection")
ABSENT = Code("2667000", "SCT", "Absent")


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Who is behind the private scheme's name, for the head of a file that uses it."""
    return [
        CodingSchemeIdentificationItem(
            designator=SCHEME, name="Private codes of lesion-app", version="1", responsible_organization="lesion-app"
        )
    ]
