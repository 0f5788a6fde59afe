"""What the study of missing labels says of the paper's orders."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture
def judge(scripts):
    return importlib.import_module("missing_labels.findings")


def scores(**arms: list[float]) -> dict[tuple[str, int], float]:
    return {(name.replace("_", "-"), seed): ap for name, values in arms.items() for seed, ap in enumerate(values)}


def test_every_compared_arm_is_one_of_the_study(judge):
    arms = importlib.import_module("missing_labels.arms").study_arms({"warmup": 1, "decay_at": 2})
    assert {name for one in judge.COMPARISONS for name in (one.worse, one.better)} <= set(arms)


def test_noise_is_of_differences_so_that_hard_test_patients_are_none(judge):
    found = scores(partial=[0.5, 0.7, 0.6], ours=[0.52, 0.72, 0.62])
    assert judge.difference_noise(found) == pytest.approx(0.0)
    spread = scores(partial=[0.5, 0.5, 0.5], ours=[0.50, 0.51, 0.52])
    assert judge.difference_noise(spread) == pytest.approx(0.01)


def test_single_seed_is_judged_by_a_noise_given_and_the_table_says_so(judge):
    found = scores(partial=[0.5], ours=[0.55])
    assert judge.difference_noise(found) is None
    assert [one.verdict for one in judge.findings(found, None)] == ["unknown"]
    judged = judge.findings(found, 0.01)
    assert [one.verdict for one in judged] == ["holds"]
    assert "no two arms here share two seeds" in judge.findings_table(judged, 0.01, measured=False)


@pytest.mark.parametrize(
    ("ours", "verdict"), [(0.05, "holds"), (-0.05, "does not hold"), (0.01, "within noise"), (-0.01, "within noise")]
)
def test_gain_within_two_standard_errors_is_noise(judge, ours, verdict):
    found = scores(partial=[0.5, 0.5, 0.5], ours=[0.5 + ours - 0.01, 0.5 + ours, 0.5 + ours + 0.01])
    (one,) = judge.findings(found, judge.difference_noise(found))
    assert (one.comparison.better, one.verdict) == ("ours", verdict)
    assert len(one.gain) == 3


def test_nothing_is_judged_while_the_noise_is_unknown(judge):
    single = scores(partial=[0.5], ours=[0.9])
    (one,) = judge.findings(single, judge.difference_noise(single))
    assert one.verdict == "unknown"
    assert judge.findings(scores(ours=[0.9]), None) == []


def test_table_sets_the_gain_beside_the_papers(judge):
    measured = scores(partial=[0.5, 0.5], ours=[0.55, 0.57])
    noise = judge.difference_noise(measured)
    row = judge.findings_table(judge.findings(measured, noise), noise)
    assert "| mining raises the AP | Table I, R to R + P+ | +5.2 | +6.0 | +5.0 / +7.0 | holds |" in row
    assert "standard deviation of 1.4 points" in row


def test_one_seed_that_went_wrong_makes_no_order(judge):
    """Quiet pairs make the pooled noise small; this pair's own gains say that it is not."""
    found = scores(**{f"arm{n}": [0.5, 0.5, 0.5] for n in range(8)}, partial=[0.5, 0.5, 0.5], ours=[0.51, 0.52, 0.58])
    noise = judge.difference_noise(found)
    (one,) = judge.findings(found, noise)
    assert sum(one.gain) / 3 > 2 * noise / 3**0.5
    assert one.verdict == "within noise"
    assert "| +1.0 / +2.0 / +8.0 | within noise |" in judge.findings_table([one], noise)
