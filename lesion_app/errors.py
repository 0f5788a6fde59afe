"""The one exception that stands for a mistake in what the user handed in."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input (file, config, checkpoint, peer), told in one sentence.

    The message says what was found, what was expected and how to mend it; it never holds patient
    data. Command-line verbs print it as a single line and exit with code 2.
    """


def input_error_in(error: BaseException | None) -> InputError | None:
    """Return the ``InputError`` at the root of ``error``'s chain of causes, or None.

    MONAI and Ignite wrap what a component raises in their own ``RuntimeError``; the chain is
    followed through ``__cause__`` and ``__context__``.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
