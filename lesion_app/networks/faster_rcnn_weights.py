"""Pretrained weights for torchvision's Faster R-CNN: COCO's detector, ImageNet's backbone, or a state dict on disk."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_weight
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from lesion_app.errors import InputError
from lesion_app.networks.checkpoint import read_checkpoint

_PREDICTOR = "roi_heads.box_predictor."


def load_pretrained(detector: nn.Module, weights: str | Path, backbone: str) -> None:
    """Load ``weights`` into a Faster R-CNN with torchvision's names, in place.

    Args:
        detector: to load into; its parts are ``backbone.body``, ``backbone.fpn``, ``rpn`` and ``roi_heads``.
        weights: ``coco`` (torchvision's ``FasterRCNN_ResNet50_FPN_Weights.COCO_V1``), ``imagenet`` (the backbone's
            ``IMAGENET1K_V1``), or the path of a state dict, of this class or of torchvision's.
        backbone: name of the ResNet.

    The box predictor of a state dict with another number of classes is left out: it starts as it was drawn.

    Raises:
        InputError: when weights are neither cached nor downloadable, cannot be read, or do not fit.
    """
    if weights == "coco":
        if backbone != "resnet50":
            raise InputError(
                f"COCO weights were asked for with {backbone}, but torchvision has them for resnet50 only; take that "
                "backbone, or weights 'imagenet', or a state dict of your own"
            )
        load_detector_state(detector, fetch(FasterRCNN_ResNet50_FPN_Weights.COCO_V1), "the COCO weights")
    elif weights == "imagenet":
        name = backbone.replace("resnet", "ResNet")
        state = fetch(get_weight(f"{name}_Weights.IMAGENET1K_V1"))
        body = {f"backbone.body.{k}": v for k, v in state.items() if not k.startswith("fc.")}
        load_detector_state(detector, body, "the ImageNet weights", part="backbone.body.")
    else:
        load_detector_state(detector, read_checkpoint(Path(weights)), str(weights))


def fetch(weights: WeightsEnum) -> dict[str, Tensor]:
    """torchvision's state dict, from its cache or the internet, its hash checked.

    Raises:
        InputError: when it is neither cached nor downloadable.
    """
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"the weights {weights} could not be loaded ({type(error).__name__}); connect to the internet once, or put "
            f"{weights.url.rsplit('/', 1)[-1]} into torch's hub checkpoint folder ($TORCH_HOME/hub/checkpoints), or "
            "train from scratch with weights null"
        ) from error


def load_detector_state(detector: nn.Module, state: dict[str, Tensor], source: str, part: str = "") -> None:
    """Load a state dict with torchvision's names into ``detector``, in place.

    Names of torchvision before 0.13 are known, as are weights with or without counters of batches in their
    normalisation. The box predictor is left out where its shapes differ.

    Args:
        detector: to load into.
        state: tensors by name.
        source: names it in the error.
        part: what ``state`` covers, by the beginning of the names; all by default.

    Raises:
        InputError: when other tensors are missing, unknown or of another shape; ``detector`` is unchanged then.
    """
    own = detector.state_dict()
    predictor = [k for k in own if k.startswith(_PREDICTOR)]
    other_classes = any(k not in state or state[k].shape != own[k].shape for k in predictor)
    given = {k: v for k, v in state.items() if not (other_classes and k.startswith(_PREDICTOR))}
    renamed = {_new_name(k, own): v for k, v in given.items()}
    optional = {k for k in own if k.endswith("num_batches_tracked") or not k.startswith(part)}
    optional |= set(predictor) if other_classes else set()
    missing = [k for k in own if k not in renamed and k not in optional]
    surplus = [k for k in renamed if k not in own and not k.endswith("num_batches_tracked")]
    shapes = [k for k in own if k in renamed and getattr(renamed[k], "shape", None) != own[k].shape]
    if missing or surplus or shapes:
        first = (missing + shapes + surplus)[0]
        raise InputError(
            f"{source} do not fit this detector: of {len(own)} tensors {len(missing)} are missing, {len(shapes)} "
            f"differ in shape and {len(surplus)} are unknown (first: {first}); expected those of a Faster R-CNN with "
            "the same backbone, pyramid and anchors"
        )
    detector.load_state_dict({k: renamed.get(k, v) for k, v in own.items()})


def _new_name(name: str, own: dict[str, Tensor]) -> str:
    """The name since torchvision 0.13, when pyramid and RPN convolutions became blocks."""
    if name in own:
        return name
    stem, _, kind = name.rpartition(".")
    return next((new for new in (f"{stem}.0.{kind}", f"{stem}.0.0.{kind}") if new in own), name)
