"""Makes the CUDA runtime library findable where pip installed it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

LIBRARY = "libcudart.so.13"


def preload_cuda_runtime(search_path: Sequence[str] | None = None) -> Path | None:
    """Load pip's ``libcudart.so.13`` into this process, so that what is imported later finds it.

    The MONAI Deploy SDK's Holoscan wheel links against the CUDA runtime even on machines without a GPU, but neither
    depends on it nor looks for it where pip puts it. On a machine without a CUDA toolkit, ``import holoscan`` fails
    then, and with it ``import monai``, which imports ``monai.deploy``. A library that is loaded already satisfies the
    dynamic linker by its name, whoever asks next. Call this before the first import of monai.

    Args:
        search_path: folders that hold Python packages; None = ``sys.path``.

    Returns:
        the file that was loaded; None when pip installed none (the system's own then serves, if there is one) or it
        cannot be loaded here.
    """
    for folder in sys.path if search_path is None else search_path:
        library = Path(folder or ".") / "nvidia" / "cu13" / "lib" / LIBRARY
        if library.is_file():
            try:
                ctypes.CDLL(str(library.resolve()), mode=ctypes.RTLD_GLOBAL)
            except OSError:  # built for another kind of machine: not ours to mend
                return None
            return library
    return None
