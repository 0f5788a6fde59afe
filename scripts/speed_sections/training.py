"""Training: slabs a second from the disk, what mining and averaging cost beside the student's step, waiting for
data."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from speed_sections.subjects import body_volume, our_network, scale
from speed_sections.timing import interleaved, summary

from lesion_app.bundle_run import find_bundle
from lesion_app.data.datalist import prepare_deeplesion
from lesion_app.data.phantom import write_phantom
from lesion_app.handlers.mean_teacher import MeanTeacher
from lesion_app.mining.averaging import update_teacher
from lesion_app.networks.inference_detector import inference_detector


def measure_step(size: int = 512, batch: int = 1, repetitions: int = 3, small: bool = False) -> dict[str, Any]:
    """Seconds of the plain student step, of the teacher's look and of its averaging, and their share of the step."""
    student = our_network(small).train()
    teacher = copy.deepcopy(student)
    handler = MeanTeacher(student, teacher)
    prepared = MeanTeacher(student, teacher, prepare=inference_detector)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-5, momentum=0.9)
    slabs = list(scale(body_volume(9 * batch, size)).split(9))
    target = {"boxes": torch.tensor([[0.4, 0.4, 0.45, 0.46]]) * size, "labels": torch.ones(1, dtype=torch.int64)}

    def step() -> None:
        optimizer.zero_grad()
        sum(student(slabs, [target] * batch).values()).backward()
        optimizer.step()

    jobs: dict[str, Callable[[], Any]] = {
        "student's step": step,
        "teacher's look, float32, as it is": lambda: handler.predict_teacher(slabs, "cpu"),
        "averaging": lambda: update_teacher(teacher, student, 0.999),
        # Behind the averaging, so that the copy is made anew each time, as in training.
        "teacher's look, prepared": lambda: prepared.predict_teacher(slabs, "cpu"),
    }
    seconds = interleaved(jobs, repetitions)
    found = {name: summary(values) for name, values in seconds.items()}
    extra = found["teacher's look, prepared"]["median"] + found["averaging"]["median"]
    return {
        "size_px": size,
        "batch": batch,
        "seconds": found,
        "mining_and_averaging_share_of_step": extra / found["student's step"]["median"],
    }


def measure_loading(
    patients: int = 3, size: int = 512, workers: tuple[int, ...] = (0, 1, 2), slabs: int = 60
) -> dict[str, Any]:
    """DeepLesion slabs a second through the training's own preprocessing, by cache and number of workers."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(folder, patients, 0, size=size, split=(1.0, 0.0, 0.0), workers=1)
        prepare_deeplesion(folder, folder)
        for cache in ("none", "memory"):
            for count in workers:
                loader = loading(Path(folder), cache, count)
                if cache == "memory":
                    loader.dataset.fill_cache()  # before the workers start, who share it then
                seconds, seen = consume(loader, slabs)
                found[f"cache {cache}, {count} workers"] = seen / seconds
    return {"slabs_per_second": found, "size_px": size}


def loading(folder: Path, cache: str, workers: int) -> Any:
    """The training's data loader, batches of two."""
    config = ConfigParser.load_config_files([str(Path(find_bundle()) / "configs" / "train.json")])
    config.update(
        {
            "dataset_dir": str(folder),
            "batch_size": 2,
            "num_workers": workers,
            "cache": cache,
            "bundle_root": str(folder),
        }
    )
    return ConfigParser(config).get_parsed_content("train#dataloader")


def consume(loader: Any, slabs: int) -> tuple[float, int]:
    """Seconds and number of slabs until about ``slabs`` have come; starting the workers is not counted."""
    batches = iter(loader)
    next(batches)
    start, seen = time.perf_counter(), 0
    while seen < slabs:
        seen += len(next(batches))
    return time.perf_counter() - start, seen


def measure_waiting(patients: int = 6, iterations: int = 12) -> dict[str, Any]:
    """Share of the demo's training time (its small network, one process) that the step waits for data."""
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(folder, patients, 0, size=256, split=(1.0, 0.0, 0.0), workers=1)
        prepare_deeplesion(folder, folder)
        configs = Path(find_bundle()) / "configs"
        config = ConfigParser.load_config_files([str(configs / "train.json"), str(configs / "demo.json")])
        config.update({"dataset_dir": folder, "bundle_root": folder, "mine": True, "mining_start_iteration": 1})
        parser = ConfigParser(config)
        batches = iter(parser.get_parsed_content("train#dataloader"))
        network, optimizer = parser.get_parsed_content("network"), parser.get_parsed_content("optimizer")
        prepare = parser.get_parsed_content("train#trainer#prepare_batch")
        waited = worked = 0.0
        for turn in range(iterations):
            start = time.perf_counter()
            batch = next(batches)
            middle = time.perf_counter()
            slabs, targets = prepare(batch, "cpu", False)[:2]
            optimizer.zero_grad()
            sum(network(slabs, targets).values()).backward()
            optimizer.step()
            if turn >= 2:
                waited, worked = waited + middle - start, worked + time.perf_counter() - middle
    return {"share_of_time_waiting": waited / (waited + worked), "seconds_per_step": worked / (iterations - 2)}
