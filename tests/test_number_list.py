from __future__ import annotations

import pytest

from lesion_app.errors import InputError
from lesion_app.number_list import parse_numbers


def test_numbers_are_read_in_order() -> None:
    assert parse_numbers("0.8,0.7,5", ",", "--spacing", "1,1,1", 3) == [0.8, 0.7, 5.0]
    assert parse_numbers("5", ",", "--z-spacings", "1,2") == [5.0]


@pytest.mark.parametrize(("text", "count"), [("1,2", 3), ("1,x,2", 3), ("", None), ("1,2,3,4", 3)])
def test_anything_else_is_told_with_the_option_and_an_example(text: str, count: int | None) -> None:
    with pytest.raises(InputError, match=r"--spacing was given .*expected .*like 1,1,1"):
        parse_numbers(text, ",", "--spacing", "1,1,1", count)
