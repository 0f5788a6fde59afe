"""How the PACS's answers are understood."""

from __future__ import annotations

import json

import pytest

from lesion_app.clinical.node.delivery import PacsAwayError, judge, judge_stow


@pytest.mark.parametrize("status", [0x0000, 0x0111, 0xB000, 0xB006])
def test_success_duplicate_and_warnings_are_delivered(status):
    assert judge(status) is None


@pytest.mark.parametrize("status", [0xA700, 0xA701])
def test_a_pacs_without_room_is_away(status):
    with pytest.raises(PacsAwayError):
        judge(status)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122])
def test_other_statuses_are_refusals(status):
    assert f"0x{status:04X}" in str(judge(status))


def failed(reason: int) -> bytes:
    item = {"00081197": {"vr": "US", "Value": [reason]}, "00081155": {"vr": "UI", "Value": ["1.2"]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "delivered"),
    [
        (200, b"", True),
        (200, b"<xml/>", True),
        (200, b"{}", True),
        (200, failed(0xC000), False),
        (409, failed(0x0111), True),
        (409, failed(0xA900), False),
        (409, b"", False),
        (202, b"", False),
        (400, b"bad", False),
    ],
)
def test_stow_answers(status, body, delivered):
    assert (judge_stow(status, body) is None) is delivered


@pytest.mark.parametrize(("status", "body"), [(401, b""), (404, b""), (503, b""), (409, failed(0xA700))])
def test_a_stow_server_that_is_not_ready_is_away(status, body):
    with pytest.raises(PacsAwayError):
        judge_stow(status, body)
