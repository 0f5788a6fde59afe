from __future__ import annotations

import pytest
from torch._utils import ExceptionWrapper

from lesion_app.errors import InputError, input_error_in


def raised(*errors: BaseException, context: bool = False) -> BaseException:
    """The last of ``errors``, each raised while the one before was handled (or explicitly from it)."""
    caught: BaseException | None = None
    for error in errors:
        try:
            try:
                if caught is not None:
                    raise caught
            except BaseException as before:
                if context:
                    raise error  # noqa: B904 - the implicit chain is what is tested
                raise error from before
            raise error
        except BaseException as now:
            caught = now
    assert caught is not None
    return caught


def from_worker(error: Exception, wrapped: bool) -> Exception:
    """``error``, raised in a data loader's worker (within MONAI's Compose when ``wrapped``), as it arrives here."""
    try:
        try:
            raise error
        except Exception as inner:
            if wrapped:
                raise RuntimeError("applying transform <LoadSlabd object>") from inner
            raise
    except Exception:
        sent = ExceptionWrapper(where="in DataLoader worker process 1")
    with pytest.raises((RuntimeError, ValueError)) as caught:
        sent.reraise()
    return caught.value


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("wrappers", [[], [RuntimeError], [RuntimeError, KeyError]])
def test_users_mistake_is_found_below_any_wrapping(wrappers, context):
    mistake = InputError("no such file")
    assert input_error_in(raised(mistake, *(wrapper() for wrapper in wrappers), context=context)) is mistake


@pytest.mark.parametrize("wrapped", [False, True])
def test_users_mistake_in_a_data_loaders_worker_is_one_sentence(wrapped):
    arrived = from_worker(InputError("slice 012.png is damaged; copy it anew"), wrapped)
    assert "Traceback" in str(arrived)
    for outer in ([], [RuntimeError]):
        found = input_error_in(raised(arrived, *(wrapper() for wrapper in outer)))
        assert str(found) == "slice 012.png is damaged; copy it anew"


def test_programs_fault_in_a_worker_is_none_of_the_users():
    assert input_error_in(from_worker(ValueError("a bug"), True)) is None


def test_other_errors_are_none_of_the_users():
    assert input_error_in(None) is None
    assert input_error_in(raised(ValueError("a"), RuntimeError("b"))) is None


def test_mistake_that_was_dealt_with_does_not_count():
    def try_twice() -> None:
        try:
            raise InputError("tried first")
        except InputError:
            raise RuntimeError("a bug") from None

    with pytest.raises(RuntimeError) as caught:
        try_twice()
    assert input_error_in(caught.value) is None


def test_chain_that_bites_its_tail_ends():
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert input_error_in(first) is None
