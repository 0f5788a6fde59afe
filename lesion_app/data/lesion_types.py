"""DeepLesion's coarse lesion types."""

from __future__ import annotations

LESION_TYPES: tuple[str, ...] = (
    "bone",
    "abdomen",
    "mediastinum",
    "liver",
    "lung",
    "kidney",
    "soft tissue",
    "pelvis",
)
"""Names of types 1 to 8 (``Coarse_lesion_type`` of ``DL_info.csv``): label k is ``LESION_TYPES[k - 1]``."""
