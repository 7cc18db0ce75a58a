"""Hand-made tables and stated rules of the Pareto kernels, for both back ends."""

import math

import numpy as np
import pytest

from emoref_kernels.cpu import pareto as cpu
from emoref_kernels.errors import DtypeError, ShapeError
from emoref_kernels.reference import pareto as reference

INF, NAN = math.inf, math.nan


@pytest.fixture(params=[reference, cpu], ids=["reference", "cpu"])
def k(request):
    return request.param


def ranks(k, F):
    return k.nondominated_ranks(F).tolist()


class TestRanks:
    @pytest.mark.parametrize(
        ("F", "expected"),
        [
            ([[1.0, 2.0]], [0]),
            ([[3], [1], [2], [1]], [2, 0, 1, 0]),
            ([[0, 1], [1, 0], [1, 1], [2, 2]], [0, 0, 1, 2]),
            ([[1, 1]] * 4, [0] * 4),
            ([[0, 0], [0, 1], [1, 0], [0, 0]], [0, 1, 1, 0]),
            ([[-0.0, 1], [0.0, 1], [0.0, 2]], [0, 0, 1]),
            ([[1, 2, 3], [1, 2, 4], [0, 9, 9], [1, 2, 3]], [0, 1, 0, 0]),
            ([[4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]], [3, 2, 1, 0]),
        ],
    )
    def test_table(self, k, F, expected):
        assert ranks(k, F) == expected

    def test_three_fronts_of_eleven_points(self, k):
        # Fronts read off a drawing: a descending staircase, the same moved by (1, 1), and one corner.
        F = [[0, 7], [1, 5], [2, 3], [4, 2], [7, 1], [10, 0], [2, 6], [4, 4], [10, 2], [6, 6], [9, 5]]
        assert ranks(k, F) == [0] * 6 + [1] * 3 + [2] * 2

    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_non_finite_rows_are_last_and_change_nothing(self, k, bad):
        F = [[0, 1], [1, 0], [bad, 0.5], [2, 2], [bad, bad]]
        assert ranks(k, F) == [0, 0, 2, 1, 2]

    def test_only_non_finite_rows(self, k):
        assert ranks(k, [[NAN, 0], [0, INF]]) == [0, 0]

    def test_result_type_and_untouched_input(self, k):
        F = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]])
        before = F.copy()
        assert k.nondominated_ranks(F).dtype == np.int64
        np.testing.assert_array_equal(F, before)

    def test_integers_are_accepted(self, k):
        assert ranks(k, np.array([[3, 1], [3, 2]], dtype=np.int32)) == [0, 1]


class TestCrowding:
    def test_paper_table(self, k):
        F = [[0, 10], [1, 8], [3, 4], [7, 1], [10, 0]]
        # e.g. second point: (3 - 0) / 10 + (10 - 4) / 10
        expected = [INF, 0.9, 1.3, 1.1, INF]
        np.testing.assert_allclose(k.crowding_distance(F), expected, rtol=1e-15)

    def test_deb_c_divides_by_the_number_of_objectives(self, k):
        F = [[0, 10], [1, 8], [3, 4], [7, 1], [10, 0]]
        expected = [INF, 0.45, 0.65, 0.55, INF]
        np.testing.assert_allclose(k.crowding_distance(F, "deb-c"), expected, rtol=1e-15)

    def test_maxima_are_protected_by_the_paper_alone(self, k):
        F = [[0, 3, 2], [3, 0, 2], [1, 1, 9], [1, 2, 0], [2, 1, 1.5]]
        paper, deb_c = k.crowding_distance(F), k.crowding_distance(F, "deb-c")
        assert np.isinf(paper[2])
        assert np.isfinite(deb_c[2])
        # f1: 1, ties with row 3, so its neighbours are 0 and 1; f2: 0 and 1; f3: maximum, nothing
        assert deb_c[2] == pytest.approx((1 / 3 + 1 / 3) / 3)

    @pytest.mark.parametrize("variant", ["paper", "deb-c"])
    @pytest.mark.parametrize("F", [[[1, 2]], [[1, 2], [2, 1]], [[1, 1], [1, 1]], [[3], [3]]])
    def test_fewer_than_three_points_are_infinite(self, k, F, variant):
        assert np.isinf(k.crowding_distance(F, variant)).all()

    @pytest.mark.parametrize("variant", ["paper", "deb-c"])
    def test_constant_objective_adds_nothing(self, k, variant):
        F = [[0, 5], [1, 5], [4, 5], [9, 5]]
        ends = [INF, 4 / 9, 8 / 9, INF] if variant == "paper" else [INF, 2 / 9, 4 / 9, 0]
        np.testing.assert_allclose(k.crowding_distance(F, variant), ends)

    @pytest.mark.parametrize("variant", ["paper", "deb-c"])
    def test_all_duplicates(self, k, variant):
        assert k.crowding_distance([[2, 3]] * 5, variant).tolist() == [0.0] * 5

    def test_one_copy_of_an_end_is_protected(self, k):
        distance = k.crowding_distance([[0, 1], [0, 1], [1, 0], [1, 0]])
        assert np.isinf(distance).tolist() == [True, False, True, False]
        # f1: second copy between 0 and 1; f2: between 0 and 1, where its own first copy is the end
        np.testing.assert_allclose(distance[[1, 3]], [2.0, 2.0])

    def test_one_point_extreme_in_two_objectives(self, k):
        distance = k.crowding_distance([[0, 0, 9], [1, 2, 3], [2, 1, 4], [3, 3, 0]])
        assert np.isinf(distance).tolist() == [True, False, False, True]

    def test_equal_infinities_are_no_distance_apart(self, k):
        distance = k.crowding_distance([[0, 9], [1, 8], [3, 2], [INF, 1], [INF, 0]])
        assert not np.isnan(distance).any()
        assert distance[1] == pytest.approx(3 / 3 + 7 / 9)
        assert k.crowding_distance([[INF, -INF]] * 4).tolist() == [0.0] * 4

    def test_a_nan_row_changes_nothing(self, k):
        F = np.array([[0, 10], [1, 8], [3, 4], [7, 1], [10, 0]], dtype=float)
        with_nan = np.insert(F, 2, [NAN, 3], axis=0)
        distance = k.crowding_distance(with_nan)
        assert distance[2] == 0.0
        np.testing.assert_array_equal(np.delete(distance, 2), k.crowding_distance(F))

    def test_range_beyond_the_largest_float(self, k):
        big = 1.7e308
        distance = k.crowding_distance([[-big, big], [0, 0], [big, -big]])
        np.testing.assert_allclose(distance, [INF, 2.0, INF])

    def test_unknown_variant(self, k):
        with pytest.raises(ShapeError, match="deb-c"):
            k.crowding_distance([[1, 2]], "mean")


class TestHypervolume:
    @pytest.mark.parametrize(
        ("F", "ref", "expected"),
        [
            ([[1]], [3], 2),
            ([[1], [0], [5]], [3], 3),
            ([[0, 0]], [2, 3], 6),
            ([[0, 1], [1, 0]], [2, 2], 3),
            ([[0, 1], [1, 0], [0, 1], [1, 1]], [2, 2], 3),
            ([[1, 0, 1], [0, 1, 0]], [2, 2, 2], 5),
            ([[0, 0, 0, 0]], [1, 2, 3, 4], 24),
            ([[0, 1, 1, 1], [1, 0, 0, 0]], [2, 2, 2, 2], 2 + 8 - 1),
            ([[0, 0, 0, 0, 1], [1, 1, 1, 1, 0]], [2] * 5, 16 + 2 - 1),
        ],
    )
    def test_table(self, k, F, ref, expected):
        assert k.hypervolume(F, ref) == expected

    @pytest.mark.parametrize("objectives", [1, 2, 3, 4])
    def test_points_that_do_not_dominate_the_reference(self, k, objectives):
        ref = np.ones(objectives)
        F = np.array([ref, 2 * ref, np.full(objectives, NAN), np.full(objectives, INF)])
        assert k.hypervolume(F, ref) == 0.0
        assert k.hypervolume(np.vstack([F, 0 * ref]), ref) == 1.0
        if objectives > 1:
            touching = np.zeros((1, objectives))
            touching[0, -1] = 1.0
            assert k.hypervolume(touching, ref) == 0.0

    def test_no_point(self, k):
        assert k.hypervolume(np.empty((0, 3)), [1, 1, 1]) == 0.0

    def test_minus_infinity(self, k):
        assert k.hypervolume([[0, -INF]], [1, 1]) == INF
        assert k.hypervolume([[2, -INF]], [1, 1]) == 0.0

    def test_translation(self, k):
        F, ref = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0.5]]), np.array([3.0, 3.0, 3.0])
        shift = np.array([10.0, -4.0, 0.5])
        assert k.hypervolume(F + shift, ref + shift) == pytest.approx(k.hypervolume(F, ref))

    @pytest.mark.parametrize(
        ("ref", "words"), [([1, 1, 1], "2 objectives"), ([1, NAN], "finite"), ([1, INF], "finite")]
    )
    def test_bad_reference_point(self, k, ref, words):
        with pytest.raises(ShapeError, match=words):
            k.hypervolume([[0, 0]], ref)

    def test_reference_point_that_is_no_number(self, k):
        with pytest.raises(DtypeError):
            k.hypervolume([[0, 0]], ["a", "b"])


@pytest.mark.parametrize("name", ["nondominated_ranks", "crowding_distance"])
@pytest.mark.parametrize(
    ("F", "error"),
    [
        (np.empty((0, 2)), ShapeError),
        (np.empty((3, 0)), ShapeError),
        (np.zeros(4), ShapeError),
        (np.zeros((2, 2, 2)), ShapeError),
        ([[1, 2], [3]], ShapeError),
        ([["a", "b"]], DtypeError),
        ([[None, 1]], DtypeError),
        ([[1j, 0]], DtypeError),
    ],
)
def test_bad_objectives(k, name, F, error):
    with pytest.raises(error, match="F "):
        getattr(k, name)(F)
