from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lesion_app.handlers.random_state import capture_random_state, restore_random_state


@pytest.fixture(autouse=True)
def _leave_generators_alone():
    state = capture_random_state()
    yield
    restore_random_state(state)


def draw() -> tuple[list[float], ...]:
    return (
        torch.rand(3).tolist(),
        torch.randn(3).tolist(),
        np.random.rand(3).tolist(),  # noqa: NPY002 - MONAI draws from the global one
        np.random.randn(3).tolist(),  # noqa: NPY002
        [random.random() for _ in range(3)],
        [random.gauss(0, 1) for _ in range(3)],
    )


@pytest.mark.parametrize("odd", [False, True])
def test_state_survives_a_file_and_repeats_every_draw(tmp_path, odd):
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002
    random.seed(3)
    if odd:  # numpy and random keep the second of two normal numbers for later
        np.random.randn()  # noqa: NPY002
        random.gauss(0, 1)
    torch.save(capture_random_state(), tmp_path / "state.pt")
    first = draw()
    assert draw() != first
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == first
