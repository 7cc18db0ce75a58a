import math

import numpy as np
import pytest

from emoref.verify import CheckResult, relative_error


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([1.0, 99.0], [1.0, 100.0], 0.01),
        ([0.0, 0.25], [0.0, 0.0], 0.25),
        ([], [], 0.0),
        ([3, 1], [3, 2], 1 / 3),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf, np.nan], [np.inf, np.nan], 0.0),
        ([1.0, 1.0], [np.inf, 1.0], math.inf),
        ([np.nan, 1.0], [1.0, 1.0], math.inf),
        ([np.inf, 1.0], [1.0, 1.0], math.inf),
        ([-np.inf, 1.0], [np.inf, 1.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([[1.0]], [1.0], math.inf),
    ],
)
def test_error_is_relative_to_the_scale_of_what_is_right(actual, expected, error):
    assert relative_error(actual, expected) == pytest.approx(error, rel=1e-12)


def test_float32_is_compared_in_float64():
    assert 0 < relative_error(np.float32([0.1]), [0.1]) < 1e-7


def test_a_result_passes_up_to_its_tolerance():
    assert CheckResult("cpu", "conv2d", 1, 1e-5, 1e-5).passed
    assert not CheckResult("cpu", "conv2d", 1, 1.1e-5, 1e-5).passed
    assert CheckResult("cpu", "ranks", 1, 0.0, 0.0).passed
    assert not CheckResult("cpu", "ranks", 1, math.inf, 1e-5).passed
