"""Weights on disk: bare state dicts, written whole or not at all, read without executing anything."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lesion_app.atomic_file import replacing
from lesion_app.errors import InputError


def save_atomically(content: Any, path: Path) -> None:
    """``torch.save`` to a sibling, then rename: a kill at any moment leaves the old file or the new one."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Raises:
        InputError: no such file, not a checkpoint, or one that holds more than tensors and numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"no checkpoint at {path}; train one first (python -m monai.bundle run training --config_file "
            "configs/train.json) or name another file"
        )
    try:
        # Mapped, so that the weights are copied once, into the network. Older files than torch 1.6's cannot be mapped.
        content = torch.load(path, map_location=device, weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}); expected a file written by torch.save "
            "that holds tensors and numbers only, so copy or export it anew"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict; export the weights anew")
    return content


def load_weights(network: nn.Module, path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """Load a bare state dict into ``network`` in place and return it.

    Raises:
        InputError: unreadable file, or the weights of another network.
    """
    load_state(network, read_checkpoint(path, device), str(path))
    return network


def load_state(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load ``state`` into ``network``; ``source`` names it in the error.

    Raises:
        InputError: when names or shapes differ.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in state]
    surplus = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and getattr(state[k], "shape", None) != own[k].shape]
    if missing or surplus or shapes:
        first = (missing + shapes + surplus)[0]
        raise InputError(
            f"{source} holds the weights of another network: of {len(own)} tensors {len(missing)} are missing, "
            f"{len(shapes)} differ in shape and {len(surplus)} are unknown (first: {first}); use the config the "
            "weights were trained with, or other weights"
        )
    network.load_state_dict(state)
