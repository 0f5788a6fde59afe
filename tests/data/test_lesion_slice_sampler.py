"""An epoch shows every lesion once and half as many negative slices."""

from __future__ import annotations

from itertools import islice

import pytest

from lesion_app.data.lesion_slice_sampler import LesionSliceSampler
from lesion_app.errors import InputError


def item(name, boxes, lesions=None):
    made = {"id": name, "boxes": [[0, 0, 1, 1]] * boxes}
    return made if lesions is None else {**made, "lesions": lesions}


# lesion 0 of a on items 0-2, lesion 1 of a on item 2, one unnumbered lesion on item 3, item 4 has two of them
ITEMS = [item("a", 1, [0]), item("a", 1, [0]), item("a", 2, [0, 1]), item("b", 1), item("b", 2)]
EMPTY = [item("c", 0) for _ in range(7)]


def draws(sampler, count):
    return [draw.index for draw in islice(iter(sampler), count)]


def test_every_lesion_is_shown_once_an_epoch_beside_half_as_many_negatives():
    sampler = LesionSliceSampler(ITEMS + EMPTY, seed=0)
    assert (sampler.lesions, sampler.epoch_length) == (5, 7)
    for start in range(0, 70, 7):
        epoch = draws(LesionSliceSampler(ITEMS + EMPTY, seed=0, start=start), 7)
        assert sum(index < 3 for index in epoch) == 2
        assert epoch.count(3) == 1
        assert epoch.count(4) == 2
        assert len({index for index in epoch if index >= 5}) == 2


def test_all_slices_of_a_lesion_have_their_turn():
    seen = draws(LesionSliceSampler(ITEMS[:2], seed=3), 100)
    assert 30 < seen.count(0) < 70


def test_draws_follow_from_seed_and_number():
    whole = draws(LesionSliceSampler(ITEMS + EMPTY, seed=1), 40)
    assert draws(LesionSliceSampler(ITEMS + EMPTY, seed=1, start=13), 27) == whole[13:]
    assert draws(LesionSliceSampler(ITEMS + EMPTY, seed=1, num_replicas=2, rank=1), 20) == whole[1::2]
    assert draws(LesionSliceSampler(ITEMS + EMPTY, seed=2), 40) != whole


def test_without_negatives_or_with_too_few_of_them():
    assert LesionSliceSampler(ITEMS, seed=0).epoch_length == 5
    sampler = LesionSliceSampler(ITEMS + EMPTY[:2], seed=0, negatives=1.0)
    epoch = draws(sampler, sampler.epoch_length)
    assert sorted(index for index in epoch if index >= 5) in ([5, 5, 5, 6, 6], [5, 5, 6, 6, 6])


def test_nothing_to_draw_is_told():
    with pytest.raises(InputError, match="no slice with a lesion"):
        LesionSliceSampler(EMPTY, seed=0)
    with pytest.raises(ValueError, match="rank"):
        LesionSliceSampler(ITEMS, seed=0, rank=1)
