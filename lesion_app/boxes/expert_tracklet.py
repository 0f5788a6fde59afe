"""A 3D lesion that one of several data sets' experts found."""

from __future__ import annotations

from dataclasses import dataclass

from lesion_app.boxes.tracklet import Tracklet


@dataclass(frozen=True)
class ExpertTracklet(Tracklet):
    """A lesion and the data set whose expert found it: on the key slice, where experts were fused.

    Args:
        expert: name of the data set.
    """

    expert: str = ""
