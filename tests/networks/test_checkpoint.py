from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lesion_app.errors import InputError
from lesion_app.networks.checkpoint import load_weights, read_checkpoint, save_atomically


class Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (print, ("executed",))


def test_weights_come_back_as_saved(tmp_path: Path) -> None:
    network, other = nn.Linear(2, 3), nn.Linear(2, 3)
    save_atomically(network.state_dict(), tmp_path / "a" / "model.pt")
    load_weights(other, tmp_path / "a" / "model.pt")
    assert torch.equal(network.weight, other.weight)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["model.pt"]


def test_weights_of_another_network_are_named_as_such(tmp_path: Path) -> None:
    save_atomically(nn.Linear(2, 4).state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"another network: of 2 tensors 0 are missing, 2 differ in shape"):
        load_weights(nn.Linear(2, 3), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "model.pt")


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": Evil()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="tensors and numbers only"):
        read_checkpoint(tmp_path / "model.pt")
    assert "executed" not in capsys.readouterr().out


def test_missing_file_tells_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*train one first"):
        read_checkpoint(tmp_path / "model.pt")


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_atomically({"w": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(Exception, match="pickle"):
        save_atomically({"w": lambda: None}, tmp_path / "model.pt")
    assert read_checkpoint(tmp_path / "model.pt")["w"] == 1
    assert len(list(tmp_path.iterdir())) == 1
