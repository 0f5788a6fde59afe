"""The law of missing labels: pure draws on literal cases, and its fit on the real label files."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from lesion_app.data.missing_labels import (
    DEEPLESION_LAW,
    LESION_COUNTS,
    _draw_subset,
    _subset_sums,
    draw_labelled,
    fit_missing_law,
    highest_missing_rate,
    long_sides_mm,
    match_labels,
)


def test_marks_are_matched_by_slice_and_box() -> None:
    complete = {
        "a": [[3, 10, 10, 30, 30], [4, 10, 10, 30, 30], [3, 50, 50, 70, 80]],
        "empty": [],
        "b": [[0, 1, 1, 20, 20]],
    }
    original = {"a": [[3, 50, 50, 70, 80], [4, 10, 10, 30, 30.001]]}
    matched = match_labels(complete, original)
    assert {name: flags.tolist() for name, flags in matched.items()} == {"a": [False, True, True], "b": [False]}


def test_long_side_is_without_padding_and_in_mm() -> None:
    assert long_sides_mm([[0, 100, 100, 130, 122]], 0.8).tolist() == pytest.approx([16.0])


def test_subset_sums_and_draw_agree_with_enumeration() -> None:
    weights = np.array([0.5, 1.0, 2.0, 4.0])
    subsets = list(itertools.combinations(range(4), 2))
    products = np.array([weights[list(subset)].prod() for subset in subsets])
    assert _subset_sums(weights, 2)[0, 2] == pytest.approx(products.sum())
    rng = np.random.default_rng(0)
    drawn = [tuple(np.flatnonzero(_draw_subset(weights, 2, rng)).tolist()) for _ in range(4000)]
    shares = np.array([drawn.count(subset) for subset in subsets]) / len(drawn)
    np.testing.assert_allclose(shares, products / products.sum(), atol=0.03)


@pytest.mark.parametrize("law", ["deeplesion", "random"])
@pytest.mark.parametrize("rate", [None, 0.3, 0.7])
def test_at_least_one_label_is_kept(law: str, rate: float | None) -> None:
    rng = np.random.default_rng(0)
    for count in [1, 2, 3, 10, 44] * 20:
        assert draw_labelled(rng.uniform(4, 40, count), rng, law, rate).any()  # type: ignore[arg-type]


def test_no_label_is_lost_at_rate_zero_or_without_a_law() -> None:
    rng = np.random.default_rng(0)
    assert draw_labelled([5, 9, 30], rng, "deeplesion", 0.0).all()
    assert draw_labelled([5, 9, 30], rng, "none").all()


@pytest.mark.parametrize("law", ["deeplesion", "random"])
@pytest.mark.parametrize("rate", [0.2, 0.45, 0.65])
def test_rate_is_met_in_expectation(law: str, rate: float) -> None:
    rng = np.random.default_rng(1)
    counts = np.repeat(list(LESION_COUNTS), list(LESION_COUNTS.values()))
    kept = np.concatenate(
        [draw_labelled(rng.lognormal(2.55, 0.72, n), rng, law, rate) for n in np.tile(counts, 3)]  # type: ignore[arg-type]
    )
    assert 1 - kept.mean() == pytest.approx(rate, abs=0.03)


def test_larger_lesions_are_preferred_but_do_not_always_win() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([draw_labelled([8.0, 20.0], rng) for _ in range(2000)])
    only_one = draws[draws.sum(axis=1) == 1]
    assert 0.8 < only_one[:, 1].mean() < 0.97


def test_random_law_ignores_size() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([draw_labelled([5.0, 50.0], rng, "random") for _ in range(4000)])
    assert draws[:, 0].mean() == pytest.approx(draws[:, 1].mean(), abs=0.03)


def test_same_generator_same_labels() -> None:
    sides = np.linspace(4, 40, 12)
    first, second = (draw_labelled(sides, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_rate_beyond_one_label_a_volume_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0 to 0\.70"):
        draw_labelled([5.0, 6.0], np.random.default_rng(0), "deeplesion", 0.9)
    assert highest_missing_rate() == pytest.approx(1 - 1070 / 3665)


def test_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match="coin"):
        draw_labelled([5.0, 6.0], np.random.default_rng(0), "coin")  # type: ignore[arg-type]


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be fitted"):
        fit_missing_law({"a": [[0, 1, 1, 20, 20]]}, {"a": [[0, 1, 1, 20, 20]]}, {"a": 0.8})


Labels = dict[str, list[list[float]]]


@pytest.fixture(scope="module")
def real_labels(real_data: Path) -> tuple[Labels, Labels, dict[str, float]]:
    folder = real_data / "deeplesion"
    complete = json.loads((folder / "lesion_harvester" / "Revised-Test1071.json").read_text())
    original = json.loads((folder / "lesion_harvester" / "RECIST-Box-Test.json").read_text())
    with open(folder / "dl_info" / "DL_info_niftiID_test.csv", newline="") as stream:
        spacing = {row["File_name"][:12]: float(row["Spacing_mm_px_"].split(",")[0]) for row in csv.DictReader(stream)}
    return complete, original, {name: spacing[name[:12]] for name in complete}


def test_lesion_counts_are_those_of_the_complete_annotation(
    real_labels: tuple[Labels, Labels, dict[str, float]],
) -> None:
    counts = [len(boxes) for boxes in real_labels[0].values() if boxes]
    assert {n: counts.count(n) for n in sorted(set(counts))} == LESION_COUNTS


def test_constants_are_the_fit(real_labels: tuple[Labels, Labels, dict[str, float]]) -> None:
    fitted, law = fit_missing_law(*real_labels), DEEPLESION_LAW
    assert fitted.side_range_mm == pytest.approx(law.side_range_mm, rel=0.01)
    for name in ("size_exponent", "count_intercept", "count_slope", "size_slope", "concentration", "missing_rate"):
        assert getattr(fitted, name) == pytest.approx(getattr(law, name), rel=0.01), name


def test_law_reproduces_both_margins_of_the_real_data(real_labels: tuple[Labels, Labels, dict[str, float]]) -> None:
    complete, original, spacing = real_labels
    rng = np.random.default_rng(0)
    sides, real, drawn, counts = [], [], [], []
    for name, marked in match_labels(complete, original).items():
        long = long_sides_mm(complete[name], spacing[name])
        sides.append(long)
        counts.append(np.full(len(long), len(long)))
        real.append(marked)
        drawn.append(np.mean([draw_labelled(long, rng) for _ in range(30)], axis=0))
    side, count, marked, kept = (np.concatenate(v) for v in (sides, counts, real, drawn))
    # 1,640 original marks; one was clipped at the image's border and one lies in the volume without lesions.
    assert (len(marked), int(marked.sum())) == (3665, 1638)
    assert kept.mean() == pytest.approx(marked.mean(), abs=0.02)
    by_side = np.digitize(side, [6.5, 9, 12, 16, 26])
    by_count = np.digitize(count, [2, 3, 5, 9])
    published = {"side": [0.32, 0.28, 0.37, 0.48, 0.59, 0.65], "count": [0.99, 0.64, 0.49, 0.34, 0.23]}
    for groups, rates in ((by_side, published["side"]), (by_count, published["count"])):
        for group, rate in enumerate(rates):
            chosen = groups == group
            assert marked[chosen].mean() == pytest.approx(rate, abs=0.011)
            assert kept[chosen].mean() == pytest.approx(marked[chosen].mean(), abs=0.04)
