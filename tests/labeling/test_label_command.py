"""What a start of the label server checks; the server itself is not needed."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from lesion_app.errors import InputError
from lesion_app.labeling import label_command
from lesion_app.labeling.label_command import server_environment


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``start(studies=..., **options)`` with all that is needed in place, as if MONAI Label were installed."""
    monkeypatch.setattr(label_command, "find_spec", lambda name: object())
    (tmp_path / "cts").mkdir()
    (tmp_path / "model.pt").write_text("weights")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(studies: str = str(tmp_path / "cts"), **options: Any) -> dict[str, str]:
        options = {"weights": tmp_path / "model.pt", "port": port, **options}
        return server_environment(studies, tmp_path / "work", **options)

    return run


def test_server_listens_to_this_machine_and_keeps_upstreams_doors_shut(start: Any, tmp_path: Path) -> None:
    environment = start(origins=["http://viewer:3000"], host_names=["label"])
    guard = json.loads(environment["LESION_APP_LABEL_GUARD"])
    assert set(guard["hosts"]) == {"127.0.0.1", "localhost", "::1", "label"}
    assert guard["origins"] == ["http://viewer:3000"]
    assert environment["MONAI_LABEL_SESSIONS"] == "false"
    assert "*.json" not in environment["MONAI_LABEL_DATASTORE_FILE_EXT"]
    assert environment["PYTHONPATH"].split(":")[0].endswith("start_hook")
    assert (Path(label_command.__file__).parent / "start_hook" / "sitecustomize.py").is_file()
    assert (tmp_path / "work" / "uploads").stat().st_mode & 0o077 == 0


def test_start_without_monai_label_says_how_to_get_it(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_command, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="make label-env"):
        start()


def test_other_addresses_need_a_word(start: Any) -> None:
    with pytest.raises(InputError, match="--allow-network"):
        start(host="0.0.0.0")
    assert start(host="0.0.0.0", allow_network=True)["MONAI_LABEL_STUDIES"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"studies": "/no/such/folder"}, "no folder"),
        ({"weights": Path("no.pt")}, "no weights"),
        ({"configs": ["no_such_overlay"]}, "no config file"),
        ({"train_configs": ["no_such_overlay"]}, "no config file"),
        ({"studies": "http://user:secret@127.0.0.1:9/dicom-web"}, "MONAI_LABEL_DICOMWEB_USERNAME"),
    ],
)
def test_mistakes_are_told_before_anything_starts(start: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        start(**options)
    assert "secret" not in str(caught.value)


def test_dicomweb_server_that_does_not_answer_is_told(start: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="no DICOMweb server answers"):
            start(studies=f"http://127.0.0.1:{probe.getsockname()[1]}/dicom-web")


def test_port_in_use_is_told(start: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot be used"):
            start(port=taken.getsockname()[1])
