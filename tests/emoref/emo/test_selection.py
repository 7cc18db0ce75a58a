import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref.emo.ranking import crowding_distance, nondominated_ranks
from emoref.emo.selection import (
    binary_tournament,
    environmental_selection,
    feasibility_tournament,
    total_violation,
    tournament_pairs,
)
from emoref.errors import ProblemError

NAN = float("nan")


class TestTournament:
    @given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 99))
    @settings(deadline=None, max_examples=60)
    def test_everyone_plays_equally_often(self, count, tournaments, seed):
        pairs = tournament_pairs(count, tournaments, np.random.default_rng(seed))
        assert pairs.shape == (tournaments, 2)
        games = np.bincount(pairs.ravel(), minlength=count)
        assert games.max() - games.min() <= 1

    def test_as_many_tournaments_as_candidates_give_everyone_two_games(self):
        ranks = np.arange(10)
        winners = binary_tournament(ranks, np.zeros(10), 10, np.random.default_rng(0))
        wins = np.bincount(winners, minlength=10)
        assert wins[0] == 2
        assert wins[9] == 0

    def test_rank_then_distance_then_coin(self):
        ranks, distances = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, np.inf, np.inf])
        seen = set()
        for seed in range(200):
            pairs = tournament_pairs(4, 2, np.random.default_rng(seed))
            winners = binary_tournament(ranks, distances, 2, np.random.default_rng(seed))
            for pair, winner in zip(pairs.tolist(), winners.tolist(), strict=True):
                seen.add((tuple(sorted(pair)), winner))
        assert {w for p, w in seen if p == (0, 1)} == {1}
        assert {w for p, w in seen if p == (0, 2)} == {0}
        assert {w for p, w in seen if p == (2, 3)} == {2, 3}

    def duel(self, F, ranks, distances, G=None, compare="dominance"):
        F = np.array(F, dtype=float)
        G = None if G is None else np.array(G, dtype=float)
        return {
            int(w)
            for seed in range(30)
            for w in binary_tournament(
                np.array(ranks),
                np.array(distances),
                1,
                np.random.default_rng(seed),
                compare=compare,
                F=F,
                G=G,
            )
        }

    def test_the_two_comparisons_differ(self):
        # Row 1 has the higher rank (say, because of a third point), but row 0 does not dominate it.
        F, ranks, distances = [[0, 3], [2, 1]], [0, 1], [0.5, 0.7]
        assert self.duel(F, ranks, distances, compare="rank") == {0}
        assert self.duel(F, ranks, distances, compare="dominance") == {1}

    @pytest.mark.parametrize(
        ("F", "G", "winners"),
        [
            ([[0, 0], [1, 1]], None, {0}),
            ([[2, 2], [1, 2]], None, {1}),
            ([[1, 1], [1, 1]], None, {0, 1}),
            ([[0, 0], [9, 9]], [[1.0], [0.0]], {1}),
            ([[0, 0], [9, 9]], [[1.0], [0.5]], {1}),
            ([[0, 0], [9, 9]], [[1.0], [1.0]], {0, 1}),
            ([[NAN, 0], [9, 9]], None, {1}),
            ([[NAN, 0], [9, 9]], [[0.0], [5.0]], {1}),
            ([[NAN, 0], [0, NAN]], None, {0, 1}),
            ([[0, 0], [9, 9]], [[NAN], [5.0]], {1}),
        ],
    )
    def test_constrained_dominance(self, F, G, winners):
        assert self.duel(F, [0, 0], [1.0, 1.0], G) == winners

    @pytest.mark.parametrize("compare", ["dominance", "age"])
    def test_unknown_or_incomplete(self, compare):
        with pytest.raises(ProblemError, match="compare"):
            binary_tournament(np.zeros(2, int), np.zeros(2), 1, np.random.default_rng(0), compare=compare)


class TestFeasibility:
    def test_total_violation(self):
        F = np.array([[1.0, 1], [1, 1], [NAN, 1], [1, -np.inf], [1, 1], [1, 1], [1, 1]])
        G = np.array([[-1.0, 0], [0.5, 2], [0, 0], [0, 0], [NAN, 0], [0, np.inf], [-np.inf, 1]])
        assert total_violation(F, G).tolist() == [0, 2.5, np.inf, np.inf, np.inf, np.inf, 1]
        assert total_violation(F).tolist() == [0, 0, np.inf, np.inf, 0, 0, 0]
        assert total_violation(F, np.empty((7, 0))).tolist() == total_violation(F).tolist()

    @pytest.mark.parametrize(
        ("violation", "winners"),
        [
            ([0, 0], {0, 1}),
            ([0, 0.1], {0}),
            ([0.2, 0.1], {1}),
            ([0.1, 0.1], {0, 1}),
            ([np.inf, 9], {1}),
            ([np.inf, np.inf], {0, 1}),
        ],
    )
    def test_tournament(self, violation, winners):
        seen = {
            int(winner)
            for seed in range(30)
            for winner in feasibility_tournament(np.array(violation), 1, np.random.default_rng(seed))
        }
        assert seen == winners


class TestEnvironmentalSelection:
    F = np.array([[0, 10], [1, 8], [3, 4], [7, 1], [10, 0], [2, 11], [8, 8]], dtype=float)

    def test_the_last_front_is_cut_by_crowding(self):
        survival = environmental_selection(self.F, 4)
        # Ends first, then 1.3 and 1.1; 0.9 goes.
        assert survival.survivors.tolist() == [0, 4, 2, 3]
        assert survival.ranks.tolist() == [0, 0, 0, 0, 0, 1, 1]
        np.testing.assert_allclose(survival.distances[:5], [np.inf, 0.9, 1.3, 1.1, np.inf])
        assert np.isnan(survival.distances[5:]).all()

    def test_whole_fronts_in_row_order(self):
        assert environmental_selection(self.F, 5).survivors.tolist() == [0, 1, 2, 3, 4]
        assert environmental_selection(self.F, 6).survivors.tolist() == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize("size", [7, 50])
    def test_all_survive(self, size):
        assert sorted(environmental_selection(self.F, size).survivors) == list(range(7))

    def test_ties_are_decided_by_row(self):
        F = np.array([[0, 4], [1, 3], [2, 2], [3, 1], [4, 0]], dtype=float)
        assert environmental_selection(F, 3).survivors.tolist() == [0, 4, 1]
        assert environmental_selection(np.ones((4, 2)), 2).survivors.tolist() == [0, 1]

    def test_feasible_before_infeasible(self):
        G = np.array([[1.0], [0], [0.5], [2], [0], [0], [3]])
        assert environmental_selection(self.F, 5, G).survivors.tolist() == [1, 4, 5, 2, 0]

    def test_deb_c_does_not_protect_maxima(self):
        F = np.array([[0, 3, 2], [3, 0, 2], [1, 1, 9], [1, 2, 0], [2, 1, 1.5]])
        assert 2 in environmental_selection(F, 4).survivors
        assert 2 not in environmental_selection(F, 4, crowding="deb-c").survivors

    @given(
        arrays(
            np.float64,
            st.tuples(st.integers(3, 25), st.integers(1, 4)),
            elements=st.integers(0, 6).map(float),
        )
    )
    @settings(deadline=None, max_examples=100)
    def test_follows_from_ranks_and_crowding(self, F):
        size = len(F) // 2
        survivors = environmental_selection(F, size).survivors
        assert len(set(survivors.tolist())) == size
        ranks = nondominated_ranks(F)
        worst = ranks[survivors].max()
        assert set(np.flatnonzero(ranks < worst)) <= set(survivors)
        front = np.flatnonzero(ranks == worst)
        distance = dict(zip(front.tolist(), crowding_distance(F[front]), strict=True))
        kept = [i for i in front if i in survivors]
        lost = [i for i in front if i not in survivors]
        for i in kept:
            assert all((distance[i], -i) > (distance[j], -j) for j in lost)

    @given(
        st.integers(0, 10_000),
        st.integers(2, 3),
        st.sampled_from(["translate", "scale", "swap objectives", "shuffle rows"]),
    )
    @settings(deadline=None, max_examples=80)
    def test_invariances_without_ties(self, seed, objectives, change):
        rng = np.random.default_rng(seed)
        F = rng.random((24, objectives))
        survival = environmental_selection(F, 9)
        chosen = set(survival.survivors.tolist())
        lost = np.setdiff1d(
            np.flatnonzero(survival.ranks == survival.ranks[survival.survivors[-1]]), list(chosen)
        )
        # Infinitely distant ends may be more than the places left; then the lower row wins.
        tied = np.isinf(survival.distances[lost]).any()
        rows = np.arange(24)
        if change == "translate":
            F = F + rng.integers(-4, 5, objectives)
        elif change == "scale":
            F = F * 2.0 ** rng.integers(-12, 12, objectives)
        elif change == "swap objectives":
            F = F[:, ::-1]
        else:
            rows = rng.permutation(24)
        survivors = environmental_selection(F[rows], 9).survivors
        if not (change == "shuffle rows" and tied):
            assert set(rows[survivors].tolist()) == chosen

    @given(arrays(np.float64, (10, 2), elements=st.integers(0, 5).map(float)), st.integers(0, 10))
    @settings(deadline=None, max_examples=60)
    def test_a_failed_row_changes_nothing(self, F, at):
        chosen = environmental_selection(F, 6).survivors
        with_failure = np.insert(F, at, [NAN, 0.0], axis=0)
        survivors = environmental_selection(with_failure, 6).survivors
        assert [i - (i > at) for i in survivors.tolist()] == chosen.tolist()
        assert environmental_selection(with_failure, 11).survivors[-1] == at
