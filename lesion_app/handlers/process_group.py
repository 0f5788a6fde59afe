"""Training on several processes: joining the group, sharing out volumes, keeping BatchNorm's statistics equal."""

from __future__ import annotations

import logging
import os
from collections.abc import Sized

import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.data import DistributedSampler
from monai.engines.utils import IterationEvents
from torch import nn

from lesion_app.errors import InputError


def local_device() -> torch.device:
    """The GPU of this process, by torchrun's ``LOCAL_RANK``; the CPU where there is no GPU.

    Raises:
        InputError: more processes on this machine than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= gpus:
        raise InputError(
            f"process {rank} of this machine has no GPU of its own, there are {gpus}; start torchrun with "
            f"--nproc_per_node {gpus} at most"
        )
    return torch.device("cuda", rank)


def join_process_group(device: str | torch.device) -> None:
    """Join the processes that torchrun started: NCCL for a GPU, Gloo for the CPU.

    Only the first process (rank 0) goes on reporting progress. Joining twice does nothing.

    Raises:
        InputError: not started by torchrun.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            f"multi_gpu_train.json needs several processes, but {missing[0]} is not set; start it with "
            "torchrun --standalone --nproc_per_node GPUS -m monai.bundle run training ..."
        )
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if dist.get_rank() > 0:
        for name in ("lesion_app", "monai", "ignite"):
            logging.getLogger(name).setLevel(logging.WARNING)


def leave_process_group() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def share_volumes(dataset: Sized) -> DistributedSampler:
    """A sampler that gives each process its share of ``dataset``, each volume to exactly one, in order.

    Raises:
        InputError: fewer volumes than processes; one would have nothing to evaluate and the others wait for it.
    """
    if len(dataset) < dist.get_world_size():
        raise InputError(
            f"{len(dataset)} validation volumes cannot be shared out among {dist.get_world_size()} processes; start "
            "fewer processes or validate on more volumes"
        )
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)  # type: ignore[arg-type]


class AverageBuffers:
    """Averages ``network``'s floating-point buffers over all processes after every backward pass.

    Each process updates BatchNorm's running statistics with its own slabs. Averaged before the mean teacher looks at
    them, they stay equal everywhere, and so does the teacher. Ours; ``DistributedDataParallel`` alone takes rank 0's,
    and only at the next forward pass. The mean of the variances leaves out the spread of the means.

    Args:
        network: the same structure in every process.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, anywhere in its list of handlers."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.average)

    @torch.no_grad()
    def average(self, engine: Engine | None = None) -> None:
        """Average now."""
        buffers = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([buffer.flatten() for buffer in buffers])  # one message instead of hundreds
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for buffer, mean in zip(buffers, flat.split([buffer.numel() for buffer in buffers])):
            buffer.copy_(mean.view_as(buffer))
