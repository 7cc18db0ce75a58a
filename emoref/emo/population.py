"""A population, the record of a generation, and what an optimisation returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import constraint_violation, hypervolume, nondominated_ranks
from emoref.errors import ShapeError
from emoref_kernels.cpu.fronts import finite_rows

__all__ = ["Generation", "Population", "Result", "history_from_arrays", "history_to_arrays"]


@dataclass(frozen=True, eq=False)
class Population:
    """Candidates with their values.

    Parameters
    ----------
    X
        Candidates (N, n_var).
    F
        Objective values (N, n_obj).
    G
        Constraint values (N, K); at most 0 is feasible, K may be 0.
    """

    X: NDArray[Any]
    F: NDArray[np.float64]
    G: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.X)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which candidates were evaluated without failure and violate nothing, bool (N,)."""
        finite = finite_rows(self.F)
        return finite if self.G.shape[1] == 0 else finite & (constraint_violation(self.G) == 0.0)

    def take(self, rows: NDArray[Any]) -> "Population":
        """Return the candidates of some rows."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Population(self.X.take(rows, axis=0), self.F.take(rows, axis=0), self.G.take(rows, axis=0))

    def join(self, other: "Population") -> "Population":
        """Return these candidates followed by those of `other`.

        Raises
        ------
        ShapeError
            If the numbers of constraints differ.
        """
        if self.G.shape[1] != other.G.shape[1]:
            raise ShapeError(
                f"G has {other.G.shape[1]} constraints, but in earlier generations it had {self.G.shape[1]}"
            )
        return Population(
            np.concatenate([self.X, other.X]),
            np.concatenate([self.F, other.F]),
            np.concatenate([self.G, other.G]),
        )

    def front(self) -> "Population":
        """Return the feasible candidates that no other feasible one dominates, in their order."""
        feasible = self.take(self.feasible)
        if len(feasible) == 0:
            return feasible
        return feasible.take(nondominated_ranks(feasible.F) == 0)


@dataclass(frozen=True, eq=False)
class Generation:
    """What is kept of one generation: a few numbers, however large the population.

    Parameters
    ----------
    generation
        Number of the generation; the first population is 1.
    evaluations
        Candidates evaluated up to and including this generation.
    feasible
        Number of feasible candidates in the population.
    front_size
        Number of those that are non-dominated.
    ideal
        Smallest value of each objective among the feasible candidates, infinite if there is none (M,).
    hypervolume
        Hypervolume of the feasible candidates, or NaN if no reference point was given.
    """

    generation: int
    evaluations: int
    feasible: int
    front_size: int
    ideal: NDArray[np.float64]
    hypervolume: float

    @classmethod
    def of(
        cls,
        generation: int,
        evaluations: int,
        population: Population,
        reference: NDArray[np.float64] | None,
        ranks: NDArray[np.int64] | None = None,
    ) -> "Generation":
        """Record a population after so many `evaluations`.

        `reference` is the hypervolume's, or None. `ranks` are those under constrained domination, if they are
        known already: in the population, or before selection among others as well, if nobody of front 0 had
        to leave for one of a later front.
        """
        feasible = population.feasible
        if ranks is None:
            front = population.front().F
        else:
            front = population.F[feasible & (ranks == 0)]
        return cls(
            generation,
            evaluations,
            int(np.count_nonzero(feasible)),
            len(front),
            front.min(axis=0, initial=np.inf),
            float("nan") if reference is None else hypervolume(front, reference),
        )


_SCALARS = {
    "generation": np.int64,
    "evaluations": np.int64,
    "feasible": np.int64,
    "front_size": np.int64,
    "hypervolume": np.float64,
}


def history_to_arrays(history: Sequence[Generation], n_obj: int) -> dict[str, NDArray[Any]]:
    """Return records as one array for each field, ``"history_<field>"``, generations along the first axis."""
    arrays: dict[str, NDArray[Any]] = {
        f"history_{name}": np.array([getattr(record, name) for record in history], dtype=dtype)
        for name, dtype in _SCALARS.items()
    }
    ideals = np.array([record.ideal for record in history], dtype=np.float64)
    arrays["history_ideal"] = ideals.reshape(len(history), n_obj)
    return arrays


def history_from_arrays(arrays: dict[str, Any]) -> list[Generation]:
    """Return the records that `history_to_arrays` was given."""
    ideals = np.asarray(arrays["history_ideal"], dtype=np.float64)
    columns = {name: np.asarray(arrays[f"history_{name}"]).tolist() for name in _SCALARS}
    return [
        Generation(ideal=ideals[t].copy(), **{name: column[t] for name, column in columns.items()})
        for t in range(len(ideals))
    ]


@dataclass(frozen=True, eq=False)
class Result:
    """What an optimisation found.

    Parameters
    ----------
    X, F, G
        Candidates, objective and constraint values of the feasible, non-dominated set; empty if no
        feasible candidate was found.
    population
        The whole last population, infeasible candidates included.
    history
        One record for each generation.
    """

    X: NDArray[Any]
    F: NDArray[np.float64]
    G: NDArray[np.float64]
    population: Population
    history: tuple[Generation, ...]
