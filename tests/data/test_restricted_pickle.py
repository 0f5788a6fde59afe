"""Published pickles are read; one that would run something is not."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from lesion_app.data.restricted_pickle import read_pickle
from lesion_app.errors import InputError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_scalars_and_arrays_come_back(tmp_path, protocol):
    path = tmp_path / "labels.pkl"
    content = {
        "a": OrderedDict([(3, [[np.float64(1.5), np.float32(2.5), np.int64(7)]])]),
        "array": np.arange(12, dtype=np.float64).reshape(2, 6),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">f8"),
        "empty": np.zeros((0, 6)),
        "text": "x",
        "none": None,
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(path)
    assert read["a"] == {3: [[1.5, 2.5, 7]]}
    for key in ("array", "fortran", "big endian", "empty"):
        np.testing.assert_array_equal(read[key], content[key])
    assert read["empty"].shape == (0, 6)
    assert read["text"] == "x"
    assert read["none"] is None


def test_names_of_old_numpy_are_known(tmp_path):
    path = tmp_path / "labels.pkl"
    content = pickle.dumps([np.arange(3.0), np.float64(2.0)], protocol=2)
    assert b"numpy._core" in content or b"numpy.core" in content
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    array, scalar = read_pickle(path)
    np.testing.assert_array_equal(array, [0, 1, 2])
    assert scalar == 2.0


class _Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "harm",
    [
        lambda mark: _Runs(os.system, f"touch {mark}"),
        lambda mark: _Runs(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: _Runs(exec, f"open({str(mark)!r}, 'w')"),
        lambda mark: _Runs(getattr, {}, "keys"),
        lambda mark: _Runs(np.load, str(mark)),
        lambda mark: _Runs(np.dtype, "O"),
        lambda mark: np.array([{}], dtype=object),
        lambda mark: np.zeros(1, dtype=[("a", "f8")]),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickle_that_refers_to_anything_else_is_refused_and_not_run(tmp_path, harm, protocol):
    mark, path = tmp_path / "mark", tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps({"x": [harm(mark)]}, protocol=protocol))
    with pytest.raises(InputError, match=r"labels\.pkl was not opened") as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1})[:-3]])
def test_rubbish_is_told(tmp_path, content):
    path = tmp_path / "labels.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="neither JSON nor a readable pickle"):
        read_pickle(path)
