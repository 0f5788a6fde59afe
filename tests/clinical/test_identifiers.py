"""Derived identifiers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from lesion_app.clinical.identifiers import FindingsIdentity

IDENTITY = FindingsIdentity("1.2.3", "a" * 64, "Net", "b" * 64, "c" * 64, "lesion-app", "0.1.0", 0.3)


def test_a_uid_is_valid_and_always_the_same() -> None:
    uid = IDENTITY.uid("sr", "instance", 1)
    assert uid == replace(IDENTITY).uid("sr", "instance", 1)
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d{0,38})", uid)
    assert int(uid[5:]) < 2**128


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("series_uid", "1.2.4"),
        ("images_sha256", "d" * 64),
        ("network", "Net2"),
        ("weights_sha256", "d" * 64),
        ("config_sha256", "d" * 64),
        ("version", "0.1.1"),
        ("score_threshold", 0.31),
    ],
)
def test_whatever_changes_the_result_changes_its_uid(name: str, value: str | float) -> None:
    assert replace(IDENTITY, **{name: value}).uid("sr") != IDENTITY.uid("sr")


def test_roles_never_share_a_uid() -> None:
    roles = [("sr",), ("sr", "series"), ("sr", "instance", 1), ("sr", "instance", 2), ("seg", "instance", 1)]
    uids = {IDENTITY.uid(*role) for role in roles} | {IDENTITY.tracking_uid(n) for n in (1, 2)}
    assert len(uids) == len(roles) + 2


def test_the_order_of_files_is_no_matter_but_their_number_is() -> None:
    document = {
        "model": {"network": "Net", "sha256": "b" * 64},
        "config": {"files": [{"sha256": "1" * 64}, {"sha256": "2" * 64}]},
        "software": {"name": "lesion-app", "version": "0.1.0"},
        "score_threshold": 0.3,
    }
    first = FindingsIdentity.of(document, "1.2.3", ["1.1", "1.2"])
    assert first == FindingsIdentity.of(document, "1.2.3", ["1.2", "1.1"])
    assert first != FindingsIdentity.of(document, "1.2.3", ["1.1", "1.2", "1.3"])
