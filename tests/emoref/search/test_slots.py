"""The layer's problem by hand, its repair, its search and the choice from the front."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.errors import ProblemError, ShapeError
from emoref.search import SlotProblem, SlotSearch, nearest_to_ideal, normalised_importance, search_slots

CRITERIA = ("l1", "taylor")


def problem(tasks=2, slots=6, seed=0, **options):
    rng = np.random.default_rng(seed)
    distances = rng.random((tasks, tasks, slots)) * 2
    distances = (distances + distances.transpose(1, 0, 2)) / 2
    return SlotProblem(rng.random((2, tasks, slots)), distances, CRITERIA, **options)


def test_objectives_by_hand():
    """Two tasks, three slots, one criterion; the worked example of the documentation."""
    importance = np.array([[[1.0, 0.5, 0.0], [0.5, 1.0, 0.25]]])
    distances = np.zeros((2, 2, 3))
    distances[0, 1] = distances[1, 0] = [0.2, 1.0, 0.6]
    p = SlotProblem(importance, distances, ("l1",))
    assert p.objectives == ("importance lost (l1)", "stored filters", "sharing distortion")
    genome = np.array([[1, 1, 0, 1, 1, 1, 1, 0, 1]], dtype=bool)
    # kept importance 1 + 0.5 + 0.5 + 1 + 0.25 of 3.25: nothing is lost but the 0 of task 1's last slot.
    # stored: slot 0 shared (1), slot 1 twice (2), slot 2 of task 2 alone (1, its s means nothing): 4 of 6.
    # distortion: mean importances 0.75, 0.75, 0.125; 0.75 * 0.2 / (0.75 * 0.2 + 0.75 * 1 + 0.125 * 0.6)
    np.testing.assert_allclose(p.evaluate(genome), [[0.0, 4 / 6, 0.15 / 0.975]])
    everything = np.ones((1, 9), dtype=bool)
    assert p.evaluate(everything).tolist() == [[0.0, 0.5, 1.0]]
    nothing_shared = everything.copy()
    nothing_shared[0, 6:] = False
    assert p.evaluate(nothing_shared).tolist() == [[0.0, 1.0, 0.0]]


def test_one_task_has_no_sharing_and_one_objective_less():
    p = SlotProblem(np.random.default_rng(0).random((3, 1, 5)), np.zeros((1, 1, 5)), ("a", "b", "c"))
    assert (p.n_var, p.n_obj) == (5, 4)
    assert problem(sharing=False).n_obj == 3
    assert problem(sharing=False).n_var == 12


@settings(deadline=None, max_examples=60)
@given(
    tasks=st.integers(1, 3),
    slots=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    fixed=st.booleans(),
    data=st.data(),
)
def test_repair_keeps_as_many_as_it_must_and_changes_no_more_than_needed(tasks, slots, seed, fixed, data):
    number = data.draw(st.integers(1, slots))
    p = problem(tasks, slots, seed, **({"kept": number} if fixed else {"least": number}))
    rng = np.random.default_rng(seed)
    X = rng.random((8, p.n_var)) < rng.random((8, 1))
    before, _ = p.decode(X)
    after, shared = p.decode(repaired := p.repair(X, rng))
    kept = after.sum(axis=2)
    assert (kept == number).all() if fixed else (kept == np.maximum(before.sum(axis=2), number)).all()
    # Either slots were only dropped or only added.
    lost, won = (before & ~after).any(axis=2), (after & ~before).any(axis=2)
    assert not (lost & won).any()
    assert not (shared & (after.sum(axis=1) < 2)).any()
    F = p.evaluate(repaired)
    assert (F >= 0).all()
    # With three tasks the distortion may exceed 1: two keepers can be further apart than all three are.
    assert (F[:, : p.n_obj if tasks < 3 else -1] <= 1 + 1e-12).all()
    assert np.array_equal(p.repair(repaired, rng), repaired), "what is right stays"


def test_repair_goes_by_importance():
    importance = np.array([[[0.1, 0.9, 0.5, 0.7]]])
    p = SlotProblem(importance, np.zeros((1, 1, 4)), ("l1",), kept=2)
    rows = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    assert p.repair(rows, np.random.default_rng(0)).astype(int).tolist() == [
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [1, 1, 0, 0],
    ]


def test_reference_points_of_four_and_five_objectives():
    assert SlotSearch().reference_points(4).shape == (120, 4)
    assert SlotSearch().reference_points(5).shape == (126, 5)
    assert SlotSearch(divisions=2).reference_points(3).shape == (6, 3)


def test_the_search_improves_and_repeats_itself():
    p = problem(slots=12)
    initial, one = search_slots(p, SlotSearch(15, seed=4))
    _, two = search_slots(p, SlotSearch(15, seed=4))
    assert np.array_equal(one.population.X, two.population.X)
    best = [np.sort(some.F.sum(axis=1))[:5].mean() for some in (initial, one.population)]
    assert best[1] < best[0]
    _, exact = search_slots(problem(slots=12, kept=5), SlotSearch(3))
    kept, _ = problem(slots=12, kept=5).decode(exact.population.X)
    assert (kept.sum(axis=2) == 5).all()


def test_scaled_importance():
    assert normalised_importance([3.0, 3.0]).tolist() == [1.0, 1.0]


def test_the_nearest_to_the_ideal_point():
    assert nearest_to_ideal([[0, 5, 1], [4, 4, 1], [5, 0, 1]]) == 0
    assert nearest_to_ideal([[0, 5, 1], [2, 2, 1], [5, 0, 1]]) == 1
    with pytest.raises(ShapeError, match="N at least 1"):
        nearest_to_ideal(np.zeros((0, 2)))


@pytest.mark.parametrize("options", [{"kept": 0}, {"kept": 7}, {"least": 0}])
def test_numbers_of_slots_that_cannot_be_kept(options):
    with pytest.raises(ProblemError, match="a layer of 6 slots keeps 1 to that many"):
        problem(**options)


def test_arrays_that_do_not_fit():
    with pytest.raises(ShapeError, match="importance"):
        SlotProblem(np.ones((2, 2, 3)), np.ones((2, 2, 4)), CRITERIA)
    with pytest.raises(ProblemError, match="at least one importance criterion"):
        SlotProblem(np.ones((0, 2, 3)), np.ones((2, 2, 3)), ())
