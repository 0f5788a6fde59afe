"""Mistakes at the start, each told in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_app.clinical.node.settings import NodeSettings, Pacs, check_ae_title, parse_command
from lesion_app.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACS@host:104", Pacs("PACS", "host", 104)),
        ("A@B@10.0.0.1:11112", Pacs("A@B", "10.0.0.1", 11112)),
        ("PACS@[::1]:104", Pacs("PACS", "::1", 104)),
        ("https://pacs/dicom-web/", Pacs(url="https://pacs/dicom-web")),
    ],
)
def test_pacs_is_understood(text, expected):
    assert Pacs.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "PACS", "PACS@host", "host:104", "PACS@:104", "PACS@host:0", "PACS@host:70000", "PACS@host:x", "http://"],
)
def test_pacs_that_is_none_is_told(text):
    with pytest.raises(InputError, match="expected"):
        Pacs.parse(text)


def test_a_password_in_the_url_is_not_repeated():
    with pytest.raises(InputError, match=r"netrc") as told:
        Pacs.parse("https://user:geheim@pacs/dicom-web")
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize("title", ["", " ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\t", "ÄTITLE"])
def test_ae_titles(title):
    with pytest.raises(InputError, match="is no AE title"):
        check_ae_title(title, "the node's")
    assert check_ae_title(" ULD ", "the node's") == "ULD"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"callers": ()}, "name at least one with --allow"),
        ({"callers": ("BACK\\SLASH",)}, "is no AE title"),
        ({"quiet_s": 0.0}, "quiet_s is 0.0; expected more than 0"),
        ({"quiet_s": float("nan")}, "quiet_s is nan"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"port": 70000}, "port is 70000"),
        ({"command": ("python", "{input}")}, "the command has no {output}"),
        ({"command": ("no-such-program", "{input}", "{output}")}, "'no-such-program' was not found"),
        ({"pacs": Pacs("PACS", "host", 104, tls=True)}, "without --tls-cert"),
    ],
)
def test_settings_that_cannot_work(change, told):
    with pytest.raises(InputError) as error:
        NodeSettings(**{"state": Path("state"), "pacs": Pacs("PACS", "host", 104), "callers": ("SCANNER",), **change})
    assert told in str(error.value)


def test_the_default_command_is_there():
    assert NodeSettings(Path("state"), Pacs("PACS", "host", 104), ("SCANNER",)).command[-3:] == (
        "report",
        "{input}",
        "{output}",
    )


def test_a_command_is_read_as_a_shell_would():
    assert parse_command("lesion-app report '{input}' {output} --models 'my models'")[-1] == "my models"
    with pytest.raises(InputError, match="quote it"):
        parse_command("lesion-app 'report")
