"""The next volume to label."""

from __future__ import annotations

import time
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from lesion_app.labeling.labelled_volumes import LabelledVolumes, most_suspected


class MostSuspected(Strategy):
    """Offers the volume where most lesions are suspected that no reader has answered, labelled or not.

    A volume whose label is ``complete`` is not offered; one that was offered of late comes after the others, so that
    two readers do not get the same.

    Args:
        volumes: of the store.
        cooldown_s: for how long a volume counts as offered of late.
    """

    def __init__(self, volumes: LabelledVolumes, cooldown_s: float = 300.0) -> None:
        super().__init__("Volume with the most suspected but unlabelled lesions")
        self.volumes = volumes
        self.cooldown_s = cooldown_s

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Id and ``missing_score``; None when nothing is left to do."""
        now = time.time()
        images = datastore.list_images()
        served = {}
        for image_id in images:
            told = datastore.get_image_info(image_id).get("strategy", {}).get(request["strategy"], {})
            if now - float(told.get("ts", 0)) < self.cooldown_s:
                served[image_id] = float(told["ts"])
        chosen = most_suspected(self.volumes, served, images)
        if chosen is None:
            return None
        datastore.get_image_uri(chosen)  # fetched now where it lies in a PACS, so that its info can be kept
        return {"id": chosen, "missing_score": datastore.get_image_info(chosen).get("missing_score", 0.0)}
