"""What is drawn, and what random transforms do to it, follows from seed and running number alone."""

from __future__ import annotations

from itertools import islice

import ignite.engine
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, Lambdad, RandFlipd, RandGaussianNoised, Transform
from torch.utils.data import BatchSampler

from lesion_app.data.seeded_sampling import Draw, EndlessSampler, SeededDataset
from lesion_app.errors import InputError


def _numbers(sampler, count):
    return list(islice(sampler, count))


def test_every_round_is_a_permutation_and_no_two_are_alike():
    draws = _numbers(EndlessSampler(20, seed=3), 60)
    rounds = [[d.index for d in draws[k : k + 20]] for k in (0, 20, 40)]
    assert all(sorted(r) == list(range(20)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 3
    assert [d.number for d in draws] == list(range(60))


def test_seed_decides():
    assert _numbers(EndlessSampler(20, seed=3), 50) == _numbers(EndlessSampler(20, seed=3), 50)
    assert _numbers(EndlessSampler(20, seed=3), 50) != _numbers(EndlessSampler(20, seed=4), 50)


@pytest.mark.parametrize("start", [0, 1, 6, 7, 8, 30])
def test_resumed_draws_continue_the_run(start):
    whole = _numbers(EndlessSampler(7, seed=1), 40)
    sampler = EndlessSampler(7, seed=1)
    sampler.start = start
    assert whole[:start] + _numbers(sampler, 40 - start) == whole


def test_replicas_share_the_draws_of_one_run():
    whole = _numbers(EndlessSampler(7, seed=1), 30)
    parts = [_numbers(EndlessSampler(7, seed=1, num_replicas=3, rank=r), 10) for r in range(3)]
    assert [d for together in zip(*parts) for d in together] == whole
    resumed = [_numbers(EndlessSampler(7, 1, start=12, num_replicas=3, rank=r), 6) for r in range(3)]
    assert [d for together in zip(*resumed) for d in together] == whole[12:]


def test_nothing_to_draw_is_told():
    with pytest.raises(InputError, match="no training item"):
        EndlessSampler(0, seed=1)
    with pytest.raises(ValueError, match="rank"):
        EndlessSampler(3, seed=1, num_replicas=2, rank=2)


class CountedLoad(Transform):
    """Loads a small int16 picture; counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, item):
        self.calls += 1
        return {**item, "image": torch.full((1, 8, 8), item["value"], dtype=torch.int16) + torch.arange(8).short()}


class SpoilInPlace(Transform):
    def __call__(self, item):
        item["image"] += 100.0
        item["boxes"].append([0, 0, 1, 1])
        return item


def _transform(load=None):
    return Compose(
        [
            load or CountedLoad(),
            RandFlipd("image", prob=0.5, spatial_axis=1),
            Lambdad("image", lambda x: x.float()),
            RandGaussianNoised("image", prob=1.0, std=1.0),
            SpoilInPlace(),
        ]
    )


def _data(count=6):
    return [{"value": 10 * i, "boxes": []} for i in range(count)]


def _same(a, b):
    return a["value"] == b["value"] and a["boxes"] == b["boxes"] and torch.equal(a["image"], b["image"])


def test_draw_depends_on_its_number_alone():
    forwards, backwards = (SeededDataset(_data(), _transform(), seed=5) for _ in range(2))
    draws = _numbers(EndlessSampler(6, seed=2), 12)
    first = [forwards[d] for d in draws]
    second = [backwards[d] for d in reversed(draws)][::-1]
    assert all(map(_same, first, second))
    assert not torch.equal(forwards[Draw(3, 3)]["image"], forwards[Draw(3, 9)]["image"])
    other_seed = SeededDataset(_data(), _transform(), seed=6)
    assert not torch.equal(forwards[Draw(3, 3)]["image"], other_seed[Draw(3, 3)]["image"])


def test_global_generators_are_neither_used_nor_moved():
    dataset = SeededDataset(_data(), _transform(), seed=5)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is watched here
    torch.manual_seed(1)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = dataset[Draw(2, 4)]
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    torch.manual_seed(2)
    assert _same(dataset[Draw(2, 4)], first)


def test_plain_index_is_the_draw_of_that_number():
    dataset = SeededDataset(_data(), _transform(), seed=5)
    assert _same(dataset[4], dataset[Draw(4, 4)])
    assert _same(dataset[-2], dataset[Draw(4, 4)])
    with pytest.raises(IndexError):
        dataset[6]
    assert len(dataset) == 6


@pytest.mark.parametrize("cache_bytes", [2**20, 300, 0])
def test_cache_changes_nothing_but_the_work(cache_bytes):
    load = CountedLoad()
    plain = SeededDataset(_data(), _transform(), seed=5)
    cached = SeededDataset(_data(), _transform(load), seed=5, cache="memory", cache_bytes=cache_bytes)
    draws = _numbers(EndlessSampler(6, seed=2), 30)
    assert all(_same(plain[d], cached[d]) for d in draws)
    # an item takes 8 x 8 x 2 bytes: all six fit, two fit, none fits
    held = min(6, cache_bytes // 128)
    assert load.calls == held + (6 - held) * 5


def test_cache_can_be_filled_beforehand_and_keeps_dtypes():
    load = CountedLoad()
    dataset = SeededDataset(_data(), _transform(load), seed=5, cache="memory", cache_bytes=128 * 4)
    assert dataset.fill_cache() == 4
    assert {item["image"].dtype for item in dataset._kept.values()} == {torch.int16}
    calls = load.calls
    dataset[Draw(0, 0)]
    assert load.calls == calls


def test_data_are_not_spoiled_by_transforms_in_place():
    data = _data()
    dataset = SeededDataset(data, [SpoilBoxes()], seed=0)
    assert dataset[0]["boxes"] == dataset[0]["boxes"] == [[0, 0, 1, 1]]
    assert data[0]["boxes"] == []
    cached = SeededDataset(data, [SpoilBoxes()], seed=0, cache="memory")
    cached[0]["boxes"].clear()
    assert cached[0]["boxes"] == [[0, 0, 1, 1]]


class SpoilBoxes(Transform):
    def __call__(self, item):
        item["boxes"].append([0, 0, 1, 1])
        return item


def test_unknown_cache_is_refused():
    with pytest.raises(InputError, match="none or memory"):
        SeededDataset(_data(), None, 0, cache="disk")  # type: ignore[arg-type]


def _batches(workers, start, count, cache):
    dataset = SeededDataset(_data(), _picklable_transform(), seed=5, cache=cache)
    sampler = EndlessSampler(6, seed=2, start=start)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=list)
    return [item for batch in islice(loader, count) for item in batch]


def _picklable_transform():
    return Compose([CountedLoad(), RandFlipd("image", prob=0.5, spatial_axis=1), RandGaussianNoised("image", prob=1.0)])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_loader_resumed_equals_one_run(workers, cache):
    whole = _batches(0, 0, 6, "none")
    resumed = _batches(workers, 0, 2, cache) + _batches(workers, 8, 4, cache)
    assert len(whole) == len(resumed) == 24
    assert all(map(_same, whole, resumed))


def test_an_engine_of_several_epochs_goes_on_drawing():
    seen = []
    loader = torch.utils.data.DataLoader(
        SeededDataset(list(range(5)), None, seed=0), batch_size=2, sampler=EndlessSampler(5, seed=2), collate_fn=list
    )
    ignite.engine.Engine(lambda _, batch: seen.extend(batch)).run(loader, max_epochs=3, epoch_length=2)
    assert seen == [d.index for d in _numbers(EndlessSampler(5, seed=2), 12)]


def test_sampler_feeds_a_batch_sampler():
    batches = list(islice(BatchSampler(EndlessSampler(5, seed=2), 3, drop_last=False), 4))
    assert [d.number for batch in batches for d in batch] == list(range(12))
