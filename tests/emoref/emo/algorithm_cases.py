"""The algorithms whose properties are tested, and problems of every kind to run them on.

A new algorithm is one row of ALGORITHMS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emoref import emo
from emoref.emo.algorithm import Algorithm
from emoref.emo.problems import DTLZ2

NAN = float("nan")


@dataclass(frozen=True)
class Frame:
    """Units, origin and order of the objectives: value m becomes (factor * value + shift), in `order`."""

    factor: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    order: tuple[int, ...] = ()

    def values(self, F):
        F = np.asarray(F, dtype=float)
        F = F * np.array(self.factor or 1.0) + np.array(self.shift or 0.0)
        return F[:, self.order] if self.order else F

    def points(self, n_obj):
        """Return few reference points for as many objectives, in the frame's order."""
        W = emo.das_dennis(n_obj, 3)
        return W[:, self.order] if self.order else W

    def aspirations(self, n_obj):
        return self.values([np.linspace(0.2, 0.5, n_obj), np.linspace(0.7, 0.3, n_obj)])


PLAIN = Frame()


@dataclass(frozen=True)
class Row:
    """How to make an algorithm, and what does not hold for it.

    `make` gets a problem, a frame and further settings, `seed` at least. `breaks` are names of INVARIANCES.
    `placed` says that candidates have places, such as subproblems: rows may not be permuted or added.
    """

    make: Callable[..., Algorithm]
    breaks: frozenset[str] = frozenset()
    placed: bool = False


def guided(cls, breaks=(), **fixed):
    """Return the row of an algorithm with reference points."""
    return Row(
        lambda problem, frame, **s: cls(problem, reference_points=frame.points(problem.n_obj), **fixed, **s),
        frozenset(breaks),
    )


def aspiring(in_frame, breaks=()):
    """Return the row of R-NSGA-III whose aspiration points change with the frame, or stay as they are."""

    def make(problem, frame, **settings):
        A = (frame if in_frame else PLAIN).aspirations(problem.n_obj)
        W = frame.points(problem.n_obj)
        return emo.RNSGA3(problem, aspiration_points=A, reference_points=W, population_size=12, **settings)

    return Row(make, frozenset(breaks))


def crowding(**fixed):
    """Return the row of a variant of NSGA-II."""
    return Row(lambda problem, frame, **s: emo.NSGA2(problem, population_size=12, **fixed, **s))


def decomposing(breaks=(), **fixed):
    """Return the row of a variant of MOEA/D."""
    return Row(
        lambda problem, frame, **s: emo.MOEAD(problem, weights=frame.points(problem.n_obj), **fixed, **s),
        frozenset(breaks),
        placed=True,
    )


def twelve(cls, **fixed):
    """Return the row of an algorithm with a population of twelve."""
    return Row(lambda problem, frame, **s: cls(problem, population_size=12, **fixed, **s))


ALGORITHMS = {
    "NSGA2": crowding(),
    "NSGA2-deb-c": crowding(crowding="deb-c", tournament="dominance"),
    "NSGA3": guided(emo.NSGA3),
    "NSGA3-deb2014": guided(emo.NSGA3, {"scaling"}, normalisation="deb2014"),
    "NSGA3-pymoo": guided(emo.NSGA3, {"scaling"}, normalisation="pymoo"),
    "UNSGA3": guided(emo.UNSGA3),
    "ANSGA3": guided(emo.ANSGA3),
    "ANSGA3-settled": guided(emo.ANSGA3, deletion="settled"),
    "RNSGA3": aspiring(in_frame=True),
    "RNSGA3-fixed": aspiring(in_frame=False, breaks={"translation", "scaling", "objectives"}),
    "ThetaDEA": guided(emo.ThetaDEA),
    "MOEAD": decomposing({"scaling"}),
    "MOEAD-range": decomposing(normalisation="range", scalarisation="pbi"),
    "SMSEMOA": twelve(emo.SMSEMOA, offspring_size=12),
    "SMSEMOA-dominating": twelve(emo.SMSEMOA, offspring_size=12, later_fronts="dominating"),
    "SparseEA": twelve(emo.SparseEA),
    "SparseEA-drop-one": twelve(emo.SparseEA, scoring="drop-one"),
}


# -------------------------------------------------------------------------------------------- problems


def shapes(X):
    """Return objectives of any candidates: three distances, none of which can be small with the others."""
    X = np.asarray(X, dtype=float)
    return np.column_stack([np.abs(X - c).sum(axis=1) for c in (0.0, 0.5, 1.0)]) + 0.25 * X[:, :1]


def mixed(X):
    return shapes(X * np.array([1.0, 0.2, 1.0, 1.0])), (X[:, 1] - 3.0)[:, None]


def sometimes(X):
    F = DTLZ2(3, k=2).evaluate(X)
    F[X[:, 0] > 0.6] = NAN
    return F


def same_violation(X):
    return X[:, :3], np.ones((len(X), 1))


def far_away(X):
    return X[:, :3], X.sum(axis=1, keepdims=True)


class Constrained:
    """DTLZ2 of which only the part with f1 >= 0.2 is allowed."""

    n_var, n_obj, lower, upper = 6, 3, 0.0, 1.0

    def evaluate(self, X):
        F = DTLZ2(3, k=4).evaluate(X)
        return F, (0.2 - F[:, 0])[:, None]


KINDS = ("real", "integer", "binary", "real")
PROBLEMS = {
    "real": DTLZ2(3, k=4),
    "integer": emo.FunctionProblem(lambda X: shapes(X / 9.0), 4, 3, 0, 9, kind="integer"),
    "binary": emo.FunctionProblem(shapes, 10, 3, kind="binary"),
    "mixed": emo.FunctionProblem(mixed, 4, 3, 0, [1, 5, 1, 1], kind=KINDS),
    "constrained": Constrained(),
    "none feasible": emo.FunctionProblem(far_away, 4, 3, 0.1, 1.0),
    "equal violations": emo.FunctionProblem(same_violation, 4, 3),
    "failing": emo.FunctionProblem(sometimes, 4, 3),
    "constant": emo.FunctionProblem(lambda X: np.ones((len(X), 3)), 4, 3),
    "one objective": emo.FunctionProblem(lambda X: ((X - 0.3) ** 2).sum(axis=1, keepdims=True), 3, 1),
}
