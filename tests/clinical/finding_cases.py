"""What the tests of the findings write: CT series of many kinds, lesions planted in them, and every form."""

from __future__ import annotations

ALL_FORMS = ("sr", "seg", "key_images", "gsps")
OBLIQUE = (0.9396926, 0.0, -0.3420201, 0.1169778, 0.9396926, 0.3213938)
CASES = {
    "ascending": {},
    "descending": {"step": -2.5},
    "feet first": {"orientation": (-1, 0, 0, 0, 1, 0), "step": 1.5},
    "prone": {"orientation": (-1, 0, 0, 0, -1, 0)},
    "turned in plane": {"orientation": (0, 1, 0, -1, 0, 0), "pixel": (0.6, 1.1)},
    "oblique": {"orientation": OBLIQUE, "step": 2.0},
    "oblique descending": {"orientation": OBLIQUE, "step": -2.0},
    "enhanced": {"multi_frame": True},
    "enhanced descending": {"multi_frame": True, "step": -2.0},
}
PLANTED = [(5, 7, 2, 17, 12, 5), (20.25, 3.5, 7, 33.75, 21.0, 8), (0, 0, 0, 9, 9, 2)]
