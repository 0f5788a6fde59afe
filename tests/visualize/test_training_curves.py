"""Training curves: the right panel for each metric, honest lines."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.visualize.training_curves import metric_group, plot_training_curves, running_mean


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("loss", "Losses"),
        ("loss_rpn_box_reg", "Losses"),
        ("mined_per_ground_truth", "Mined boxes per ground-truth box"),
        ("mined_boxes", "Boxes in an iteration or epoch"),
        ("epoch_mined_precision", "Precision and recall of the mined boxes"),
        ("mined_recall", "Precision and recall of the mined boxes"),
        ("teacher_p3d_ap", "Validation"),
        ("val/student_average_sensitivity", "Validation"),
        ("learning_rate", "Other"),
    ],
)
def test_a_metric_finds_its_panel_by_its_name(name, group):
    assert metric_group(name) == group


def panels(figure):
    return {a.get_title(loc="left"): a for a in figure.axes}


def test_only_panels_with_curves_are_drawn_and_all_share_the_iterations(tmp_path, drawn):
    history = {"loss": [(2, 0.5), (1, 1.0)], "teacher_ap": [(40, 0.3)]}
    plot_training_curves(history, tmp_path / "c.png")
    assert list(panels(drawn[0])) == ["Losses", "Validation"]
    assert panels(drawn[0])["Losses"].get_xlim() == (0, 40)
    assert panels(drawn[0])["Losses"].lines[0].get_xdata().tolist() == [1, 2]


def test_values_that_are_not_finite_are_counted(tmp_path, drawn):
    plot_training_curves({"loss": [(0, 1.0), (1, float("nan")), (2, float("inf"))]}, tmp_path / "c.png")
    (text,) = panels(drawn[0])["Losses"].get_legend().get_texts()
    assert text.get_text() == "loss (2 not finite)"
    plot_training_curves({"loss": [(0, float("nan"))]}, tmp_path / "d.png")
    assert "no finite value" in [t.get_text() for t in panels(drawn[1])["Losses"].texts]


def test_losses_over_a_wide_range_get_a_log_axis(tmp_path, drawn):
    plot_training_curves({"loss": [(0, 3.0), (1, 0.05)]}, tmp_path / "a.png")
    plot_training_curves({"loss": [(0, 3.0), (1, 0.5)]}, tmp_path / "b.png")
    assert [panels(f)["Losses"].get_yscale() for f in drawn] == ["log", "linear"]


def test_the_student_is_dashed_and_shares_the_teachers_colour_for_the_same_metric(tmp_path, drawn):
    names = ["teacher_ap", "student_ap", "teacher_sensitivity", "student_sensitivity"]
    plot_training_curves({name: [(0, 0.1), (1, 0.2)] for name in names}, tmp_path / "c.png")
    lines = panels(drawn[0])["Validation"].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "--"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()


def test_the_running_mean_is_the_mean_of_its_window():
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(i - 3, 0) : i + 4].mean() for i in range(23)]
    assert running_mean(values, 7) == pytest.approx(expected)
    assert running_mean(values, 6) == pytest.approx(expected)
    assert running_mean(values[:3], 40) == pytest.approx([values[:3].mean()] * 3)


def test_a_long_run_is_smoothed_over_the_raw_line(tmp_path, drawn):
    plot_training_curves({"mined_per_ground_truth": [(i, float(i % 2)) for i in range(500)]}, tmp_path / "c.png")
    raw, smooth = panels(drawn[0])["Mined boxes per ground-truth box"].lines
    assert np.ptp(raw.get_ydata()) == 1
    assert np.ptp(smooth.get_ydata()) < 0.2


def test_an_empty_history_is_refused(tmp_path):
    for history in ({}, {"loss": []}):
        with pytest.raises(ValueError, match="at least one"):
            plot_training_curves(history, tmp_path / "c.png")
