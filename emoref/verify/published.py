"""Published results that emoref is held against, one row a test instance.

Every figure carries a label that says how it was obtained: ``"sourced"`` stands in a stored file that cites
the paper; ``"memory"`` is recalled and was not read off the paper, so it is printed with that label;
``"measured"`` was computed by emoref's authors with the library named.

A new problem or algorithm is one more row here; see `ROWS`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref import emo
from emoref.emo import problems
from emoref.errors import ConfigError

__all__ = ["DEB_2002", "DEB_JAIN_2014", "PYMOO", "ROWS", "Figures", "Row", "choose_rows"]

TOLERANCE = 1.2
"""A median may be this many times the larger of the published one and pymoo's."""


@dataclass(frozen=True)
class Figures:
    """Figures of several runs with different seeds.

    Attributes
    ----------
    best, median, worst : float or None
        Of a table that reports these.
    mean, variance : float or None
        Of a table that reports these.
    label : str
        ``"sourced"``, ``"memory"`` or ``"measured"``, see the module.
    """

    best: float | None = None
    median: float | None = None
    worst: float | None = None
    mean: float | None = None
    variance: float | None = None
    label: str = "memory"


@dataclass(frozen=True)
class Row:
    """One test instance of a published table.

    Attributes
    ----------
    table : str
        ``"plain"`` or ``"scaled"`` (NSGA-III), or ``"zdt"`` (NSGA-II).
    problem : str
        Name of the problem in `emoref.emo.problems`.
    n_obj : int
        Number of objectives M.
    generations : int
        Generations of a run, the first population included.
    population : int
        Individuals of a generation.
    divisions : tuple of int
        Divisions of the reference points, one a layer; empty for algorithms without.
    base : float
        Objective i, counted from 0, is multiplied by base**i.
    paper : tuple of (str, Figures)
        What the paper reports of each measure; see `measure` and `figures`.
    pymoo : tuple of (str, Figures)
        What pymoo 0.6.2 reaches on the same set-up.
    """

    table: str
    problem: str
    n_obj: int
    generations: int
    population: int
    divisions: tuple[int, ...] = ()
    base: float = 1.0
    paper: tuple[tuple[str, Figures], ...] = ()
    pymoo: tuple[tuple[str, Figures], ...] = ()

    @property
    def key(self) -> str:
        """Name of the row, e.g. ``"plain DTLZ1 M=3"``."""
        return f"{self.table} {self.problem} M={self.n_obj}"

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured: ``"igd"``, or ``"gamma"`` and ``"delta"``."""
        return ("gamma", "delta") if self.table == "zdt" else ("igd",)

    def make_problem(self) -> Any:
        """Return the problem."""
        if self.table == "zdt":
            return getattr(problems, self.problem)()
        return getattr(problems, self.problem)(self.n_obj, base=self.base)

    def reference_points(self) -> NDArray[np.float64]:
        """Return the reference points (H, n_obj)."""
        return emo.das_dennis(self.n_obj, self.divisions)

    def measure(self, problem: Any, result: emo.Result) -> dict[str, float]:
        """Measure a finished run as the paper does.

        ``igd`` is the mean Euclidean distance from each target (where a reference line meets the true
        front) to the nearest member of the last population, all objectives divided by their scale.
        ``gamma`` is the mean distance of the non-dominated set to 500 points of the true front, ``delta``
        its spread.

        Parameters
        ----------
        problem
            What `make_problem` returned.
        result : emoref.emo.Result
            What the run returned.

        Returns
        -------
        dict of str to float
            The values by the names in `measures`.
        """
        if self.table == "zdt":
            front = problem.pareto_front(500)
            return {"gamma": emo.gd(result.F, front), "delta": emo.spread(result.F, front)}
        targets = problem.targets(self.reference_points())
        return {"igd": emo.igd(result.population.F / problem.scale, targets / problem.scale)}

    def figures(self, source: str, measure: str) -> Figures:
        """Return what a source, ``"paper"`` or ``"pymoo"``, reports of a measure; empty if nothing."""
        return dict(getattr(self, source)).get(measure, Figures())

    def limit(self, measure: str) -> float | None:
        """Return the largest median (of ``igd``) or mean (of ``gamma``) that passes; None if none is set.

        With 15 objectives only the paper's figure is known and nothing was measured beside it, so the row
        is reported and not judged; nor is the spread, or a scaled problem, which has to be as good as the
        plain one instead.
        """
        if self.table == "zdt":
            return self.figures("paper", "gamma").mean if measure == "gamma" else None
        paper, pymoo = (self.figures(source, "igd").median for source in ("paper", "pymoo"))
        if paper is None or pymoo is None:
            return None
        return TOLERANCE * max(paper, pymoo)


POPULATIONS = {3: 92, 5: 212, 8: 156, 10: 276, 15: 136}
DIVISIONS = {3: (12,), 5: (6,), 8: (3, 2), 10: (3, 2), 15: (2, 1)}
BASES = {"DTLZ1": (10.0, 10.0, 3.0, 2.0, 1.2), "DTLZ2": (10.0, 10.0, 3.0, 3.0, 2.0)}
"""Factors of the scaled problems for 3, 5, 8, 10 and 15 objectives."""

DEB_JAIN_2014 = {
    # (problem, M): generations; best, median and worst over 20 runs
    ("DTLZ1", 3): (400, 4.880e-4, 1.308e-3, 4.880e-3),
    ("DTLZ1", 5): (600, 5.116e-4, 9.799e-4, 1.979e-3),
    ("DTLZ1", 8): (750, 2.044e-3, 3.979e-3, 8.721e-3),
    ("DTLZ1", 10): (1000, 2.215e-3, 3.462e-3, 6.869e-3),
    ("DTLZ1", 15): (1500, 2.649e-3, 5.063e-3, 1.123e-2),
    ("DTLZ2", 3): (250, 1.262e-3, 1.357e-3, 2.114e-3),
    ("DTLZ2", 5): (350, 4.254e-3, 4.982e-3, 5.862e-3),
    ("DTLZ2", 8): (500, 1.371e-2, 1.571e-2, 1.811e-2),
    ("DTLZ2", 10): (750, 1.350e-2, 1.528e-2, 1.697e-2),
    ("DTLZ2", 15): (1000, 1.360e-2, 1.726e-2, 2.114e-2),
    ("DTLZ3", 3): (1000, 9.751e-4, 4.007e-3, 6.665e-3),
    ("DTLZ3", 5): (1000, 3.086e-3, 5.960e-3, 1.196e-2),
    ("DTLZ3", 8): (1000, 1.244e-2, 2.375e-2, 9.649e-2),
    ("DTLZ3", 10): (1500, 8.849e-3, 1.188e-2, 2.083e-2),
    ("DTLZ3", 15): (2000, 1.401e-2, 2.145e-2, 4.195e-2),
    ("DTLZ4", 3): (600, 2.915e-4, 5.970e-4, 4.286e-1),
    ("DTLZ4", 5): (1000, 9.849e-4, 1.255e-3, 1.721e-3),
    ("DTLZ4", 8): (1250, 5.079e-3, 7.054e-3, 6.051e-1),
    ("DTLZ4", 10): (2000, 5.694e-3, 6.337e-3, 1.076e-1),
    ("DTLZ4", 15): (3000, 7.110e-3, 3.431e-1, 1.073),
}
"""Deb and Jain 2014, table III: inverted generational distance. Recalled, label ``"memory"``."""

DEB_JAIN_2014_SCALED = {
    ("DTLZ1", 3): 1.214e-3,
    ("DTLZ1", 5): 2.500e-3,
    ("DTLZ1", 8): 1.051e-2,
    ("DTLZ1", 10): 5.577e-3,
    ("DTLZ1", 15): 6.183e-3,
    ("DTLZ2", 3): 2.069e-3,
    ("DTLZ2", 5): 2.564e-2,
    ("DTLZ2", 8): 1.788e-2,
    ("DTLZ2", 10): 3.334e-2,
    ("DTLZ2", 15): 2.531e-2,
}
"""The same paper's medians on the scaled problems. Recalled with less confidence, label ``"memory"``."""

PYMOO = {
    ("DTLZ1", 3): (3.167e-4, 9.327e-4, 6.880e-3),
    ("DTLZ2", 3): (9.735e-4, 1.251e-3, 1.645e-3),
    ("DTLZ3", 3): (2.078e-3, 4.747e-3, 8.555e-3),
    ("DTLZ4", 3): (1.763e-4, 2.348e-4, 5.095e-3),
    ("DTLZ1", 5): (4.616e-4, 6.939e-4, 2.503e-3),
    ("DTLZ2", 5): (3.808e-3, 4.671e-3, 5.318e-3),
    ("DTLZ3", 5): (3.263e-3, 5.618e-3, 1.306e-2),
    ("DTLZ4", 5): (3.302e-4, 6.236e-4, 1.066e-3),
    ("DTLZ1", 8): (2.315e-3, 3.991e-3, 6.767e-3),
    ("DTLZ2", 8): (1.228e-2, 1.439e-2, 1.949e-2),
    ("DTLZ3", 8): (1.467e-2, 2.612e-2, 6.232e-2),
    ("DTLZ4", 8): (2.746e-3, 3.361e-3, 4.712e-3),
    ("DTLZ1", 10): (2.570e-3, 3.032e-3, 6.404e-3),
    ("DTLZ2", 10): (1.346e-2, 1.448e-2, 1.508e-2),
    ("DTLZ3", 10): (8.122e-3, 1.140e-2, 1.616e-2),
    ("DTLZ4", 10): (3.460e-3, 4.063e-3, 4.949e-3),
}
"""NSGA-III of pymoo 0.6.2 on the plain problems: best, median and worst of 11 seeds, measured.

Populations and generations as in the paper, SBX (probability 1, eta 30) with pymoo's exchange of variables,
polynomial mutation (eta 20), the same inverted generational distance.
"""

DEB_2002 = {
    # problem: label; gamma mean and variance, delta mean and variance, over 10 runs
    "ZDT1": ("sourced", 0.033482, 0.004750, 0.390307, 0.001876),
    "ZDT2": ("sourced", 0.072391, 0.031689, 0.430776, 0.004721),
    "ZDT3": ("sourced", 0.114500, 0.007940, 0.738540, 0.019706),
    "ZDT4": ("sourced", 0.513053, 0.118460, 0.702612, 0.064648),
    "ZDT6": ("memory", 0.296564, 0.013135, 0.668025, 0.009923),
}
"""Deb et al. 2002, tables II and III, real-coded NSGA-II: population 100, 250 generations.

The paper's distances are larger than those of any correct program of today on the same budget; they are
bounds, not values to be met.
"""


def _rows() -> Iterable[Row]:
    for (problem, n_obj), (generations, best, median, worst) in DEB_JAIN_2014.items():
        measured = PYMOO.get((problem, n_obj))
        pymoo = (("igd", Figures(*measured, label="measured")),) if measured else ()
        yield Row(
            "plain",
            problem,
            n_obj,
            generations,
            POPULATIONS[n_obj],
            DIVISIONS[n_obj],
            paper=(("igd", Figures(best, median, worst)),),
            pymoo=pymoo,
        )
    for (problem, n_obj), recalled in DEB_JAIN_2014_SCALED.items():
        base = dict(zip(POPULATIONS, BASES[problem], strict=True))[n_obj]
        generations = int(DEB_JAIN_2014[problem, n_obj][0])
        paper = (("igd", Figures(median=recalled)),)
        yield Row(
            "scaled", problem, n_obj, generations, POPULATIONS[n_obj], DIVISIONS[n_obj], base, paper=paper
        )
    for problem, (label, gamma, gamma_variance, delta, delta_variance) in DEB_2002.items():
        figures = {
            "gamma": Figures(mean=gamma, variance=gamma_variance, label=label),
            "delta": Figures(mean=delta, variance=delta_variance, label=label),
        }
        yield Row("zdt", problem, 2, 250, 100, paper=tuple(figures.items()))


ROWS: dict[str, Row] = {row.key: row for row in _rows()}
"""Every row of the published tables, by its key."""


def choose_rows(problems: Iterable[str] = (), objectives: Iterable[int] = ()) -> tuple[Row, ...]:
    """Choose rows of the tables.

    Parameters
    ----------
    problems : iterable of str
        Names such as ``"DTLZ1"``, tables such as ``"scaled"``, or keys of `ROWS`; empty for all.
    objectives : iterable of int
        Numbers of objectives; empty for all.

    Returns
    -------
    tuple of Row
        Rows for which one of the names and one of the numbers fits, in the order of the tables.

    Raises
    ------
    ConfigError
        If a name or a number fits no row.
    """
    names, numbers = list(problems), list(objectives)
    for name in names:
        if not any(_called(row, name) for row in ROWS.values()):
            known = ", ".join(
                dict.fromkeys(word for row in ROWS.values() for word in (row.problem, row.table))
            )
            raise ConfigError(f"no published row is called {name!r}; use {known}")
    for number in numbers:
        if all(row.n_obj != number for row in ROWS.values()):
            known = ", ".join(str(n) for n in sorted({row.n_obj for row in ROWS.values()}))
            raise ConfigError(f"no published row has {number} objectives; use {known}")
    chosen = tuple(
        row
        for row in ROWS.values()
        if (not names or any(_called(row, name) for name in names)) and (not numbers or row.n_obj in numbers)
    )
    if not chosen:
        raise ConfigError(
            f"no published row of {', '.join(names)} has {', '.join(map(str, numbers))} objectives"
        )
    return chosen


def _called(row: Row, name: str) -> bool:
    return name.casefold() in (text.casefold() for text in (row.problem, row.table, row.key))
