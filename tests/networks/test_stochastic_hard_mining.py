from __future__ import annotations

import pytest
import torch

from lesion_app.networks.stochastic_hard_mining import random_choice, stochastic_hard_mining


def slow_shem(scores: list[float], count: int, pool_factor: int, generator: torch.Generator) -> list[int]:
    """The published rule, one step after the other."""
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    pool = ranked[: min(pool_factor * count, len(ranked))]
    return [pool[i] for i in torch.randperm(len(pool), generator=generator).tolist()[:count]]


@pytest.mark.parametrize("count", [0, 1, 3, 40])
@pytest.mark.parametrize("pool_factor", [1, 4, 20])
@pytest.mark.parametrize("candidates", [0, 1, 30])
def test_draws_as_the_slow_rule_does(count: int, pool_factor: int, candidates: int) -> None:
    scores = torch.rand(candidates, generator=torch.Generator().manual_seed(candidates)).round(decimals=1)
    found = stochastic_hard_mining(scores, count, pool_factor, torch.Generator().manual_seed(7))
    assert found.tolist() == slow_shem(scores.tolist(), count, pool_factor, torch.Generator().manual_seed(7))
    assert found.dtype == torch.int64


def test_worked_example() -> None:
    """One wanted of a pool of two: the two most lesion-like, each in half of the draws."""
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7])
    drawn = [int(stochastic_hard_mining(scores, 1, 2, torch.Generator().manual_seed(seed))[0]) for seed in range(400)]
    assert set(drawn) == {1, 3}
    assert 150 < drawn.count(1) < 250


def test_pool_of_one_a_candidate_takes_the_hardest() -> None:
    assert sorted(stochastic_hard_mining(torch.tensor([0.2, 0.8, 0.4, 0.6]), 2, 1).tolist()) == [1, 3]


def test_global_generator_seeds_it() -> None:
    scores = torch.linspace(0, 1, 50)
    torch.manual_seed(3)
    first = stochastic_hard_mining(scores, 5, 4)
    torch.manual_seed(3)
    assert torch.equal(first, stochastic_hard_mining(scores, 5, 4))


@pytest.mark.parametrize(("shape", "count", "factor"), [((3, 2), 1, 1), ((3,), -1, 1), ((3,), 1, 0)])
def test_nonsense_is_refused(shape: tuple[int, ...], count: int, factor: int) -> None:
    with pytest.raises(ValueError, match="expected scores"):
        stochastic_hard_mining(torch.zeros(shape), count, factor)


def test_random_choice_keeps_all_where_there_are_not_more() -> None:
    given = torch.tensor([5, 2, 9])
    assert random_choice(given, 3).tolist() == [5, 2, 9]
    some = random_choice(given, 2, torch.Generator().manual_seed(0)).tolist()
    assert len(set(some)) == 2
    assert set(some) <= {5, 2, 9}
