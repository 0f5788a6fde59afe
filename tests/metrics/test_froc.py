import json
import warnings

import numpy as np
import pytest
from scipy.interpolate import interp1d

from lesion_app.metrics.froc import FROC_FPS, froc_curve, interpolate_sensitivity


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def curve_of(outcome, n_truth=8, n_volumes=2):
    """A curve from a string: T a new hit, F nothing hit, R the first lesion again."""
    hits, new = [], 0
    for rank, kind in enumerate(outcome):
        if kind == "T":
            hits.append((rank, new))
            new += 1
        elif kind == "R":
            hits.append((rank, 0))
    detection, truth = zip(*hits) if hits else ((), ())
    scores = np.linspace(0.9, 0.1, len(outcome))
    return froc_curve(scores, detection, truth, n_truth, n_volumes, repeats_are_false=True)


@pytest.fixture(scope="module")
def oracle(real_data):
    return json.loads((real_data / "deeplesion/oracle/interp_semantics.json").read_text())


@pytest.mark.parametrize(
    ("interpolation", "key"), [("lesion_harvester", "lh_interp1d_extrapolate"), ("lens", "lens_sens_at_FP")]
)
def test_both_published_readings_of_a_curve(oracle, interpolation, key):
    read = interpolate_sensitivity(oracle["fp_per_img"], oracle["sens"], oracle["query"], interpolation)
    assert read.tolist() == oracle[key]
    curve = curve_of("TTTFTTFTF")
    assert curve.fp_per_volume.tolist() == oracle["fp_per_img"]
    assert curve.sensitivity.tolist() == oracle["sens"]
    assert curve.sensitivity_at(oracle["query"], interpolation).tolist() == oracle[key]


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_scipy_and_numpy_wherever_they_give_a_number(seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.integers(0, 8, 12)) / 4, np.sort(rng.random(12))
    query = np.r_[np.arange(-2, 12) / 4, rng.uniform(-1, 4, 10)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = interp1d(x, y, fill_value="extrapolate")(query)
    usable = np.isfinite(published)
    read = interpolate_sensitivity(x, y, query, "lesion_harvester")
    np.testing.assert_allclose(read[usable], published[usable], rtol=1e-13)
    assert usable.any()
    assert np.isfinite(read).all()
    np.testing.assert_array_equal(
        interpolate_sensitivity(x, y, query, "lens"), np.where(query < x[0], 0, np.interp(query, x, y))
    )


@pytest.mark.parametrize("interpolation", ["lesion_harvester", "lens"])
@pytest.mark.parametrize(
    ("outcome", "at_1_8", "at_16"),
    [
        ("", 0, 0),
        ("T", 1 / 8, 1 / 8),
        ("F", 0, 0),
        ("FT", 0, 1 / 8),  # the published program divides by zero to the left
        ("TFT", 1 / 8, 2 / 8),  # and here to the right
        ("TTFTR", 2 / 8, 3 / 8),
        ("RRF", 1 / 8, 1 / 8),
    ],
)
def test_the_ends_of_a_curve_are_finite(outcome, at_1_8, at_16, interpolation):
    curve = curve_of(outcome)
    assert curve.sensitivity_at([0.125, 16], interpolation).tolist() == [at_1_8, at_16]


def test_no_truth_gives_zeros():
    curve = froc_curve([0.5, 0.4], [], [], n_truth=0, n_volumes=3)
    assert curve.average_precision == curve.average_sensitivity == curve.recall == 0
    assert curve.sensitivity_at(FROC_FPS).tolist() == [0] * 8
    assert froc_curve([], [], [], 0, 0).average_precision == 0


def test_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="unknown interpolation"):
        curve_of("T").sensitivity_at([1], "cubic")


def test_average_precision_worked_example():
    # recall 1/4, 1/4, 2/4, 3/4; precision 1, 1/2, 2/3, 3/4; envelope 1, 3/4, 3/4, 3/4
    assert curve_of("TFTT", n_truth=4).average_precision == pytest.approx(1 / 4 * 1 + 2 / 4 * 3 / 4)


def test_a_repeat_lowers_precision_but_adds_no_false_positive_to_froc():
    once, again = curve_of("TTF", n_truth=4), curve_of("TRTF", n_truth=4)
    assert again.fp_froc.tolist() == [0, 0, 0, 1]
    assert again.fp_ap.tolist() == [0, 1, 1, 2]
    assert again.average_precision < once.average_precision
    assert again.average_sensitivity == once.average_sensitivity


def test_average_sensitivity_is_the_mean_of_seven():
    curve = curve_of("TFTFTFFFT", n_truth=4, n_volumes=4)
    assert curve.average_sensitivity == pytest.approx(curve.sensitivity_at(FROC_FPS)[:7].mean())
    assert curve.recall == 1.0


def test_threshold_keeps_false_positives_within_the_allowance():
    curve = curve_of("TFTFF", n_volumes=2)  # scores 0.9 0.7 0.5 0.3 0.1
    assert curve.choose_threshold(0.5) == pytest.approx(0.5)
    assert curve.choose_threshold(0.49) == pytest.approx(0.9)
    assert curve.choose_threshold(100) == pytest.approx(0.1)
    assert curve_of("").choose_threshold(1) == 0.0
    none_allowed = curve_of("FT").choose_threshold(0)
    assert none_allowed > 0.9
    assert none_allowed == pytest.approx(0.9)


def test_threshold_does_not_cut_through_equal_scores():
    curve = froc_curve([0.9, 0.5, 0.5, 0.2], [0], [0], n_truth=1, n_volumes=1)
    assert curve.choose_threshold(1) == 0.9
    assert curve.choose_threshold(2) == 0.5


def test_subset_keeps_the_false_positives_and_counts_only_its_lesions():
    curve = froc_curve([0.9, 0.8, 0.7, 0.6], [0, 2, 3, 3], [1, 1, 0, 2], n_truth=4, n_volumes=2)
    large = curve.subset([True, False, False, True])
    assert curve.tp.tolist() == [1, 1, 1, 3]
    assert large.tp.tolist() == [0, 0, 0, 1]
    assert large.n_truth == 2
    assert large.fp_froc.tolist() == curve.fp_froc.tolist() == [0, 1, 1, 1]
    assert large.hit_scores.tolist() == [0.6, -np.inf]
    rest = curve.subset([False, True, True, False])
    assert (large.tp + rest.tp).tolist() == curve.tp.tolist()
    assert curve.subset(np.zeros(4, dtype=bool)).average_sensitivity == 0
    with pytest.raises(ValueError, match="keep"):
        curve.subset([1, 0, 0, 1])


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        froc_curve([0.5, float("nan")], [], [], 1, 1)
    with pytest.raises(ValueError, match="pair"):
        froc_curve([0.5], [0], [1], n_truth=1, n_volumes=1)
    with pytest.raises(ValueError, match="pair"):
        froc_curve([0.5], [0, 0], [0], n_truth=1, n_volumes=1)
