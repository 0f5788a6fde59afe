"""Side letters follow the directions of the axes."""

from __future__ import annotations

import pytest

from lesion_app.visualize.axes_letters import SideLetters, side_letters


def test_lps_shows_the_patients_right_on_the_left_and_the_last_slice_at_the_head():
    assert side_letters("LPS") == SideLetters("R", "L", "F", "H", first_slice_on_top=False)


def test_rpi_is_mirrored():
    assert side_letters("RPI") == SideLetters("L", "R", "H", "F", first_slice_on_top=True)


def test_an_unknown_orientation_claims_nothing():
    assert side_letters(None) == SideLetters("", "", "", "", first_slice_on_top=True)


@pytest.mark.parametrize("axes", ["LP", "LRS", "XPS", "SPL", "lps", "LPSI", ""])
def test_nonsense_is_refused(axes):
    with pytest.raises(ValueError, match="three letters"):
        side_letters(axes)
