"""ImageNet weights of torchvision's DenseNet-121 for the truncated trunk."""

from __future__ import annotations

import re
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import DenseNet121_Weights

from lesion_app.errors import InputError

_OLD_LAYER_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def load_densenet121_trunk(trunk: nn.Module) -> None:
    """Load torchvision's ImageNet weights into a DenseNet-121 trunk, in place.

    The trunk's layers carry torchvision's names (``conv0``, ``denseblock1`` ...); what the weights hold
    beyond it (transition 3, block 4, classifier) is left out, what the trunk lacks is an error.

    Raises:
        InputError: when the weights are neither cached nor downloadable, or do not fit the trunk.
    """
    weights = DenseNet121_Weights.IMAGENET1K_V1
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"ImageNet weights of DenseNet-121 could not be loaded ({type(error).__name__}); connect to the "
            f"internet once, or put {weights.url.rsplit('/', 1)[-1]} into torch's hub checkpoint folder "
            "($TORCH_HOME/hub/checkpoints), or train from scratch with --pretrained False"
        ) from error
    load_trunk_state(trunk, state)


def load_trunk_state(trunk: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a torchvision DenseNet state dict (``features.*`` names, old or new style) into ``trunk``.

    Raises:
        InputError: when a tensor of the trunk is missing or has another shape.
    """
    renamed = {}
    for key, value in state.items():
        if not key.startswith("features."):
            continue
        key = key.removeprefix("features.")
        match = _OLD_LAYER_NAME.match(key)
        renamed[match.group(1) + match.group(2) if match else key] = value
    own = trunk.state_dict()
    unfit = [k for k, v in own.items() if k not in renamed or renamed[k].shape != v.shape]
    if unfit:
        raise InputError(
            f"the weights do not fit this backbone: {len(unfit)} of {len(own)} tensors are missing or differ in "
            f"shape (first: {unfit[0]}); ImageNet weights need growth_rate 32, block_config [6, 12, 24] and "
            "num_init_features 64, any other backbone pretrained: false"
        )
    trunk.load_state_dict({k: renamed[k] for k in own})
