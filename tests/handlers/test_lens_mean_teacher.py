"""The mean teacher over LENS: which expert is believed, on which data set, and for what."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lesion_app.handlers.lens_mean_teacher import LensMeanTeacher

LABEL = [10.0, 10, 20, 20]
OWN, WEAK, OTHER, ON_LABEL = [40.0, 40, 50, 50], [30.0, 40, 38, 50], [50.0, 5, 60, 15], [10.0, 10, 20, 21]


@pytest.fixture
def lens(scripted):
    """``lens(said)``: a scripted detector that has LENS's data sets and switches; notes how it was asked."""

    def make(said=()):
        network = scripted(said)
        network.datasets, network.fuse, network.expert = ("deeplesion", "luna16"), True, "luna16"
        network.asked = []
        network.register_forward_pre_hook(lambda m, _: m.asked.append((m.fuse, m.expert)))
        return network

    return make


@pytest.fixture
def answer(said):
    """Expert 1 (deeplesion) finds a new lesion, a doubtful one and the label; expert 2 (luna16) another lesion."""
    found = said((*OWN, 0.95), (*WEAK, 0.6), (*ON_LABEL, 0.99), (*OTHER, 0.97))
    found["labels"] = torch.tensor([1, 1, 1, 2])
    return found


def run(lens, trainer, item, answer, dataset: int, **options):
    student, teacher = lens(), lens([answer])
    settings = {"score_threshold": 0.9, "ema_decay": 0.5, "ema_warmup": False, "partly_labelled": ["deeplesion"]}
    handler = LensMeanTeacher(student, teacher, **{**settings, **options})
    engine = trainer(student, [[item([LABEL], dataset=dataset)]], [handler])
    engine.run()
    return engine, student, teacher


def boxes_of(target, key: str) -> list[list[float]]:
    return target[key].tolist()


def test_own_expert_completes_its_data_set_and_doubt_of_any_expert_is_left_out(lens, trainer, item, answer) -> None:
    _, student, _ = run(lens, trainer, item, answer, dataset=0, ignore_threshold=0.5)
    (target,) = student.targets
    assert boxes_of(target, "boxes") == [LABEL, OWN]
    assert target["labels"].tolist() == [1, 1]
    assert boxes_of(target, "ignore") == [WEAK, OTHER]
    assert target["dataset"].item() == 0


def test_without_a_band_of_doubt_nothing_is_ignored(lens, trainer, item, answer) -> None:
    _, student, _ = run(lens, trainer, item, answer, dataset=0)
    assert boxes_of(student.targets[0], "boxes") == [LABEL, OWN]
    assert boxes_of(student.targets[0], "ignore") == []


def test_completely_labelled_data_set_is_taught_as_it_is_and_the_teacher_need_not_look(
    lens, trainer, item, answer
) -> None:
    engine, student, teacher = run(lens, trainer, item, answer, dataset=1, ignore_threshold=0.5)
    assert boxes_of(student.targets[0], "boxes") == [LABEL]
    assert boxes_of(student.targets[0], "ignore") == []
    assert teacher.calls == []
    assert engine.state.mining == {}
    assert_close(teacher.weight.data, torch.tensor([0.95]))  # it is averaged nevertheless


def test_each_partly_labelled_data_set_believes_its_own_expert(lens, trainer, item, answer) -> None:
    _, student, _ = run(lens, trainer, item, answer, dataset=1, partly_labelled=["deeplesion", "luna16"])
    assert boxes_of(student.targets[0], "boxes") == [LABEL, OTHER]
    assert student.targets[0]["labels"].tolist() == [1, 1]


def test_mixed_batch_mines_only_where_labels_lack(lens, trainer, item, answer) -> None:
    student, teacher = lens(), lens([answer, answer])
    handler = LensMeanTeacher(student, teacher, ["deeplesion"], score_threshold=0.9, ignore_threshold=0.5)
    trainer(student, [[item([LABEL], dataset=1), item([LABEL], dataset=0)]], [handler]).run()
    assert [boxes_of(t, "boxes") for t in student.targets] == [[LABEL], [LABEL, OWN]]
    assert [len(t["ignore"]) for t in student.targets] == [0, 2]


def test_experts_are_asked_apart_and_the_network_reports_as_before_afterwards(lens, trainer, item, answer) -> None:
    _, _, teacher = run(lens, trainer, item, answer, dataset=0)
    assert teacher.asked == [(False, None)]  # once, before the student learns
    assert (teacher.fuse, teacher.expert) == (True, "luna16")


def test_data_set_the_network_does_not_have_is_refused(lens) -> None:
    with pytest.raises(ValueError, match="brats"):
        LensMeanTeacher(lens(), lens(), ["brats"])
