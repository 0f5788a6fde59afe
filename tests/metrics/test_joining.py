import numpy as np
import pytest

from lesion_app.metrics.joining import pairs_with_equal_keys


@pytest.mark.parametrize(("n", "m"), [(30, 20), (0, 5), (5, 0), (0, 0)])
def test_equals_the_double_loop(n, m):
    rng = np.random.default_rng(n)
    left, right = rng.integers(-3, 6, n), rng.integers(-3, 6, m)
    expected = [(i, j) for i in range(n) for j in range(m) if left[i] == right[j]]
    assert list(zip(*(rows.tolist() for rows in pairs_with_equal_keys(left, right)))) == expected
