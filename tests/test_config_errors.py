from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from monai.bundle import ConfigParser

from lesion_app.config_errors import check_overlay, check_overrides, explain


class Component:
    """A component of the configs below."""

    def __init__(self, size: int = 1) -> None:
        check_size(size)

    def run(self) -> None:
        raise ValueError("a bug while running")


def check_size(size: int) -> None:
    if size < 0:
        raise ValueError(f"size must not be negative, got {size}")


def broken(**_: object) -> None:
    raise ValueError("a bug in a function")


HERE = {"component": Component, "broken": broken}
CONFIG = {
    "size": 3,
    "scale": 0.5,
    "on": True,
    "name": "x",
    "network": {"_target_": "Component", "parts": {"_target_": "Component", "size": 1}},
    "train": {"loader": {"workers": 4}, "handlers": [{"_target_": "Component"}, {"_target_": "Component", "size": 2}]},
    "reference": "@network",
}


def explained(config: dict, item: str = "x") -> str | None:
    try:
        ConfigParser(config).get_parsed_content(item)
    except Exception as error:
        mistake = explain(error)
        return None if mistake is None else str(mistake)
    raise AssertionError("the config was taken")


def target(name: str = "component", **arguments: object) -> dict:
    return {"_target_": HERE[name], **arguments}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("@unknown", "it refers to '@unknown', which is not defined"),
        ("$@unknown + 1", "it refers to '@unknown', which is not defined"),
        ({"a": {"b": "@x#c"}}, "it refers to '@x#c', which is not defined"),
        ({"_target_": "monai.networks.nets.NoSuchNet"}, "Cannot locate class or function path"),
        (target(siez=1), "unexpected keyword argument 'siez'"),
        (target(size=-1), "size must not be negative, got -1"),
        (target(size="big"), "not supported between"),
        ("$1 / 0", "the expression '$1 / 0' failed with ZeroDivisionError: division by zero"),
        ("$torhc.device('cpu')", "failed with NameError: name 'torhc' is not defined"),
        ("$(1", "the expression '$(1' is not Python ('(' was never closed)"),
    ],
)
def test_mistake_in_a_config_is_one_sentence(value, told):
    text = explained({"x": value})
    assert text is not None
    assert told in text
    assert "\n" not in text
    assert text.startswith("the config cannot be used: ")


@pytest.mark.parametrize(
    "config",
    [
        {"x": "$@y.run()", "y": target()},
        {"x": target("broken")},
        {"x": "$[1 for _ in @y.missing]", "y": {"_target_": "types.SimpleNamespace"}, "z": 1},
    ],
)
def test_fault_of_the_program_is_not_explained_away(config):
    text = explained(config)
    if "missing" in str(config):
        assert text is not None, "an expression's own fault is the config's"
    else:
        assert text is None


@pytest.mark.parametrize("error", [ValueError("a"), KeyError("b"), RuntimeError("c"), FileNotFoundError(2, "d", "e")])
def test_plain_errors_of_the_program_are_not_explained(error):
    with pytest.raises(type(error)) as caught:
        raise error
    assert explain(caught.value) is None


@pytest.mark.parametrize("content", ['{"a": 1,,}', "{", ""])
def test_broken_json_names_the_place(tmp_path, content):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(json.JSONDecodeError) as caught:
        ConfigParser.load_config_file(tmp_path / "broken.json")
    assert "line 1, column" in str(explain(caught.value))


def test_place_that_cannot_be_written_to_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "file" / "x").mkdir()
    assert "cannot be used (Not a directory); name another place" in str(explain(caught.value))


@pytest.mark.parametrize(
    "overrides",
    [
        {"size": 4, "scale": 2, "on": False, "name": "y"},
        {"size": None, "scale": "$1 / 2", "on": "@size"},
        {"network#parts#size": 3, "network::parts::size": 3},
        {"network#new_argument": 1},  # the component's signature judges
        {"reference#whatever": 1},
        {"train#handlers#1#size": 3, "train#loader#workers": 0},
    ],
)
def test_override_of_what_the_config_has_is_taken(overrides):
    check_overrides(overrides, CONFIG)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"sise": 4}, "no key 'sise' to override; did you mean size"),
        ({"zzz": 4}, "no key 'zzz' to override; see bundle/configs"),
        ({"train#lodaer#workers": 1}, "no key 'train#lodaer' to override; did you mean train#loader?"),
        ({"train#loader#worker": 1}, "no key 'train#loader#worker' to override; did you mean train#loader#workers?"),
        ({"train#handlers#7#size": 1}, "no key 'train#handlers#7'"),
        ({"size": "many"}, "size was given 'many', expected a number like 3"),
        ({"size": True}, "size was given True, expected a number"),
        ({"on": "maybe"}, "on was given 'maybe', expected true or false"),
        ({"network#parts#size": "big"}, "network#parts#size was given 'big'"),
    ],
)
def test_mistyped_override_is_refused(overrides, told):
    with pytest.raises(ValueError, match=r"override|given") as caught:
        check_overrides(overrides, CONFIG)
    assert told in str(caught.value)


def test_mistyped_key_of_an_overlay_is_refused_and_new_ones_are_not():
    base = {"learning_rate": 0.1, "epochs": 3}
    for overlay in ({"learning_rate": 1}, {"split": "test"}, {"learning_rates": [1], "x": "@learning_rates"}):
        check_overlay(overlay, base, {**base, **overlay}, "mine.json")
    for key in ("lerning_rate", "learning_rat#x"):
        with pytest.raises(ValueError, match=r"mine.json sets '\w+', .* did you mean 'learning_rate'\?"):
            check_overlay({key: 1}, base, {**base, key: 1}, "mine.json")


def run_program(text: str) -> subprocess.CompletedProcess[str]:
    head = "from lesion_app.config_errors import exit_on_input_errors\nfrom lesion_app.errors import InputError\n"
    program = head + "import atexit\nexit_on_input_errors()\nexit_on_input_errors()\n" + textwrap.dedent(text)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_uncaught_mistake_of_the_user_ends_with_one_line_and_code_2():
    done = run_program(
        """
        atexit.register(print, "tidied up")
        print("working", end=" ")
        try:
            raise InputError("no such file; name another")
        except InputError as error:
            raise RuntimeError("wrapped") from error
        """
    )
    assert done.returncode == 2
    assert done.stderr == "error: no such file; name another\n"
    assert done.stdout == "working tidied up\n"


def test_uncaught_fault_of_the_program_keeps_its_traceback():
    done = run_program("1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr
