"""Training on what readers answered, from the model in use."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.others.generic import device_list, name_to_device

from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import file_identity
from lesion_app.labeling.fine_tuning import HISTORY, fine_tune, publish_weights
from lesion_app.labeling.labelled_volumes import LabelledVolumes

logger = logging.getLogger("lesion_app.labeling")

_NUMBERS = {"epoch_length": int, "batch_size": int, "learning_rate": float}


class LesionTraining(TrainTask):
    """Confirmed boxes are lesions, rejected ones confirmed negatives, unanswered ones ignored.

    Each training has a folder of its own under ``runs``, with its datalist; its model becomes the current one, the
    earlier ones stay.

    Args:
        volumes: of the store.
        models, runs: folders.
        configs: overlays on the bundle's ``train.json``.
        bundle: folder of the bundle.
    """

    def __init__(self, volumes: LabelledVolumes, models: Path, runs: Path, configs: list[str], bundle: str) -> None:
        super().__init__("Train on from the current model with confirmed, rejected and unknown boxes")
        self.volumes = volumes
        self.models = models
        self.runs = runs
        self.configs = configs
        self.bundle = bundle

    def config(self) -> dict[str, Any]:
        """What a viewer offers to change; 0 is the recipe's own value."""
        return {
            "max_epochs": 5,
            "val_split": 0.2,
            "seed": 0,
            "device": device_list(),
            **dict.fromkeys(_NUMBERS, 0),
        }

    def stats(self) -> dict[str, Any]:
        """The trainings so far, newest last."""
        path = self.models / HISTORY
        return {"trainings": json.loads(path.read_text(encoding="utf-8"))} if path.is_file() else {}

    def is_valid(self) -> bool:
        """Always: the bundle can be trained."""
        return True

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Train and publish the model; returns its version and what it was trained on.

        Raises:
            InputError: about the request or the labels; the current model stays then.
        """
        values = {**self.config(), **request}
        overrides: dict[str, Any] = {"val_interval": 1, "lr_warmup_iterations": 1}
        try:
            overrides["epochs"] = _at_least_one(int(values["max_epochs"]))
            seed, split = int(values["seed"]), max(0.0, float(values["val_split"]))
            overrides |= {name: kind(values[name]) for name, kind in _NUMBERS.items() if kind(values[name]) > 0}
        except (TypeError, ValueError) as error:
            raise InputError(
                f"a training takes numbers for max_epochs (from 1), val_split, seed, {', '.join(_NUMBERS)}; mend them"
            ) from error
        out = self.runs / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        if out.exists():
            raise InputError("a training began in this very second; try again")
        datalist = out / "datalist.json"
        counts = self.volumes.write_training_datalist(datalist, split, seed)
        before = self.volumes.finder.model_version()
        logger.info("training on %s", counts)
        trained = fine_tune(
            datalist,
            self.volumes.finder.weights,
            out,
            configs=self.configs,
            bundle=self.bundle,
            device=name_to_device(values["device"]),
            overrides={**overrides, "seed": seed},
        )
        told = {"from": before, "datalist": file_identity(datalist), "run": out.name, **counts}
        return {"model": publish_weights(trained, self.models, told), **told}


def _at_least_one(number: int) -> int:
    if number < 1:
        raise ValueError("a training needs an epoch")
    return number
