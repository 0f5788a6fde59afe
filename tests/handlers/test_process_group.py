from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from lesion_app.errors import InputError
from lesion_app.handlers.process_group import join_process_group, leave_process_group, local_device, share_volumes


def test_device_is_the_cpu_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device() == torch.device("cpu")


def test_each_process_gets_the_gpu_of_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device() == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="--nproc_per_node 2"):
        local_device()


def test_joining_without_torchrun_says_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="torchrun --standalone --nproc_per_node"):
        join_process_group("cpu")
    leave_process_group()  # nothing to leave is no error


def test_volumes_are_shared_out_without_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_available", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        shares.append(list(share_volumes(range(8))))
    assert sorted(i for share in shares for i in share) == list(range(8))
    assert [len(share) for share in shares] == [3, 3, 2]


def test_fewer_volumes_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    with pytest.raises(InputError, match="2 validation volumes cannot be shared out among 3 processes"):
        share_volumes(range(2))
