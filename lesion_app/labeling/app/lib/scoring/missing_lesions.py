"""How many lesions of each volume are expected to lack a label."""

from __future__ import annotations

import logging
from typing import Any

from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.utils.others.generic import name_to_device

from lesion_app.errors import InputError
from lesion_app.labeling.labelled_volumes import LabelledVolumes

logger = logging.getLogger("lesion_app.labeling")


class MissingLesionScoring(ScoringMethod):
    """Looks at volumes with the current model and sums the scores of what no reader answered.

    The sum goes into the image's info as ``missing_score``. Volumes that the current model has looked at are not looked
    at again, complete ones never.

    Args:
        volumes: of the store.
        at_most: volumes looked at in one run; a PACS has more than anybody wants to fetch at once.
    """

    def __init__(self, volumes: LabelledVolumes, at_most: int = 20) -> None:
        super().__init__("Number of lesions expected to lack a label")
        self.volumes = volumes
        self.at_most = at_most

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, float]:
        """Scores by image; ``max_images`` and ``device`` may be given."""
        left = int(request.get("max_images", self.at_most))
        device = name_to_device(request.get("device"))
        version = self.volumes.finder.model_version()
        scores: dict[str, float] = {}
        for image_id in sorted(datastore.list_images()):
            if self.volumes.is_complete(image_id):
                continue
            known = datastore.get_label_info(image_id, "finds").get("model") == version
            if not known:
                if left <= 0:
                    continue
                left -= 1
            try:
                self.volumes.look(image_id, device=device)
            except InputError as error:
                logger.warning("a volume could not be looked at and is left out: %s", error)
                continue
            scores[image_id] = float(datastore.get_image_info(image_id).get("missing_score") or 0.0)
        logger.info("%d volumes scored", len(scores))
        return scores
