"""A Kalman filter of 2D boxes that drift at constant velocity from slice to slice, for many boxes at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SMALLEST_SIDE = 1e-6  # px; keeps the aspect ratio of a box without area finite


class ConstantVelocityKalman:
    """SORT's motion model (Bewley et al., "Simple online and realtime tracking", ICIP 2016), one step = one slice.

    State ``[u, v, s, r, du, dv, ds]``: centre (px), area (px^2), aspect ratio w / h (no velocity), and the change of
    the first three per slice. Measured is ``[u, v, s, r]``. The default variances are those of the authors' program.
    States are float64 ``[T, 7]``, covariances ``[T, 7, 7]``; every method works on all T tracks at once and returns
    new arrays.

    Args:
        measurement_variance: 4 numbers, variances of a measured ``u, v, s, r``.
        process_variance: 7 numbers, added to the state's variances on each slice.
        initial_variance: 7 numbers, variances of a new track's state; large for the velocities, which are unknown.

    Raises:
        ValueError: when a list has another length or an entry is not positive.
    """

    def __init__(
        self,
        measurement_variance: Sequence[float] = (1.0, 1.0, 10.0, 10.0),
        process_variance: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.0001),
        initial_variance: Sequence[float] = (10.0, 10.0, 10.0, 10.0, 10000.0, 10000.0, 10000.0),
    ) -> None:
        self._measurement_noise = _diagonal("measurement_variance", measurement_variance, 4)
        self._process_noise = _diagonal("process_variance", process_variance, 7)
        self._initial_covariance = _diagonal("initial_variance", initial_variance, 7)
        self._transition = np.eye(7)
        self._transition[[0, 1, 2], [4, 5, 6]] = 1.0

    def start(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance of new tracks that begin at ``boxes`` ``[T, 4]`` with velocity 0."""
        state = np.zeros((len(boxes), 7))
        state[:, :4] = _measure(boxes)
        return state, np.tile(self._initial_covariance, (len(boxes), 1, 1))

    def predict(self, state: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance on the next slice. An area that would shrink to nothing stays as it is instead."""
        state = state.copy()
        state[state[:, 2] + state[:, 6] <= 0, 6] = 0.0
        return (
            state @ self._transition.T,
            self._transition @ covariance @ self._transition.T + self._process_noise,
        )

    def update(self, state: np.ndarray, covariance: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State and covariance after each of the T tracks was seen at its row of ``boxes`` ``[T, 4]``."""
        observed = covariance[:, :4, :]  # H P, since the measurement is the first four entries of the state
        gain = np.linalg.solve(observed[:, :, :4] + self._measurement_noise, observed).transpose(0, 2, 1)
        innovation = _measure(boxes) - state[:, :4]
        return state + np.einsum("tij,tj->ti", gain, innovation), covariance - gain @ observed

    def boxes(self, state: np.ndarray) -> np.ndarray:
        """Boxes ``[T, 4]`` ``(x1, y1, x2, y2)`` px of the states."""
        centre, area, aspect = state[:, :2], state[:, 2], state[:, 3]
        width = np.sqrt(area * aspect)
        half = np.stack([width, area / width], axis=1) / 2
        return np.concatenate([centre - half, centre + half], axis=1)


def _measure(boxes: np.ndarray) -> np.ndarray:
    """``[u, v, s, r]`` of boxes ``[T, 4]``."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], _SMALLEST_SIDE)
    return np.concatenate(
        [(boxes[:, :2] + boxes[:, 2:]) / 2, sides.prod(axis=1, keepdims=True), sides[:, :1] / sides[:, 1:]], axis=1
    )


def _diagonal(name: str, variances: Sequence[float], length: int) -> np.ndarray:
    if len(variances) != length or not all(v > 0 for v in variances):
        raise ValueError(f"{name} must be {length} positive numbers, got {list(variances)}")
    return np.diag(np.asarray(variances, dtype=np.float64))
