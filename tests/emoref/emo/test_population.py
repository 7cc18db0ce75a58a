import numpy as np
import pytest

from emoref.emo.population import Generation, Population, history_from_arrays, history_to_arrays
from emoref.errors import ShapeError

NAN = float("nan")


def population(F, G=None):
    F = np.array(F, dtype=float)
    G = np.empty((len(F), 0)) if G is None else np.array(G, dtype=float)
    return Population(np.arange(len(F))[:, None], F, G)


def test_front_is_feasible_finite_and_in_order():
    everyone = population(
        [[2, 1], [0, 0], [1, 2], [NAN, 0], [3, 3], [2, 1]], [[0.0], [0.1], [-1.0], [0.0], [0.0], [0.0]]
    )
    assert everyone.feasible.tolist() == [True, False, True, False, True, True]
    assert everyone.front().X.ravel().tolist() == [0, 2, 5]


def test_front_without_feasible_candidates_is_empty():
    front = population([[1, 2]], [[3.0]]).front()
    assert (front.X.shape, front.F.shape, front.G.shape) == ((0, 1), (0, 2), (0, 1))


def test_join_needs_the_same_constraints():
    with pytest.raises(ShapeError, match="G has 1 constraints, but in earlier generations it had 0"):
        population([[1, 2]]).join(population([[1, 2]], [[0.0]]))


def test_records_survive_the_way_through_arrays():
    reference = np.array([4.0, 4.0])
    history = [
        Generation.of(1, 5, population([[1, 2], [2, 1]]), reference),
        Generation.of(2, 9, population([[1, 2]], [[1.0]]), reference),
        Generation.of(3, 10, population([[1, 2]]), None),
    ]
    assert (history[0].feasible, history[0].front_size, history[0].hypervolume) == (2, 2, 8.0)
    assert history[0].ideal.tolist() == [1, 1]
    assert history[1].ideal.tolist() == [np.inf, np.inf]
    assert history[1].hypervolume == 0.0
    arrays = history_to_arrays(history, 2)
    assert all(len(array) == 3 for array in arrays.values())
    back = history_from_arrays(arrays)
    assert repr(back) == repr(history)


def test_no_record_yet():
    arrays = history_to_arrays([], 3)
    assert arrays["history_ideal"].shape == (0, 3)
    assert history_from_arrays(arrays) == []
