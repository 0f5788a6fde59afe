"""What MONAI Label 0.8.5 needs beside pydicom 3: a private module of pydicom 2 that pydicom-seg imports."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MOVED = {"pydicom._storage_sopclass_uids": "pydicom.uid"}


class _Alias(Loader):
    def __init__(self, target: str) -> None:
        self.target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__dict__.update(
            {name: value for name, value in vars(importlib.import_module(self.target)).items() if name[:2] != "__"}
        )
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run."""


class _MovedModules(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, _Alias(_MOVED[name])) if name in _MOVED else None


def allow_upstream_imports() -> None:
    """Let ``import monailabel`` work in this process; nothing is imported now, and a second call changes nothing.

    Names that pydicom 3 moved are only looked for where pydicom itself does not have them.
    """
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())
