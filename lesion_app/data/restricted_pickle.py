"""Read a published label file that is a pickle, without running anything that hides in it.

Only built-in containers and numbers and NumPy's arrays and scalars are understood, and even NumPy's own
restoring code is not called: the few names a pickled array refers to are replaced by the small classes
below, which accept plain numeric dtypes only.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from lesion_app.errors import InputError


def read_pickle(path: Path) -> Any:
    """Unpickle dicts, lists, tuples, texts, numbers and numeric NumPy arrays (all arrays come back as ndarray).

    Raises:
        InputError: the file cannot be read, is no pickle, or refers to anything else.
    """
    try:
        return _restored(_Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load())
    except OSError as error:
        raise InputError(f"The file {path} cannot be read ({error.strerror}); check its name.") from error
    except _Refused as error:
        raise InputError(
            f"{path.name} was not opened: as a pickle it refers to {error}, but only containers, numbers and NumPy "
            "arrays are accepted; download it from its published source again, or hand it in as JSON."
        ) from error
    except Exception as error:
        raise InputError(
            f"{path.name} is neither JSON nor a readable pickle; download it again from its published source."
        ) from error


class _Refused(Exception):
    """A pickle refers to something that is not on the list."""


class _ArrayClass:
    """Stands where a pickle says ``numpy.ndarray``; never instantiated."""


class _Dtype:
    """A plain numeric dtype, restored as NumPy pickles it: ``dtype('f8', False, True)`` + state."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        dtype = np.dtype(code) if isinstance(code, str) and len(code) <= 3 else np.dtype(object)
        if dtype.kind not in "biuf":
            raise _Refused(f"the dtype {code!r}")
        self.value = dtype

    def __setstate__(self, state: Any) -> None:
        order, fields = state[1], state[2:5]
        if any(field is not None for field in fields):
            raise _Refused("a structured dtype")
        self.value = self.value.newbyteorder(order)


class _Array:
    """An array, restored as NumPy pickles it: an empty one + state."""

    def __init__(self, cls: Any, shape: Any, code: Any) -> None:
        if cls is not _ArrayClass:
            raise _Refused("a subclass of numpy.ndarray")
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if isinstance(data, str):  # bytes of a Python 2 pickle
        data = data.encode("latin1")
    return np.frombuffer(bytes(data), dtype=dtype.value).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, ()).item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as protocols 0 to 2 write them; no other codec is looked up."""
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"the codec {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What protocols 0 to 2 call for an empty byte string."""
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): dict,
    # "core" up to NumPy 1, "_core" since
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def _restored(value: Any) -> Any:
    """Replace every ``_Array`` in nested containers by its array."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _restored(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_restored(entry) for entry in value]
    return value
