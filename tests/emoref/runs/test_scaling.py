"""The model of a generation's cost on more workers."""

import pytest

from emoref.errors import ConfigError
from emoref.runs.scaling import generation_seconds, workers_worth_having

COSTS = {"candidate_s": 0.1, "stem_s": 0.2, "task_s": 0.01, "alone_s": 0.05}


def test_by_hand():
    # 50 candidates on 10 workers: five each, so 0.05 + 10 * 0.01 + 0.2 + 5 * 0.1.
    assert generation_seconds(10, 50, **COSTS) == pytest.approx(0.85)


def test_more_workers_than_candidates_change_nothing():
    assert generation_seconds(1000, 50, **COSTS) == generation_seconds(50, 50, **COSTS)


def test_the_best_number_is_nowhere_beaten():
    best = workers_worth_having(50, **COSTS)
    least = generation_seconds(best, 50, **COSTS)
    assert all(generation_seconds(w, 50, **COSTS) >= least for w in range(1, 60))
    assert generation_seconds(best - 1, 50, **COSTS) > least


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"candidates": 0}, {"task_s": -1.0}])
def test_numbers_that_make_no_sense(wrong):
    with pytest.raises(ConfigError, match="at least"):
        generation_seconds(**{"workers": 1, "candidates": 1, **COSTS, **wrong})
