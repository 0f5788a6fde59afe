"""Several checkpoints behind the detector protocol."""

from __future__ import annotations

import pytest
import torch

from lesion_app.errors import InputError
from lesion_app.inferers.checkpoint_ensemble import CheckpointEnsemble
from tests.inferers.seeing_networks import BrightestPixel, spot


def test_checkpoints_are_read_from_a_folder(tmp_path):
    for name, score in (("a", 0.2), ("b", 0.6)):
        torch.save(BrightestPixel(score).state_dict(), tmp_path / f"{name}.pt")
    network = BrightestPixel(0.9)
    model = CheckpointEnsemble.from_files(network, tmp_path).eval()
    assert model([spot(4, 4)])[0]["scores"].item() == pytest.approx(0.4)
    assert network.score.item() == pytest.approx(0.9)  # the network given is only copied
    one = CheckpointEnsemble.from_files(network, [tmp_path / "b.pt"]).eval()
    assert one([spot(4, 4)])[0]["scores"].item() == pytest.approx(0.6)
    with pytest.raises(InputError, match="no checkpoint"):
        CheckpointEnsemble.from_files(network, tmp_path.parent / tmp_path.name / "c.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        CheckpointEnsemble.from_files(network, tmp_path / "empty")


def test_scores_are_those_of_all_networks_and_weights_are_their_own():
    networks = [BrightestPixel(0.9), BrightestPixel(0.3)]
    model = CheckpointEnsemble(networks).eval()
    (found,) = model([spot(4, 4)])
    assert found["boxes"].tolist() == [[4, 4, 5, 5]]
    assert found["scores"].item() == pytest.approx(0.6)
    assert [look.mirrored for look in model.looks()] == ["", ""]
    assert len(list(model.parameters())) == 2


def test_weights_of_another_network_and_no_network_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt"):
        CheckpointEnsemble.from_files(BrightestPixel(), tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        CheckpointEnsemble([])
