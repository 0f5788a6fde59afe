"""``lesion-app mine``: every mistake is one line, told before the detector is looked for; the table tells what came."""

from __future__ import annotations

import pytest
from rich.console import Console

from lesion_app.mining_command import print_mined


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--theta", 1.5), "--theta is 1.5; expected a number from 0 to 0.999"),
        (("--delta", 0), "--delta is 0; expected a number from 1e-06 to 2"),
        (("--delta", "nan"), "--delta is nan"),
        (("--sigma", -0.1), "--sigma is -0.1; expected a number from 0 to 1"),
        (("--min-score", 2), "--min-score is 2"),
        (("--false-share", 1), "--false-share is 1; expected a number from 1e-06 to 0.999"),
        (("--min-score", 0.6), "--min-score 0.6 is above --sigma 0.5"),
        (("--no-cross-slice", "--no-intra-patient", "--no-cross-dataset"), "leave at least one of them on"),
        (("--partly-labelled", " , "), "--partly-labelled names no expert"),
        (("--set", "theta"), "'theta' is no override"),
        (("--no-intra-patient", "--set", "tehta=0.5"), "no key 'tehta' to override; did you mean theta"),
        (("--no-intra-patient", "--config", "lens_inferense"), "there is no config file 'lens_inferense'"),
    ],
)
def test_mistake_in_an_option_is_told(refused, bundle, phantom_data, tmp_path, options, told):
    assert told in refused("mine", phantom_data, tmp_path / "out", "--bundle", bundle, *options)


def test_missing_datalist_is_told(refused, bundle, tmp_path, tmp_path_factory):
    nowhere = tmp_path_factory.mktemp("data")
    told = refused("mine", nowhere, tmp_path / "out", "--bundle", bundle, "--no-intra-patient")
    assert "datalist.json cannot be read" in told


def test_missing_weights_are_told(refused, bundle, phantom_data, tmp_path):
    told = refused("mine", phantom_data, tmp_path / "out", "--bundle", bundle, "--no-intra-patient")
    assert "no checkpoint at" in told


def test_missing_embedding_is_told_with_the_way_out(refused, bundle, phantom_data, tmp_path):
    told = refused("mine", phantom_data, tmp_path / "out", "--bundle", bundle, "--embedding", tmp_path / "none.pt")
    assert "there is no lesion embedding at" in told
    assert "--no-intra-patient" in told


def test_table_tells_figures_only_where_the_truth_is_known(capsys):
    row = {"boxes": 1200, "slices": 300, "lesions": 7}
    used = {"theta": 0.5, "delta": 0.2345, "sigma": 0.5, "false_share": None}
    summary = {
        "sub_volumes": 12,
        "thresholds": used,
        "strategies": {"cross-slice": {**row, "precision": 0.915, "recall": 0.5}, "all": row},
    }
    print_mined(Console(width=120), summary)
    lines = capsys.readouterr().out.splitlines()
    assert "12 sub-volumes" in lines[0]
    assert "delta 0.234" in lines[0] or "delta 0.235" in lines[0]
    first = next(line for line in lines if "cross-slice" in line)
    assert all(text in first for text in ("1,200", "300", "91.5 %", "50.0 %"))
    assert next(line for line in lines if " all " in line).split("│")[-3:-1] == ["         - ", "      - "]


def test_nothing_found_is_told(capsys):
    used = {"theta": 0.5, "delta": 0.15, "sigma": 0.5, "false_share": None}
    print_mined(Console(width=120), {"sub_volumes": 3, "thresholds": used, "strategies": {}})
    assert "nothing was found; try lower thresholds" in capsys.readouterr().out
