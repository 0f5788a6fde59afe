"""Shared fixtures: the real test data, where it is to be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CTs, label files and oracle vectors; skips where it is absent."""
    folder = Path(os.environ.get("LESION_APP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real test data not found at {folder}; set LESION_APP_TEST_DATA to its folder")
    return folder
