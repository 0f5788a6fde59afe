"""Vendors' kernel names are told apart; unknown ones are not guessed at."""

from __future__ import annotations

import pytest

from lesion_app.clinical.series_kernel import SHARP, SOFT_TISSUE, UNKNOWN, kernel_kind


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (SOFT_TISSUE, "B30f B31s B40f Br36d Br40 Bf37f I31f Qr40 H30s STANDARD SOFT std+ A B C FC08 FC13 FC18"),
        (
            SHARP,
            "B60f B70f B80f Br64 Bl57d I70f Hr68 U95u LUNG BONE BONEPLUS EDGE DETAIL L YC YA D FC30 FC51 FC86 FL03",
        ),
        (UNKNOWN, "11 ? XYZ"),
    ],
)
def test_kernel_names(kind, names):
    assert {name: kernel_kind(name) for name in names.split()} == dict.fromkeys(names.split(), kind)
    assert kernel_kind("") == UNKNOWN
