import numpy as np
import pytest

from emoref import emo

SCORES = np.array([3, 0, 2, 5, 1])


def rng(seed=0):
    return np.random.default_rng(seed)


def bits(text):
    return np.array([c == "1" for c in text])


class TestScores:
    def test_masks(self):
        masks = emo.scoring_masks(3, 2)
        np.testing.assert_array_equal(masks, np.tile(np.eye(3, dtype=bool), (2, 1)))
        np.testing.assert_array_equal(emo.scoring_masks(3, 2, "drop-one"), ~masks)

    def test_one_hot_by_hand(self):
        # Variables 0 and 2 are a trade-off, 1 is dominated by 0, 3 by 1; in the second round all are alike.
        first = [[1, 5], [2, 6], [5, 1], [3, 7]]
        assert emo.variable_scores(np.array(first, dtype=float), 4).tolist() == [0, 1, 0, 2]
        both = np.array(first + [[1, 1]] * 4, dtype=float)
        assert emo.variable_scores(both, 4).tolist() == [0, 1, 0, 2]
        twice = np.array(first + first[::-1], dtype=float)
        assert emo.variable_scores(twice, 4).tolist() == [2, 1, 1, 2]

    def test_drop_one_by_hand(self):
        # Without variable 0 it is worst, so variable 0 is the most needed.
        without = np.array([[9.0, 9.0], [1, 5], [5, 1], [6, 6]])
        assert emo.variable_scores(without, 4, scoring="drop-one").tolist() == [0, 2, 2, 1]

    def test_the_two_agree_where_variables_add_up(self):
        gains = np.array([5.0, 1.0, 3.0, 2.0, 4.0])

        def loss(masks):
            return (15.0 - masks @ gains)[:, None]

        scores = [
            emo.variable_scores(loss(emo.scoring_masks(5, 1, name)), 5, scoring=name).tolist()
            for name in ("one-hot", "drop-one")
        ]
        assert scores[0] == scores[1] == [0, 4, 2, 3, 1]

    @pytest.mark.parametrize(("scoring", "last"), [("one-hot", 2), ("drop-one", 0)])
    def test_failures_and_constraints(self, scoring, last):
        # A failed candidate ranks last: alone the variable is worth nothing, without it nothing works.
        F = np.array([[0.0], [1.0], [np.nan]])
        assert emo.variable_scores(F, 3, scoring=scoring)[2] == last
        F, G = np.array([[0.0], [1.0], [0.5]]), np.array([[0.0], [0.0], [1.0]])
        assert emo.variable_scores(F, 3, G, scoring)[2] == last


class TestSampling:
    def test_good_variables_come_more_often(self):
        masks = emo.sample_masks(6000, SCORES, rng())
        share = masks.mean(axis=0)
        assert np.argsort(-share).tolist() == np.argsort(SCORES).tolist()
        assert masks.any(axis=1).all()

    def test_probability_of_a_single_bit(self):
        # With D = 2, one or two games; 0 wins a game unless 1 meets itself: with probability 3/4.
        masks = emo.sample_masks(20_000, np.array([0, 1]), rng(1))
        expected = 0.5 * 3 / 4 + 0.5 * (1 - 1 / 16)
        assert masks[:, 0].mean() == pytest.approx(expected, abs=0.01)
        assert masks[:, 1].mean() == pytest.approx(0.5 / 4 + 0.5 * (1 - 9 / 16), abs=0.01)

    def test_all_densities(self):
        counts = emo.sample_masks(2000, np.zeros(50, dtype=int), rng()).sum(axis=1)
        assert counts.min() <= 2
        assert counts.max() >= 28


class TestCrossover:
    def test_one_bit_of_the_difference(self):
        p, q = rng(1).random((500, 12)) < 0.5, rng(2).random((500, 12)) < 0.5
        scores = rng(3).integers(0, 4, 12)
        child = emo.mask_crossover(p, q, scores, rng(4))
        changed = child != p
        assert (changed.sum(axis=1) <= 1).all()
        assert not (changed & (p == q)).any()
        assert 0.4 < (changed & p).any(axis=1).mean() < 0.6
        assert 0.4 < (changed & ~p).any(axis=1).mean() < 0.6

    def test_games_by_hand(self):
        # Off: bits 0 and 3 may go, and 3 has the higher score: it goes unless 0 meets itself.
        p, q = np.tile(bits("11010"), (8000, 1)), np.tile(bits("01001"), (8000, 1))
        child = emo.mask_crossover(p, q, SCORES, rng())
        gone, come = p & ~child, child & ~p
        np.testing.assert_allclose(gone.mean(axis=0), [1 / 8, 0, 0, 3 / 8, 0], atol=0.02)
        np.testing.assert_allclose(come.mean(axis=0), [0, 0, 0, 0, 1 / 2], atol=0.02)

    def test_equal_parents(self):
        p = rng(0).random((50, 9)) < 0.5
        np.testing.assert_array_equal(emo.mask_crossover(p, p, np.arange(9), rng()), p)


class TestMutation:
    def test_one_bit(self):
        masks = rng(1).random((800, 15)) < 0.4
        changed = emo.mask_mutation(masks, np.arange(15), rng(2)) != masks
        assert (changed.sum(axis=1) == 1).all()
        assert 0.45 < (changed & masks).any(axis=1).mean() < 0.55

    def test_games_by_hand(self):
        masks = np.tile(bits("10010"), (8000, 1))
        mutated = emo.mask_mutation(masks, SCORES, rng())
        # Among 1, 2 and 4 with scores 0, 2, 1: the best wins 5 of 9 games, the next 3, the last 1.
        np.testing.assert_allclose((mutated & ~masks).mean(axis=0), [0, 5 / 18, 1 / 18, 0, 3 / 18], atol=0.02)
        np.testing.assert_allclose((masks & ~mutated).mean(axis=0), [1 / 8, 0, 0, 3 / 8, 0], atol=0.02)

    def test_nothing_to_turn(self):
        full, empty = np.ones((40, 4), dtype=bool), np.zeros((40, 4), dtype=bool)
        assert set(emo.mask_mutation(full, np.arange(4), rng()).sum(axis=1).tolist()) == {3, 4}
        assert set(emo.mask_mutation(empty, np.arange(4), rng()).sum(axis=1).tolist()) == {0, 1}

    def test_inputs_are_not_changed(self):
        masks = rng(1).random((20, 6)) < 0.5
        before = masks.copy()
        emo.mask_mutation(masks, np.arange(6), rng())
        emo.mask_crossover(masks, masks[::-1], np.arange(6), rng())
        np.testing.assert_array_equal(masks, before)
