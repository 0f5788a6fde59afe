"""Resamples of patients, and the interval they give."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.metrics.bootstrap import percentile_interval, resampled_counts


def test_as_many_patients_are_drawn_as_there_are_and_their_cases_stay_together():
    groups = ["b", "a", "b", "c", "a"]
    counts = resampled_counts(groups, 200, seed=1)
    assert counts.shape == (200, 5)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert counts[:, [0, 1, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


def test_draws_follow_from_the_seed_and_from_who_comes_first_not_from_names():
    assert np.array_equal(resampled_counts([1, 2, 1], 20, 7), resampled_counts(["x", "y", "x"], 20, 7))
    assert not np.array_equal(resampled_counts([1, 2, 1], 20, 7), resampled_counts([1, 2, 1], 20, 8))


def test_interval_lies_between_the_percentiles_and_leaves_nan_out():
    values = np.concatenate([np.arange(101.0), [np.nan, np.nan]])
    interval = percentile_interval(values, 0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))
    assert (interval.level, interval.resamples) == (0.9, 101)
    nothing = percentile_interval(np.array([np.nan]))
    assert np.isnan([nothing.low, nothing.high]).all()
    assert nothing.resamples == 0


def test_interval_of_a_mean_covers_it_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = generator.normal(size=40)
        counts = resampled_counts(range(40), 400, trial)
        interval = percentile_interval((counts @ values) / 40, 0.9)
        covered += interval.low <= 0 <= interval.high
    assert 0.8 <= covered / 200 <= 0.97


def test_faulty_arguments_are_refused():
    with pytest.raises(ValueError, match="needs cases"):
        resampled_counts([], 10, 0)
    with pytest.raises(ValueError, match="resamples"):
        resampled_counts([1], 0, 0)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="level"):
            percentile_interval(np.arange(3.0), level)
