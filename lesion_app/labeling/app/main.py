"""What MONAI Label loads: one subclass of its app. Started by ``lesion-app label``, which sets ``conf``."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from lesion_app import __version__
from lesion_app.bundle_run import find_bundle
from lesion_app.errors import InputError
from lesion_app.labeling.app.lib.activelearning.most_suspected import MostSuspected
from lesion_app.labeling.app.lib.datastores.dicomweb import LesionDicomWebStore
from lesion_app.labeling.app.lib.datastores.kept_labels import KeptLabels
from lesion_app.labeling.app.lib.infers.lesion_detection import DOCUMENT, LesionDetection
from lesion_app.labeling.app.lib.infers.lesion_segments import LesionSegments
from lesion_app.labeling.app.lib.scoring.missing_lesions import MissingLesionScoring
from lesion_app.labeling.app.lib.trainers.lesion_training import LesionTraining
from lesion_app.labeling.fine_tuning import CURRENT, current_weights
from lesion_app.labeling.labelled_volumes import ORIGINAL, LabelledVolumes
from lesion_app.labeling.volume_finder import VolumeFinder

logger = logging.getLogger("lesion_app.labeling")

DETECTION, SEGMENTS = "lesion_detection", "lesion_segments"


class LesionLabelApp(MONAILabelApp):
    """Suspected lesions to confirm or reject, and training on the answers.

    Args:
        app_dir: this folder; nothing is written into it.
        studies: folder of CTs, or address of a DICOMweb server.
        conf: ``work`` (folder of models and trainings), ``bundle``, ``weights`` (first model, or empty), ``configs``
            and ``train_configs`` (JSON lists of overlays).
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.work = Path(conf.get("work") or "labeling").absolute()
        self.bundle = find_bundle(conf.get("bundle") or None)
        first = Path(conf.get("weights") or self.bundle / "models" / CURRENT)
        self.finder = VolumeFinder(first, json.loads(conf.get("configs") or "[]"), self.bundle)
        self._first = first
        self._take_newest()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="Universal lesion detection",
            description="Lesions of every type in CT that nobody has labelled yet: confirm, reject, train",
            version=__version__,
        )

    def init_datastore(self) -> Any:
        """Folder or DICOMweb; both keep every label."""
        if self.studies.startswith(("http://", "https://")):
            return self.init_remote_datastore()
        return KeptLabels(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_remote_datastore(self) -> Any:
        """The DICOMweb store. Upstream would first fetch a program from GitHub here, which nothing needs."""
        user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
        client = DICOMwebClientX(
            url=self.studies,
            session=create_session_from_user_pass(user, password) if user and password else None,
            qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
        )
        return LesionDicomWebStore(
            client=client,
            search_filter=settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER,
            cache_path=settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or str(self.work / "cache"),
            fetch_by_frame=settings.MONAI_LABEL_DICOMWEB_FETCH_BY_FRAME,
        )

    def init_infers(self) -> dict[str, Any]:
        """Boxes for 3D Slicer, and their twin for OHIF."""
        self.volumes = LabelledVolumes(self._datastore, self.finder)
        return {DETECTION: LesionDetection(self.finder), SEGMENTS: LesionSegments(self.finder)}

    def init_trainers(self) -> dict[str, Any]:
        """One, for both of them."""
        configs = json.loads(self.conf.get("train_configs") or "[]")
        return {
            DETECTION: LesionTraining(self.volumes, self.work / "models", self.work / "runs", configs, str(self.bundle))
        }

    def init_strategies(self) -> dict[str, Any]:
        """Ours first: it is what a viewer proposes."""
        return {"most_suspected": MostSuspected(self.volumes), "random": Random(), "first": First()}

    def init_scoring_methods(self) -> dict[str, Any]:
        """What our strategy reads."""
        return {"missing_lesions": MissingLesionScoring(self.volumes)}

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """As upstream, but of the store's images and of uploads only, and what was shown is remembered.

        Raises:
            InputError: an image that the store does not have.
        """
        image = request.get("image")
        known = isinstance(image, str) and image in self._datastore.list_images()
        if not known and not _is_upload(image):
            raise InputError("the store has no image of that id; ask for its list, or send the image along")
        self._take_newest()
        result = super().infer({**request, "save_label": False}, datastore)
        document = result["params"].pop(DOCUMENT, None)
        if known and document is not None:
            self.volumes.keep_finds(str(image), document, shown=True)
        if known and request.get("save_label") and result["file"]:
            told = {"model": request["model"], "params": result["params"]}
            tag = request.get("label_tag") or ORIGINAL
            result["label"] = self._datastore.save_label(image, result["file"], tag, told)
        return result

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Pre-annotation: what is found becomes each image's label ``original``, which viewers load to begin with.

        Upstream divides by the number of GPUs, so machines without one are asked for none.
        """
        if not torch.cuda.is_available():
            request = {**request, "multi_gpu": False}
        return super().batch_infer({"max_workers": 1, **request}, datastore)

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """Turn a label a reader saved into answers; what became of each box is told."""
        labels: dict[str, str] = self._datastore.get_labels_by_image_id(image_id)
        if "final" not in labels:
            return {}
        annotations = self.volumes.take_up_label(image_id)["annotations"]
        kinds = [annotation["kind"] for annotation in annotations]
        return {"answers": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}

    def scoring(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """As upstream, with the newest model."""
        self._take_newest()
        return super().scoring(request, datastore)

    def train(self, request: dict[str, Any]) -> Any:
        """As upstream, from the newest model."""
        self._take_newest()
        result = super().train(request)
        self._take_newest()
        return result

    def bundle_path(self, model: str) -> str:
        """Our bundle for every model: upstream puts this folder on the import path of trainings, and would otherwise
        take one that a request names."""
        return str(self.bundle)

    def _take_newest(self) -> None:
        """Trainings run in processes of their own; what they publish is seen here."""
        self.finder.weights = current_weights(self.work / "models", self._first)


def _is_upload(image: Any) -> bool:
    """Whether the server itself wrote this file for a request, into its own temporary folder."""
    if not isinstance(image, str):
        return False
    folder: Callable[[], str] = tempfile.gettempdir
    path = os.path.realpath(image)
    return os.path.dirname(path) == os.path.realpath(folder()) and os.path.isfile(path)
