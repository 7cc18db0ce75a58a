import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import ZDT1, ZDT2, ZDT3, ZDT4, ZDT5, ZDT6
from emoref.errors import ProblemError

ALL = [ZDT1, ZDT2, ZDT3, ZDT4, ZDT6]


@pytest.mark.parametrize(
    ("make", "n_var", "F"),
    [
        # all variables 0.25; for ZDT1 to ZDT3 g = 1 + 9 / 4
        (ZDT1, 30, [0.25, 3.25 * (1 - np.sqrt(0.25 / 3.25))]),
        (ZDT2, 30, [0.25, 3.25 * (1 - (0.25 / 3.25) ** 2)]),
        (ZDT3, 30, [0.25, 3.25 * (1 - np.sqrt(0.25 / 3.25) - 0.25 / 3.25)]),
        # cos(pi) = -1, so each of the nine adds 0.0625 + 10
        (ZDT4, 10, [0.25, (91 + 9 * 10.0625) * (1 - np.sqrt(0.25 / (91 + 9 * 10.0625)))]),
    ],
)
def test_one_point_by_hand(make, n_var, F):
    problem = make()
    assert problem.n_var == n_var
    np.testing.assert_allclose(problem.evaluate(np.full((1, n_var), 0.25))[0], F, rtol=1e-13)


def test_zdt6_by_hand():
    x = np.full((1, 10), 1 / 16)
    f1 = 1 - np.exp(-0.25) * np.sin(6 * np.pi / 16) ** 6
    g = 1 + 9 * 0.5
    np.testing.assert_allclose(ZDT6().evaluate(x)[0], [f1, g * (1 - (f1 / g) ** 2)], rtol=1e-13)


@pytest.mark.parametrize("make", ALL)
def test_values_of_pymoo(make):
    problems = pytest.importorskip("pymoo.problems")
    theirs = problems.get_problem(make.__name__.lower())
    X = np.random.default_rng(0).random((50, theirs.n_var))
    ours = make()
    X = ours.lower + X * (ours.upper - ours.lower)
    np.testing.assert_allclose(ours.evaluate(X), theirs.evaluate(X), rtol=1e-12)


@pytest.mark.parametrize("make", ALL)
def test_front_is_nondominated_and_attained(make):
    problem = make()
    front = problem.pareto_front(400)
    assert front.shape == (400, 2)
    assert (np.diff(front[:, 0]) > 0).all()
    assert emo.nondominated_ranks(front).max() == 0
    # Points with g = 1 lie on the front or above it, never below.
    X = np.zeros((3000, problem.n_var))
    X[:, 0] = np.random.default_rng(1).random(3000)
    F = problem.evaluate(X)
    assert emo.igd_plus(F, front) < 2e-3
    assert emo.gd_plus(front, F) < 2e-3


@pytest.mark.parametrize(
    ("make", "references"),
    [
        (ZDT1, {1.0: 2 / 3, 1.1: 0.876667, 11.0: 120.666667}),
        (ZDT4, {1.0: 2 / 3, 1.1: 0.876667, 11.0: 120.666667}),
        (ZDT2, {1.0: 1 / 3, 1.1: 0.543333, 11.0: 120.333333}),
        (ZDT3, {1.0: 1.044426, 1.1: 1.331763, 11.0: 128.778116}),
        (ZDT6, {1.0: 0.325955, 1.1: 0.507878, 11.0: 117.518202}),
    ],
)
def test_hypervolume_in_the_limit(make, references):
    front = make().pareto_front(100_000)
    for edge, volume in references.items():
        assert make().front_hypervolume([edge, edge]) == pytest.approx(volume, abs=6e-7)
        assert emo.hypervolume(front, [edge, edge]) == pytest.approx(volume, abs=2e-5)


def test_known_numbers():
    assert ZDT6().smallest_f1() == pytest.approx(0.2807753188, abs=1e-10)
    assert ZDT3().pareto_front(100_000)[:, 1].min() == pytest.approx(-0.773369, abs=1e-6)


def test_too_few_variables():
    with pytest.raises(ProblemError, match="ZDT1 has 1 variables"):
        ZDT1(1)


def test_zdt5_by_hand():
    # Strings: 30 bits with 3 ones; then 5 bits each with 0, 4 and 5 ones: v = 2, 6, 1.
    problem = ZDT5(4)
    assert problem.n_var == 45
    x = [1] * 3 + [0] * 27 + [0] * 5 + [1, 1, 0, 1, 1] + [1] * 5
    np.testing.assert_allclose(problem.evaluate([x]), [[4.0, 9.0 / 4.0]])


def test_zdt5_front():
    problem = ZDT5()
    assert problem.n_var == 80
    front = problem.front()
    np.testing.assert_allclose(front, [[i, 10.0 / i] for i in range(1, 32)])
    np.testing.assert_array_equal(problem.evaluate(problem.pareto_set()), front)


def test_zdt5_of_pymoo():
    problems = pytest.importorskip("pymoo.problems")
    X = np.random.default_rng(0).random((50, 80)) < np.linspace(0.1, 0.95, 50)[:, None]
    theirs = problems.get_problem("zdt5", normalize=False)
    np.testing.assert_allclose(ZDT5().evaluate(X), theirs.evaluate(X), rtol=1e-12)
    # Its true front has a hundred points, of which 31 exist; and it is normalised unless told otherwise.
    assert (ZDT5().residual(theirs.pareto_front()) > 1e-3).sum() > 60
    assert problems.get_problem("zdt5").evaluate(X).max() <= 10.0


def test_pieces_of_zdt3_beside_pymoo():
    pytest.importorskip("pymoo.problems")
    published = [
        [0, 0.0830015349],
        [0.182228780, 0.2577623634],
        [0.4093136748, 0.4538821041],
        [0.6183967944, 0.6525117038],
        [0.8233317983, 0.8518328654],
    ]
    np.testing.assert_allclose(ZDT3().front_pieces(), published, atol=6e-8)


@pytest.mark.parametrize("n_strings", [1, 0, 2.5])
def test_too_few_strings(n_strings):
    with pytest.raises(ProblemError, match="ZDT5 has n_strings"):
        ZDT5(n_strings)
