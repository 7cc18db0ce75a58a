"""Racing: who survives is who would have survived, and what is not needed is not counted."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo, nn
from emoref.errors import ConfigError, ShapeError
from emoref.search import (
    FAILED,
    CountCache,
    FilterGenome,
    PopulationEvaluator,
    Racing,
    WorkerEvaluator,
    hardest_first,
    looked_at,
    workers,
)


class Pretended:
    """An evaluator whose candidates are rows of a table: which of the images they get wrong."""

    def __init__(self, mistakes, failing=()):
        self.mistakes, self.failing = np.asarray(mistakes, dtype=bool), set(failing)
        self.total = self.mistakes.shape[1]
        self.cache, self.asked = CountCache(1000, self.total), 0

    def partial_counts(self, genomes, part):
        places = genomes[:, 0]
        self.asked += len(places) * len(part)
        found = self.mistakes[np.ix_(places, part)].sum(axis=1).astype(np.int64)
        return np.where([place in self.failing for place in places], FAILED, found)

    def rows(self, places=None):
        return np.arange(len(self.mistakes))[:, None] if places is None else np.array(places)[:, None]


def full(evaluator, places):
    """Return the counts of rows without racing."""
    found = evaluator.mistakes[places].sum(axis=1)
    return np.where([place in evaluator.failing for place in places], FAILED, found)


def surviving(parents, values, wrong, size):
    """Return the environmental selection of parents and offspring, and the values of its survivors."""
    F, G = values(wrong)
    F, G = np.vstack([parents[0], F]), np.vstack([parents[1], G])
    found = emo.environmental_selection(F, size, G)
    rows = found.survivors
    return rows.tolist(), found.ranks[rows].tolist(), found.distances[rows].tolist(), F[rows].tolist()


@st.composite
def instances(draw):
    """Parents, offspring of every quality, constraints and ties; few values, so that many are equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, count = draw(st.integers(1, 12)), draw(st.integers(1, 14))
    images, others = draw(st.integers(1, 30)), draw(st.integers(0, 2))
    levels = draw(st.integers(1, 8))
    mistakes = rng.random((count, images)) < rng.random((count, 1)) ** draw(st.sampled_from([0.5, 1, 3]))
    failing = np.flatnonzero(rng.random(count) < draw(st.sampled_from([0, 0, 0.2])))
    places = rng.integers(count, size=count) if draw(st.booleans()) else np.arange(count)
    exact, limit = rng.integers(levels, size=(count, others)), draw(st.sampled_from([1.0, 0.6, 0.2]))
    own = rng.integers(-1, 2, size=count) if draw(st.booleans()) else np.full(count, -1)

    def values(wrong):
        error = np.where(wrong == FAILED, np.nan, wrong / images)
        return np.column_stack([exact[places], error]), np.column_stack([error - limit, own[places]])

    parents = np.column_stack(
        [rng.integers(levels, size=(size, others)), rng.integers(images + 1, size=size)]
    )
    parents = parents / [*[1] * others, images]
    infeasible = np.column_stack([parents[:, -1] - limit, rng.integers(-1, 2, size=size)])
    known = np.flatnonzero(rng.random(count) < draw(st.sampled_from([0, 0.3])))
    known = np.setdiff1d(known, failing)
    how = rng.permutation(images), draw(st.integers(1, 12))
    return size, (parents, infeasible), Pretended(mistakes, failing), values, places, known, how


@settings(deadline=None, max_examples=600)
@given(instances())
def test_the_survivors_are_those_of_full_evaluation(instance):
    size, parents, evaluator, values, places, known, how = instance
    evaluator.cache.remember(evaluator.rows(known), full(evaluator, known))
    racing = Racing(evaluator, *how)

    def needed(wrong):
        F, G = values(wrong)
        mask = looked_at(np.vstack([parents[0], F]), size, np.vstack([parents[1], G]))
        return mask[len(parents[0]) :]

    raced = racing.race(evaluator.rows(places), needed)
    wrong = full(evaluator, places)
    assert surviving(parents, values, raced.wrong, size) == surviving(parents, values, wrong, size)
    # What was not stopped is counted; what was has a bound.
    np.testing.assert_array_equal(raced.wrong[~raced.stopped], wrong[~raced.stopped])
    assert (raced.wrong[raced.stopped] <= wrong[raced.stopped]).all()
    assert not needed(raced.wrong)[raced.stopped].any()
    # The ledger: every distinct unknown candidate's images are run or saved, but for those that failed.
    distinct = np.setdiff1d(np.unique(places), known)
    assert evaluator.cache.spent.evaluated == len(distinct)
    if not evaluator.failing:
        assert evaluator.asked + racing.images_saved == len(distinct) * evaluator.total
    # Bounds are forgotten, counts are not.
    remembered = evaluator.cache.known(evaluator.rows(places))
    assert (remembered[raced.stopped] == FAILED).all()
    np.testing.assert_array_equal(remembered[~raced.stopped], wrong[~raced.stopped])


def test_by_hand():
    """Two of five survive; ten images in five parts, the first of which holds images 0 and 5.

    After it, the bounds are 1, 2 and 2: the first candidate beats the other two and a parent, and is with the
    other parent all that selection looks at. Two images later it has 2 as well, and beats that parent no
    more: the second one ties with its bound, and goes on until it has 4.
    """
    mistakes = np.zeros((3, 10), dtype=bool)
    mistakes[0, :2] = True  # small, few mistakes
    mistakes[1] = True  # as small, and always wrong
    mistakes[2, :9] = True  # larger, and nearly always wrong
    evaluator, size = Pretended(mistakes), 2
    ratios = np.array([0.2, 0.2, 0.5])
    parents = np.array([[0.5, 0.1], [0.9, 0.0]])

    def needed(wrong):
        return looked_at(np.vstack([parents, np.column_stack([ratios, wrong / 10])]), size)[2:]

    racing = Racing(evaluator, np.array([0, 5, 1, 6, 2, 7, 3, 8, 4, 9]), parts=5)
    raced = racing.race(evaluator.rows(), needed)
    assert raced.wrong.tolist() == [2, 4, 2]
    assert raced.stopped.tolist() == [False, True, True]
    assert (racing.stopped, racing.images_saved) == (2, 6 + 8)
    assert evaluator.asked == 10 + 4 + 2


def test_without_parents_nothing_can_be_stopped():
    rng = np.random.default_rng(1)
    evaluator = Pretended(rng.random((6, 20)) < 0.5)
    racing = Racing(evaluator)
    raced = racing.race(evaluator.rows(), lambda wrong: looked_at(wrong[:, None], 6))
    assert raced.wrong.tolist() == full(evaluator, np.arange(6)).tolist()
    assert not raced.stopped.any()
    assert racing.images_saved == 0


def test_who_comes_back_into_question_goes_on():
    """A candidate that a bound had beaten is run again once the bound has risen."""
    mistakes = np.zeros((2, 10), dtype=bool)
    mistakes[0, 1:] = True  # right on the first image only
    mistakes[1, ::2] = True  # wrong on the first one
    evaluator = Pretended(mistakes)
    raced = Racing(evaluator, parts=10).race(
        evaluator.rows(), lambda wrong: looked_at(np.vstack([[[8]], wrong[:, None]]), 1)[1:]
    )
    assert raced.wrong[1] == 5
    assert not raced.stopped[1]
    assert raced.stopped[0]
    assert 5 <= raced.wrong[0] <= 9


def test_impossible_parts_and_orders():
    with pytest.raises(ConfigError, match="parts must be at least 1"):
        Racing(Pretended(np.zeros((1, 1))), parts=0)
    with pytest.raises(ShapeError, match="each of 3 images once"):
        Racing(Pretended(np.zeros((1, 3))), np.array([0, 2, 2]))


def test_the_hardest_images_come_first():
    logits = np.array([[3.0, 1, 0], [0, 0, 9], [1, 0, 2], [2, np.nan, 0]])
    assert hardest_first(logits, np.array([0, 2, 0, 0])).tolist() == [3, 2, 0, 1]


# ------------------------------------------------------------------------------------------- evaluators

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(23, 1, 6, 6)).astype(np.float32)
LABELS = RNG.integers(3, size=23)


def case(kind="small"):
    b = nn.NetworkBuilder(kind, (1, 6, 6))
    b.conv("conv1", 4, 3, padding=1)
    b.relu("relu1")
    b.conv("conv2", 5, 3)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", 3)
    net = b.build()
    genome = FilterGenome(net)
    rows = np.unique(genome.random(RNG.uniform(0.4, 1, 8), RNG), axis=0)
    return (net, net.init(0), IMAGES, LABELS, genome, "reference"), rows


@pytest.mark.parametrize("spread", [False, True])
def test_parts_add_up(spread, monkeypatch):
    monkeypatch.setattr(workers, "_evaluators", {})
    arguments, rows = case()
    alone = PopulationEvaluator(*arguments, block_size=4)
    expected = PopulationEvaluator(*arguments).wrong_counts(rows)
    many = WorkerEvaluator(*arguments, make_executor=lambda: ThreadPoolExecutor(1), workers=3)
    with many:
        evaluator = many if spread else alone
        for order in (np.arange(23), np.random.default_rng(1).permutation(23)):
            found = [evaluator.partial_counts(rows, part) for part in np.array_split(order, 5)]
            np.testing.assert_array_equal(sum(found), expected)
        assert evaluator.cache.spent.evaluated == 0


def test_an_evaluator_races_with_the_work_of_the_parts_alone(monkeypatch):
    arguments, rows = case()
    evaluator, plain = PopulationEvaluator(*arguments), PopulationEvaluator(*arguments)
    wrong, slimmed = plain.wrong_counts(rows), []
    slim = PopulationEvaluator._candidate
    monkeypatch.setattr(
        PopulationEvaluator, "_candidate", lambda *given: slimmed.append(given[1]) or slim(*given)
    )
    racing = Racing(evaluator, parts=4)
    raced = racing.race(rows, lambda found: np.arange(len(rows)) % 2 == 0)
    assert raced.stopped.tolist() == (np.arange(len(rows)) % 2 == 1).tolist()
    np.testing.assert_array_equal(raced.wrong[::2], wrong[::2])
    assert (raced.wrong[1::2] <= wrong[1::2]).all()
    assert evaluator.macs_executed < plain.macs_executed
    assert racing.images_saved > 0
    assert len(slimmed) == len(rows), "a candidate is slimmed once, not for every part"
