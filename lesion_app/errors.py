"""The one exception that stands for a mistake in what the user handed in."""

from __future__ import annotations

import re

# A data loader's worker can only send text: the traceback, in which torch wraps what was raised.
_FROM_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.")
_TOLD_BY_WORKER = re.compile(r"^lesion_app\.errors\.InputError: (.+)$", re.MULTILINE)


class InputError(ValueError):
    """Bad input (file, config, checkpoint, peer), told in one sentence.

    The message says what was found, what was expected and how to mend it; it never holds patient
    data. Command-line verbs print it as a single line and exit with code 2.
    """


def input_error_in(error: BaseException | None) -> InputError | None:
    """Return the ``InputError`` at the root of ``error``'s chain of causes, or None.

    MONAI and Ignite wrap what a component raises in their own ``RuntimeError``; the chain is
    followed through ``__cause__`` and (unless suppressed) ``__context__``. What a data loader's worker
    process raised is known by its text.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        text = str(error)
        if _FROM_WORKER.match(text):
            told = _TOLD_BY_WORKER.search(text)
            return InputError(told.group(1)) if told else None
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
