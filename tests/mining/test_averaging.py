from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lesion_app.mining.averaging import update_teacher, warmed_up_decay


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    student[1].running_mean.fill_(4.0)
    student[1].running_var.fill_(9.0)
    student[1].num_batches_tracked.fill_(7)
    return teacher, student


def test_parameters_move_by_one_minus_decay() -> None:
    teacher, student = pair()
    before = teacher[0].weight.clone()
    update_teacher(teacher, student, 0.75)
    torch.testing.assert_close(teacher[0].weight, before + 0.25)


def test_batch_norm_statistics_are_averaged_like_weights() -> None:
    teacher, student = pair()
    update_teacher(teacher, student, 0.75)
    assert teacher[1].running_mean.tolist() == [1.0, 1.0]
    assert teacher[1].running_var.tolist() == [3.0, 3.0]
    assert teacher[1].num_batches_tracked == 7


def test_copied_statistics_are_the_students_but_not_its_memory() -> None:
    teacher, student = pair()
    update_teacher(teacher, student, 0.75, buffers="copy")
    assert teacher[1].running_mean.tolist() == [4.0, 4.0]
    student[1].running_mean.fill_(-1.0)
    assert teacher[1].running_mean.tolist() == [4.0, 4.0]


def test_many_updates_follow_the_closed_form() -> None:
    teacher, student = pair()
    start = teacher[0].weight.clone()
    for _ in range(20):
        update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher[0].weight, student[0].weight - (student[0].weight - start) * 0.9**20)


def test_warm_up_rises_to_the_named_decay_and_stays() -> None:
    assert warmed_up_decay(0.999, 0, warmup=True) == pytest.approx(0.1)
    assert warmed_up_decay(0.999, 90, warmup=True) == pytest.approx(0.91)
    assert warmed_up_decay(0.999, 10**6, warmup=True) == 0.999
    assert warmed_up_decay(0.999, 0, warmup=False) == 0.999


def test_networks_of_different_structure_are_refused() -> None:
    with pytest.raises(ValueError, match="same structure"):
        update_teacher(nn.Linear(2, 2), nn.Linear(2, 3), 0.9)
