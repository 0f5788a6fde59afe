"""Numbers given as one word on the command line."""

from __future__ import annotations

from lesion_app.errors import InputError


def parse_numbers(text: str, separator: str, option: str, example: str, count: int | None = None) -> list[float]:
    """``"0.8,0.8,5"`` as ``[0.8, 0.8, 5.0]``.

    Args:
        text: what was given.
        separator: between two numbers.
        option, example: named when it cannot be read.
        count: how many there must be; None = at least one.

    Raises:
        InputError: no numbers, or another count.
    """
    try:
        numbers = [float(part) for part in text.split(separator)]
    except ValueError:
        numbers = []
    if not numbers or (count is not None and len(numbers) != count):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{option} was given '{text}', expected {wanted} like {example}")
    return numbers
