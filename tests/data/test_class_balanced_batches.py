"""Every class has its share of the draws, and draw n follows from seed and n alone."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from lesion_app.data.class_balanced_batches import ClassBalancedSampler
from lesion_app.errors import InputError

# Class 1 has five images, class 2 two, class 5 one; image 3 shows classes 1 and 5, image 7 nothing.
ITEMS = [{"labels": labels} for labels in ([1], [1, 1], [1], [1, 5], [1], [2], [2], [])]
IMAGES = {1: {0, 1, 2, 3, 4}, 2: {5, 6}, 5: {3}}


def draws(count, seed=0, **options):
    return list(islice(ClassBalancedSampler(ITEMS, seed, **options), count))


def rounds(count, seed=0):
    indices = [d.index for d in draws(3 * count, seed)]
    return [indices[3 * k : 3 * k + 3] for k in range(count)]


def test_each_round_takes_one_image_of_each_class():
    for seed in range(5):
        for here in rounds(20, seed):
            assert sum(i in IMAGES[2] for i in here) == 1
            assert 3 in here
            assert 7 not in here
            assert len(set(here) & {0, 1, 2, 4}) + (here.count(3) == 2) == 1


def test_a_class_is_seen_entirely_before_it_begins_anew():
    of_two = [next(i for i in here if i in IMAGES[2]) for here in rounds(40)]
    assert all(set(of_two[k : k + 2]) == {5, 6} for k in range(0, 40, 2))
    laps = [Counter(i for here in rounds(20)[k : k + 5] for i in here) for k in range(0, 20, 5)]
    # image 3 is drawn once as a member of class 1 and five times as the only one of class 5
    assert all(lap == Counter({0: 1, 1: 1, 2: 1, 4: 1, 3: 6, 5: lap[5], 6: lap[6]}) for lap in laps)


def test_order_of_classes_and_of_images_changes():
    seen = [tuple(here) for here in rounds(60)]
    assert len(set(seen)) > 20
    assert len({here.index(next(i for i in here if i in IMAGES[2])) for here in seen}) == 3


def test_epoch_ends_when_the_most_abundant_class_has_been_seen():
    sampler = ClassBalancedSampler(ITEMS, 0)
    assert sampler.classes == [1, 2, 5]
    assert sampler.epoch_length == 15
    assert {d.index for d in islice(sampler, 15)} >= IMAGES[1]


@pytest.mark.parametrize("start", [0, 1, 2, 3, 14, 15, 16, 31])
def test_resumed_draws_continue_the_run(start):
    whole = draws(50, seed=4)
    assert [d.number for d in whole] == list(range(50))
    sampler = ClassBalancedSampler(ITEMS, 4)
    sampler.start = start
    assert list(islice(sampler, 50 - start)) == whole[start:]


def test_replicas_share_the_draws_of_one_run():
    whole = draws(30, seed=2)
    parts = [draws(15, seed=2, num_replicas=2, rank=rank) for rank in range(2)]
    assert [d for pair in zip(*parts) for d in pair] == whole


def test_seed_decides():
    assert draws(40, 1) == draws(40, 1)
    assert draws(40, 1) != draws(40, 2)


def test_nothing_to_draw_is_told():
    with pytest.raises(InputError, match="no slice with a lesion"):
        ClassBalancedSampler([{"labels": []}], 0)
    with pytest.raises(ValueError, match="rank"):
        ClassBalancedSampler(ITEMS, 0, num_replicas=2, rank=2)
