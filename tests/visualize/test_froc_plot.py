"""The FROC page draws the metric's own numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lesion_app.metrics.froc import FrocCurve
from lesion_app.visualize.froc_plot import plot_froc


def curve(hits: str, n_truth: int = 8, n_volumes: int = 2) -> FrocCurve:
    """Detections in descending score, one letter each: T finds a lesion, F finds nothing, R finds one again."""
    letters = np.array(list(hits))
    tp = np.cumsum(letters == "T")
    hit_rank = np.full(n_truth, len(letters))
    hit_rank[: tp[-1] if len(tp) else 0] = np.flatnonzero(letters == "T")
    return FrocCurve(
        scores=np.linspace(1, 0, len(letters) + 2)[1:-1],
        tp=tp,
        fp_froc=np.cumsum(letters == "F"),
        fp_ap=np.cumsum((letters == "F") | (letters == "R")),
        n_truth=n_truth,
        n_volumes=n_volumes,
        hit_rank=hit_rank,
    )


def panel(figure, title):
    return next(a for a in figure.axes if a.get_title(loc="left") == title)


def test_the_marks_are_the_published_operating_points(tmp_path, drawn):
    c = curve("TTFTRFTFFTFFFFFFFF")
    plot_froc({"teacher": c}, tmp_path / "froc.png")
    marks = next(line for line in panel(drawn[0], "FROC").lines if line.get_marker() == "o")
    points = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    assert marks.get_xdata() == pytest.approx(points)
    assert marks.get_ydata() == pytest.approx(c.sensitivity_at(points))


def test_the_staircase_rises_at_each_lesion_found(tmp_path, drawn):
    plot_froc({"teacher": curve("TFTF")}, tmp_path / "froc.png")
    line = panel(drawn[0], "FROC").lines[0]
    assert line.get_xdata()[1:] == pytest.approx([0.0625, 0.5, 0.5, 1.0])
    assert line.get_ydata()[1:] == pytest.approx([1 / 8, 1 / 8, 2 / 8, 2 / 8])


def test_the_area_under_the_drawn_precision_is_the_average_precision(tmp_path, drawn):
    c = curve("FTTFTRFTFFTF")
    plot_froc({"teacher": c}, tmp_path / "froc.png")
    stairs = next(line for line in panel(drawn[0], "Precision and recall").lines if line.get_linewidth() > 1)
    recall, precision = (np.asarray(v, float) for v in stairs.get_data())
    # where="pre": between two points the line keeps the height of the right one
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(c.average_precision)


def test_the_table_tells_both_numbers(tmp_path, drawn):
    c = curve("TTFTRFTFFTFF")
    plot_froc({"teacher": c, "student": curve("FFTF")}, tmp_path / "froc.png")
    texts = [t.get_text() for t in drawn[0].texts]
    assert "8 lesions in 2 sub-volumes" in texts
    assert f"{c.average_sensitivity:.3f}" in texts
    assert f"{c.average_precision:.3f}" in texts
    assert {"teacher", "student"} <= set(texts)


def test_the_axis_is_logarithmic_to_base_two_from_an_eighth_to_eight(tmp_path, drawn):
    plot_froc({"a": curve("TF")}, tmp_path / "froc.png")
    axes = panel(drawn[0], "FROC")
    assert axes.get_xscale() == "log"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]
    low, high = axes.get_xlim()
    assert low < 0.125
    assert high > 8


@dataclass(frozen=True)
class Unmeasured:
    """A curve without truth, as duck-typed as can be."""

    n_truth: int = 0
    n_volumes: int = 3
    average_precision: float = float("nan")
    average_sensitivity: float = float("nan")
    tp = np.zeros(2, int)
    fp_froc = np.arange(1, 3)
    fp_ap = np.arange(1, 3)

    def sensitivity_at(self, fps):
        return np.full(len(fps), np.nan)


def test_curves_without_detections_or_without_truth_still_make_a_page(tmp_path, drawn):
    out = plot_froc({"untrained": curve(""), "no truth": Unmeasured()}, tmp_path / "froc.svg")
    assert out.stat().st_size > 1000
    assert not panel(drawn[0], "FROC").lines
    assert "0.000" in [t.get_text() for t in drawn[0].texts]


def test_ten_curves_fit_and_none_is_refused(tmp_path):
    plot_froc({f"model {i}": curve("TFTF") for i in range(10)}, tmp_path / "froc.png")
    with pytest.raises(ValueError, match="at least one curve"):
        plot_froc({}, tmp_path / "none.png")
