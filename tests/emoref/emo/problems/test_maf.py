import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import (
    DTLZ2,
    DTLZ3,
    DTLZ4,
    DTLZ7,
    WFG1,
    WFG2,
    WFG9,
    MaF1,
    MaF2,
    MaF3,
    MaF4,
    MaF5,
    MaF6,
    MaF7,
    MaF10,
    MaF11,
    MaF12,
    MaF13,
    MaF14,
    MaF15,
)
from emoref.errors import ProblemError


def sphere(x, n_obj):
    """Shape of DTLZ2 for one solution, objective by objective."""
    angles = [0.5 * math.pi * v for v in x[: n_obj - 1]]
    f = []
    for m in range(1, n_obj + 1):
        value = math.prod(math.cos(a) for a in angles[: n_obj - m])
        f.append(value * (math.sin(angles[n_obj - m]) if m > 1 else 1.0))
    return f


def test_maf1_by_hand():
    # g = 0.01; h = (1/8, 3/8, 1/2)
    F = MaF1(3, k=1).evaluate([[0.5, 0.25, 0.6]])
    np.testing.assert_allclose(F, [[1.01 * 7 / 8, 1.01 * 5 / 8, 1.01 / 2]])


def test_maf2_term_by_term():
    problem = MaF2(3)
    x = np.random.default_rng(0).random(12)
    # Three variables each for the first two objectives, four for the last.
    g = [sum((v / 2 + 0.25 - 0.5) ** 2 for v in x[a:b]) for a, b in ((2, 5), (5, 8), (8, 12))]
    h = sphere([v / 2 + 0.25 for v in x], 3)
    np.testing.assert_allclose(problem.evaluate([x])[0], [(1 + a) * b for a, b in zip(g, h, strict=True)])


def test_front_of_maf2():
    problem = MaF2(3)
    x = np.full((100, 12), 0.5)
    x[:, :2] = np.random.default_rng(1).random((100, 2))
    x[0, :2], x[1, :2] = 0.0, 1.0
    F = problem.evaluate(x)
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-13)
    assert (problem.ideal - 1e-12 <= F).all()
    assert (problem.nadir + 1e-12 >= F).all()
    assert emo.igd(F, problem.front(10_000)) < 0.1
    # The middle of the front is hit, the corners of the simplex miss it.
    assert len(problem.targets(emo.das_dennis(3, 1))) == 0
    assert len(problem.targets(np.full((1, 3), 1 / 3))) == 1
    assert len(problem.targets(emo.das_dennis(3, 12))) < 91


def test_maf3_to_maf5_are_dtlz_changed():
    x = np.random.default_rng(2).random((20, 12))
    plain = DTLZ3(3).evaluate(x)
    np.testing.assert_allclose(MaF3(3).evaluate(x), np.column_stack([plain[:, :2] ** 4, plain[:, 2] ** 2]))
    g = DTLZ3(3).g(x[:, 2:])[:, None]
    np.testing.assert_allclose(MaF4(3).evaluate(x), (1 + g - plain) * [2, 4, 8])
    np.testing.assert_allclose(MaF5(3).evaluate(x), DTLZ4(3).evaluate(x) * [8, 4, 2])


def test_maf6_term_by_term():
    x = np.random.default_rng(3).random(14)
    g = sum((v - 0.5) ** 2 for v in x[4:])
    theta = [x[0]] + [(1 + 2 * g * v) / (2 + 2 * g) for v in x[1:4]]
    expected = [(1 + 100 * g) * h for h in sphere(theta, 5)]
    np.testing.assert_allclose(MaF6(5).evaluate([x])[0], expected)


@pytest.mark.parametrize("n_obj", [3, 5, 8])
def test_maf6_has_only_its_curve(n_obj):
    problem = MaF6(n_obj)
    X = np.random.default_rng(4).integers(0, 2, (3000, problem.n_var)).astype(float)
    sizes = 10.0 ** np.random.default_rng(5).uniform(-6, 0, (3000, 1))
    X[:, n_obj - 1 :] = 0.5 + (X[:, n_obj - 1 :] - 0.5) * sizes
    X[1500:, 0] = np.random.default_rng(6).random(1500)
    F = problem.evaluate(X)
    curve = problem.front(20_001)
    slack = 1e-3
    for f in F[problem.residual(F) > 0.01]:
        assert ((curve <= f + slack).all(axis=1)).any()


def test_maf7_is_dtlz7():
    assert MaF7(3).n_var == 22
    x = np.random.default_rng(5).random((5, 22))
    np.testing.assert_array_equal(MaF7(3).evaluate(x), DTLZ7(3).evaluate(x))


@pytest.mark.parametrize(("make", "wfg"), [(MaF10, WFG1), (MaF11, WFG2), (MaF12, WFG9)])
def test_maf10_to_maf12_are_wfg(make, wfg):
    problem = make(5)
    assert (problem.k, problem.l, problem.n_var) == (4, 10, 14)
    x = np.random.default_rng(6).random((9, 14)) * problem.upper
    np.testing.assert_array_equal(problem.evaluate(x), wfg(5, 4, 10).evaluate(x))
    with pytest.raises(ProblemError, match=f"{make.__name__} has n_obj = 1"):
        make(1)


@pytest.mark.parametrize("n_var", [5, 9])
def test_maf13_term_by_term(n_var):
    problem = MaF13(5, n_var)
    x = problem.lower + np.random.default_rng(7).random(n_var) * (problem.upper - problem.lower)
    bends = {j: math.sin(2 * math.pi * x[0] + j * math.pi / n_var) for j in range(1, n_var + 1)}
    y = {j: x[j - 1] - 2 * x[1] * bends[j] for j in bends}

    def mean(places):
        places = list(places)
        return 2 * sum(y[j] ** 2 for j in places) / len(places)

    a, b = 0.5 * math.pi * x[0], 0.5 * math.pi * x[1]
    f1 = math.sin(a) + mean(range(4, n_var + 1, 3))
    f2 = math.cos(a) * math.sin(b) + mean(range(5, n_var + 1, 3))
    f3 = math.cos(a) * math.cos(b) + mean(range(3, n_var + 1, 3))
    f4 = f1**2 + f2**10 + f3**10 + mean(range(4, n_var + 1))
    np.testing.assert_allclose(problem.evaluate([x])[0], [f1, f2, f3, f4, f4])


def test_front_of_maf13():
    problem = MaF13(5)
    position = np.random.default_rng(8).random((50, 2))
    F = problem.evaluate(problem.pareto_set(position))
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-12)
    np.testing.assert_allclose(problem.ideal, [0, 0, 0, 1 / 16, 1 / 16])
    dense = problem.front(20_000)
    assert dense[:, 3].min() == pytest.approx(1 / 16, abs=1e-4)
    assert dense[:, 3].max() == pytest.approx(1.0)


def groups(problem):
    """Columns of each half of each objective's variables."""
    start = problem.n_obj - 1
    for size in problem.sizes:
        yield range(start, start + size), range(start + size, start + 2 * size)
        start += 2 * size


@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_maf14_term_by_term(n_obj):
    problem = MaF14(n_obj)
    n = problem.n_var
    x = np.random.default_rng(9).random(n) * problem.upper
    z = {i: (1 + (i + 1) / n) * x[i] - 10 * x[0] for i in range(n_obj - 1, n)}
    G = []
    for m, halves in enumerate(groups(problem)):
        total = 0.0
        for half in halves:
            if m % 2 == 0:
                total += sum(z[i] ** 2 - 10 * math.cos(2 * math.pi * z[i]) + 10 for i in half)
            else:
                total += sum(100 * (z[i] ** 2 - z[i + 1]) ** 2 + (z[i] - 1) ** 2 for i in half[:-1])
        G.append(total / len(halves[0]) / 2)
    h = [math.prod(x[: n_obj - m]) * (1 - x[n_obj - m] if m > 1 else 1.0) for m in range(1, n_obj + 1)]
    np.testing.assert_allclose(problem.evaluate([x])[0], [(1 + g) * a for g, a in zip(G, h, strict=True)])


@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_maf15_term_by_term(n_obj):
    problem = MaF15(n_obj)
    n = problem.n_var
    x = np.random.default_rng(10).random(n) * problem.upper
    z = {i: (1 + math.cos(0.5 * math.pi * (i + 1) / n)) * x[i] - 10 * x[0] for i in range(n_obj - 1, n)}
    G = []
    for m, halves in enumerate(groups(problem)):
        total = 0.0
        for half in halves:
            total += sum(z[i] ** 2 for i in half) / (4000 if m % 2 == 0 else 1)
            if m % 2 == 0:
                total += 1 - math.prod(math.cos(z[i] / math.sqrt(j + 1)) for j, i in enumerate(half))
        G.append(total / len(halves[0]) / 2)
    G.append(0.0)
    expected = [(1 + G[m] + G[m + 1]) * (1 - h) for m, h in enumerate(sphere(x, n_obj))]
    np.testing.assert_allclose(problem.evaluate([x])[0], expected)


def test_sizes_of_the_groups():
    # Shares 0.342, 3.8 * 0.342 * 0.658 and so on, of 58 / 2.
    c = [0.342]
    c += [3.8 * c[0] * (1 - c[0])]
    c += [3.8 * c[1] * (1 - c[1])]
    assert MaF14(3).sizes.tolist() == [int(29 * v / sum(c)) for v in c] == [5, 14, 8]


@pytest.mark.parametrize("make", [MaF1, MaF3, MaF4, MaF5, MaF6, MaF14, MaF15])
@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_pareto_set_is_on_the_front(make, n_obj):
    problem = make(n_obj)
    position = np.random.default_rng(11).random((40, n_obj - 1))
    F = problem.evaluate(problem.pareto_set(position))
    np.testing.assert_allclose(problem.residual(F) / problem.nadir.max(), 0.0, atol=1e-9)


def test_front_of_maf14_cannot_be_reached_everywhere():
    problem = MaF14(15)
    X = problem.pareto_set(np.array([[0.99] + [0.5] * 13, [0.5] * 14]))
    assert X[0].max() > 10.0
    assert X[1].max() <= 10.0


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (MaF1, {"n_obj": 1}, "MaF1 has n_obj = 1"),
        (MaF2, {"n_obj": 5, "k": 4}, "MaF2 has k = 4; with 5 objectives it needs at least 5"),
        (MaF13, {"n_obj": 2}, "n_obj = 2; it must be an integer of at least 3"),
        (MaF13, {"n_var": 4}, "n_var = 4; it must be an integer of at least 5"),
        (MaF14, {"n_obj": 3, "n_var": 12}, "with 3 objectives it needs at least"),
        (MaF15, {"n_obj": 3, "n_var": 5}, "with 3 objectives it needs at least"),
    ],
)
def test_wrong_settings(make, settings, words):
    with pytest.raises(ProblemError, match=words):
        make(**settings)


def test_the_smallest_number_of_variables_that_is_offered_works():
    for make in (MaF14, MaF15):
        for n_obj in (2, 3, 7):
            with pytest.raises(ProblemError) as error:
                make(n_obj, n_obj)
            needed = int(str(error.value).split("at least ")[1].split(",")[0])
            assert (make(n_obj, needed).sizes >= make.smallest_group).all()
            with pytest.raises(ProblemError):
                make(n_obj, needed - 1)


def test_maf2_of_many_objectives():
    assert MaF2(15).k == 15
    assert MaF2(3).n_var == DTLZ2(3).n_var
