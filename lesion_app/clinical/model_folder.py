"""Which network a folder of models holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lesion_app.errors import InputError

WEIGHTS = "model.pt"
_EXPECTED = f"expected {WEIGHTS}, a packed bundle (configs/ and models/{WEIGHTS}), or one sub-folder with either"


@dataclass(frozen=True)
class ModelFolder:
    """Weights and the bundle whose inference config describes their network.

    ``bundle`` None is the installed bundle (:func:`lesion_app.bundle_run.find_bundle`); ``weights`` None is the
    bundle's own ``models/model.pt``.
    """

    weights: Path | None = None
    bundle: Path | None = None


def find_model(models: str | Path | None) -> ModelFolder:
    """The model in ``models``: a file of weights, a folder with ``model.pt``, or a packed bundle.

    MONAI Deploy keeps one model a sub-folder, so a folder that is neither may hold one sub-folder that is. Hidden
    entries are passed over. None means the installed bundle with its own weights.

    Raises:
        InputError: when there is no model, or more than one.
    """
    if models is None:
        return ModelFolder()
    path = Path(models).absolute()
    if path.is_file():
        return ModelFolder(weights=path)
    if not path.is_dir():
        raise InputError(f"the model folder {models} does not exist; {_EXPECTED}")
    found = _model_in(path)
    if found is not None:
        return found
    inner = {
        folder.name: model
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".") and (model := _model_in(folder)) is not None
    }
    if len(inner) != 1:
        told = f"{len(inner)} models ({', '.join(inner)})" if inner else "no model"
        raise InputError(f"the model folder {models} holds {told}; {_EXPECTED}")
    return next(iter(inner.values()))


def _model_in(folder: Path) -> ModelFolder | None:
    packed = folder / "models" / WEIGHTS
    if (folder / "configs" / "inference.json").is_file() and packed.is_file():
        return ModelFolder(weights=packed, bundle=folder)
    return ModelFolder(weights=folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None
