"""Commands told to a user can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from lesion_app.command_line import command_line


def test_command_names_overlays_settings_and_bundle_in_this_order():
    told = command_line("train", ["retina_unet", Path("mine.json")], ["dataset_dir=data", "epochs=2"], Path("there"))
    assert told == (
        "lesion-app train --config retina_unet --config mine.json --set dataset_dir=data --set epochs=2 --bundle there"
    )
    assert command_line("evaluate") == "lesion-app evaluate"


def test_what_a_shell_would_take_apart_is_quoted():
    settings = ["network_def#num_classes=8", "dataset_dir=my data", "anchor_sizes=[8, 16]", "name='x'"]
    assert shlex.split(command_line("train", [], settings))[3::2] == settings
