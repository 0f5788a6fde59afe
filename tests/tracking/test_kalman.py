import numpy as np
import pytest

from lesion_app.tracking.kalman import ConstantVelocityKalman


def textbook_step(x, p, box):
    """One predict and update of one track, written out with full matrices."""
    f = np.eye(7)
    f[0, 4] = f[1, 5] = f[2, 6] = 1
    h = np.eye(4, 7)
    r = np.diag([1.0, 1, 10, 10])
    q = np.diag([1.0, 1, 1, 1, 0.01, 0.01, 0.0001])
    x = x.copy()
    if x[2] + x[6] <= 0:
        x[6] = 0
    x, p = f @ x, f @ p @ f.T + q
    x1, y1, x2, y2 = box
    z = np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) * (y2 - y1), (x2 - x1) / (y2 - y1)])
    k = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
    return x + k @ (z - h @ x), (np.eye(7) - k @ h) @ p


def test_batch_equals_the_textbook_track_by_track():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 400, (8, 6, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 40, (8, 6, 2))], axis=2)
    kalman = ConstantVelocityKalman()
    state, covariance = kalman.start(boxes[0])
    single = [(state[i], np.diag([10.0, 10, 10, 10, 1e4, 1e4, 1e4])) for i in range(6)]
    for step in range(1, 8):
        state, covariance = kalman.update(*kalman.predict(state, covariance), boxes[step])
        single = [textbook_step(x, p, boxes[step, i]) for i, (x, p) in enumerate(single)]
        np.testing.assert_allclose(state, [x for x, _ in single], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance, [p for _, p in single], rtol=1e-8, atol=1e-6)


def test_boxes_survive_the_way_through_the_state():
    boxes = np.array([[10.0, 20, 34, 28], [0, 0, 1, 1]])
    kalman = ConstantVelocityKalman()
    np.testing.assert_allclose(kalman.boxes(kalman.start(boxes)[0]), boxes)


def test_a_steady_drift_is_foreseen():
    kalman = ConstantVelocityKalman()
    boxes = np.array([[[10 + 5.0 * z, 40 - 3.0 * z, 30 + 5.0 * z, 60 - 3.0 * z]] for z in range(6)])
    state, covariance = kalman.start(boxes[0])
    for box in boxes[1:5]:
        state, covariance = kalman.update(*kalman.predict(state, covariance), box)
    state, _ = kalman.predict(state, covariance)
    np.testing.assert_allclose(kalman.boxes(state), boxes[5], atol=0.05)


def test_an_area_never_shrinks_to_nothing():
    kalman = ConstantVelocityKalman()
    state, covariance = kalman.start(np.array([[0.0, 0, 30, 30]]))
    state, covariance = kalman.update(*kalman.predict(state, covariance), np.array([[12.0, 12, 18, 18]]))
    assert state[0, 2] + state[0, 6] < 0
    predicted, _ = kalman.predict(state, covariance)
    assert predicted[0, 2] == state[0, 2]
    assert np.isfinite(kalman.boxes(predicted)).all()


def test_boxes_without_area_stay_finite():
    kalman = ConstantVelocityKalman()
    flat = np.array([[5.0, 5, 5, 9], [3, 3, 3, 3]])
    state, covariance = kalman.start(flat)
    state, covariance = kalman.update(*kalman.predict(state, covariance), flat)
    assert np.isfinite(kalman.boxes(kalman.predict(state, covariance)[0])).all()


def test_wrong_variances_are_refused():
    with pytest.raises(ValueError, match="process_variance must be 7 positive"):
        ConstantVelocityKalman(process_variance=(1, 1, 1))
    with pytest.raises(ValueError, match="measurement_variance"):
        ConstantVelocityKalman(measurement_variance=(1, 1, 0, 1))
