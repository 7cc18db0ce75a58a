"""The reconstructed aggregation score: the published values that it explains, and bad input."""

import numpy as np
import pytest

from emoref.compress.energy import aggregation_score
from emoref.errors import ConfigError


def test_two_published_scores_fit_one_network():
    """VGG-16, r / tau = 5 and 1: 125.6 and 97.0, with 76 % accuracy at 1/163 of the energy."""
    scores = [aggregation_score(0.76, 1 / 163, 0.937, 1.0, ratio) for ratio in (5.0, 1.0)]
    assert scores == pytest.approx([125.6, 97.0], abs=0.15)


def test_by_hand():
    # 3 * 0.9 - 0.1 = 2.6 at cost 2; uncompressed 3 * 0.95 - 0.05 = 2.8 at cost 10.
    assert aggregation_score(0.9, 2, 0.95, 10, 3.0) == pytest.approx(2.6 / 2 / (2.8 / 10))
    assert aggregation_score(0.95, 10, 0.95, 10, 3.0) == pytest.approx(1)
    many = aggregation_score([0.9, 0.95, 0.1], [2, 10, 1], 0.95, 10, 3.0)
    np.testing.assert_allclose(many, [2.6 / 0.56, 1, -0.6 / 0.28])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.1, 1, 0.9, 1, 1), "accuracies must be 0 to 1"),
        ((0.9, 1, -0.1, 1, 1), "accuracies must be 0 to 1"),
        ((0.9, 0, 0.9, 1, 1), "must be above 0"),
        ((0.9, 1, 0.9, 0, 1), "must be above 0"),
        ((0.9, 1, 0.9, 1, 0), "must be above 0"),
        ((0.9, 1, 0.5, 1, 1), "accuracy 0.5, earns no reward at reward over penalty 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        aggregation_score(*arguments)
