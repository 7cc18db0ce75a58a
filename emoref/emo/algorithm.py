"""What all algorithms share: asking and telling, generations, history, and a state that can be stored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.mating import fill_with_new_rows, mating
from emoref.emo.operators import Crossover, CrossoverByKind, Mutation, MutationByKind
from emoref.emo.population import Generation, Population, Result, history_from_arrays, history_to_arrays
from emoref.emo.problem import Problem, Variables, check_values, evaluate
from emoref.emo.sampling import RandomSampling, Sampling
from emoref.errors import EmorefError, ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["Algorithm", "Repair", "minimize"]

Repair = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]
"""Called with candidates (N, n_var) and a generator; returns as many that satisfy what the caller needs."""


class Algorithm(ABC):
    """An evolutionary algorithm that is driven generation by generation.

    A subclass says who mates (`_choose_parents`), who survives (`_survive`), and which arrays of its own
    belong to its state (`_own_state`, `_restore_own`).

    Generation 1 is the first, sampled population; ``generation`` counts the populations told so far. All
    random numbers of a generation come from a generator derived from (seed, purpose, generation), so the
    state of the search is its generation and the arrays of its population.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    population_size
        Number of survivors of each generation, at least 1.
    seed
        Seed of the run, an integer of at least 0.
    offspring_size
        Number of offspring a generation; None for `population_size`.
    sampling, crossover, mutation
        Operators; None for uniformly random candidates, and crossover and mutation by kind of variable.
    repair
        Called on sampled and offspring candidates, before duplicates are dropped; None for no repair.
    duplicates
        Whether candidates may be evaluated that are already in the population or the offspring.
    attempts
        How often sampling or mating is repeated to replace dropped duplicates. If that does not suffice,
        `ask` returns fewer candidates, possibly none.
    reference
        Reference point of the hypervolume in the history, (n_obj,); None to leave it out.

    Raises
    ------
    ProblemError
        If the problem or a size makes no sense.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        population_size: int,
        seed: int = 0,
        offspring_size: int | None = None,
        sampling: Sampling | None = None,
        crossover: Crossover | None = None,
        mutation: Mutation | None = None,
        repair: Repair | None = None,
        duplicates: bool = False,
        attempts: int = 10,
        reference: Any = None,
    ) -> None:
        self.problem = problem
        self.variables = Variables.of(problem)
        self.population_size = _at_least_one("population_size", population_size)
        self.offspring_size = _at_least_one(
            "offspring_size", population_size if offspring_size is None else offspring_size
        )
        self.attempts = _at_least_one("attempts", attempts)
        generator(seed, "emo.check")
        self.seed = int(seed)
        self.sampling = RandomSampling() if sampling is None else sampling
        self.crossover = CrossoverByKind() if crossover is None else crossover
        self.mutation = MutationByKind() if mutation is None else mutation
        self.repair = repair
        self.duplicates = duplicates
        self.reference = _reference(reference, problem.n_obj)
        self.generation = 0
        self.evaluations = 0
        self.population: Population | None = None
        self.history: list[Generation] = []
        self._asked: NDArray[Any] | None = None

    # ------------------------------------------------------------------------- what a subclass defines

    @abstractmethod
    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the rows of `count` parents."""

    @abstractmethod
    def _survive(self, candidates: Population) -> Population:
        """Return the next population, chosen from parents and offspring together."""

    def _known_ranks(self) -> NDArray[np.int64] | None:
        """Return the ranks of the population's members if survival left them behind; see `Generation.of`."""
        return None

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """Return the arrays, beside the population, that the next generation depends on."""

    @abstractmethod
    def _restore_own(self, state: Mapping[str, Any]) -> None:
        """Take back what `_own_state` returned."""

    # --------------------------------------------------------------------------------------- main loop

    def ask(self) -> NDArray[Any]:
        """Return the candidates to evaluate next.

        The answer depends on the state and the seed alone: asking again, also after `restore`, returns
        the same rows.

        Returns
        -------
        numpy.ndarray
            Candidates (rows, n_var); fewer than usual if no more new ones were found.
        """
        return self._candidates().copy()

    def tell(self, F: Any, G: Any = None) -> None:
        """Go to the next generation with the values of the candidates that `ask` returned.

        Parameters
        ----------
        F
            Objective values (rows, n_obj). A row with NaN or infinity is a failed evaluation and ranks last.
        G
            Constraint values (rows, K), at most 0 is feasible; None if there is none.

        Raises
        ------
        ProblemError, ShapeError
            If the values are not numeric or do not fit the candidates. The state is then unchanged.
        """
        X = self._candidates()
        values = check_values(F, G, len(X), self.problem.n_obj)
        if self.population is None:
            self.population = self._survive(Population(X, values.F, values.G))
        elif len(X) > 0:
            offspring = Population(X, values.F, values.G)
            self.population = self._survive(self.population.join(offspring))
        self._asked = None
        self.generation += 1
        self.evaluations += len(X)
        ranks = self._known_ranks()
        record = Generation.of(self.generation, self.evaluations, self.population, self.reference, ranks)
        self.history.append(record)

    def step(self) -> None:
        """Run one generation: ask, evaluate, tell."""
        X = self._candidates()
        if len(X) == 0:
            self.tell(np.empty((0, self.problem.n_obj)))
            return
        values = evaluate(self.problem, X)
        self.tell(values.F, values.G)

    def run(self, generations: int, callback: "Callable[[Algorithm], None] | None" = None) -> Result:
        """Run a number of further generations.

        Parameters
        ----------
        generations
            How many, at least 0.
        callback
            Called with the algorithm after each generation.

        Returns
        -------
        Result
            What was found so far.
        """
        for _ in range(generations):
            self.step()
            if callback is not None:
                callback(self)
        return self.result()

    def result(self) -> Result:
        """Return what was found so far.

        Raises
        ------
        ProblemError
            If no generation was told yet.
        """
        if self.population is None:
            raise ProblemError("there is no result before the first generation; call step, run or tell")
        front = self.population.front()
        return Result(front.X, front.F, front.G, self.population, tuple(self.history))

    def _candidates(self) -> NDArray[Any]:
        if self._asked is None:
            self._asked = self._sample() if self.population is None else self._breed(self.population)
        return self._asked

    def _sample(self) -> NDArray[Any]:
        rng = generator(self.seed, "emo.sampling", self.generation)

        def sample(count: int) -> NDArray[Any]:
            X = self.variables.check(self.sampling(count, self.variables, rng), "sampling")
            return self._repaired(_exactly(count, X, "sampling"), rng)

        if self.duplicates:
            return sample(self.population_size)
        return fill_with_new_rows(sample, self.population_size, None, self.attempts)

    def _breed(self, population: Population) -> NDArray[Any]:
        breed = partial(self._bred, population, generator(self.seed, "emo.mating", self.generation))
        if self.duplicates:
            return breed(self.offspring_size)
        return fill_with_new_rows(breed, self.offspring_size, population.X, self.attempts)

    def _bred(self, population: Population, rng: np.random.Generator, count: int) -> NDArray[Any]:
        parents = self._choose_parents(population, count + count % 2, rng)
        X = mating(population.X, parents, self.variables, self.crossover, self.mutation, rng)
        return self._repaired(X[:count], rng)

    def _repaired(self, X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if self.repair is None:
            return X
        return _exactly(len(X), self.variables.check(self.repair(X, rng), "repair"), "repair")

    # ------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """Return all that the rest of the run depends on, as integers and arrays.

        Before the first generation the arrays have no rows. The arrays are copies.

        Returns
        -------
        dict
            ``seed``, ``generation``, ``evaluations``, the population's ``X``, ``F``, ``G``, the arrays of
            the algorithm (see its class) and ``history_*``.
        """
        population = self.population
        if population is None:
            population = Population(
                np.empty((0, self.variables.count), self.variables.dtype),
                np.empty((0, self.problem.n_obj)),
                np.empty((0, 0)),
            )
        return {
            "seed": self.seed,
            "generation": self.generation,
            "evaluations": self.evaluations,
            "X": population.X.copy(),
            "F": population.F.copy(),
            "G": population.G.copy(),
            **self._own_state(),
            **history_to_arrays(self.history, self.problem.n_obj),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a stored state, as if the run had never stopped.

        Parameters
        ----------
        state
            What `state` returned, from an algorithm of the same class and settings. Values may be
            anything that NumPy can read, such as h5py data sets.

        Raises
        ------
        ProblemError
            If an entry is missing or makes no sense, or the state belongs to another seed.
        ShapeError
            If arrays do not fit the problem or one another.
        """
        try:
            plain = {name: np.array(value) for name, value in state.items()}
            self._take_state(plain)
        except KeyError as error:
            raise ProblemError(f"the stored state has no entry {error}; it is incomplete") from None
        except EmorefError:
            raise
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise ProblemError(f"the stored state does not hold together ({error})") from None

    def _take_state(self, state: dict[str, NDArray[Any]]) -> None:
        if int(state["seed"]) != self.seed:
            raise ProblemError(f"the stored state has seed {int(state['seed'])}, this algorithm {self.seed}")
        X, generation = state["X"], int(state["generation"])
        rows = len(X)
        if X.shape[1:] != (self.variables.count,) or len(state["history_ideal"]) != generation:
            raise ShapeError(
                f"the stored state has candidates {X.shape} and {len(state['history_ideal'])} records for "
                f"generation {generation}; the problem has {self.variables.count} variables"
            )
        try:
            values = check_values(state["F"], state["G"], rows, self.problem.n_obj)
        except EmorefError as error:
            raise type(error)(f"stored state: {error}") from None
        history = history_from_arrays(state)
        X = self.variables.check(X, "the stored state")
        self._restore_own(state)
        self.population = Population(X, values.F, values.G) if generation > 0 else None
        self.generation, self.evaluations = generation, int(state["evaluations"])
        self.history = history
        self._asked = None


def minimize(
    problem: Problem,
    algorithm: Algorithm,
    generations: int,
    callback: Callable[[Algorithm], None] | None = None,
) -> Result:
    """Run an algorithm up to a number of generations.

    Parameters
    ----------
    problem
        The problem the algorithm was made for.
    algorithm
        The algorithm; if it has run before, only the generations that are missing are run.
    generations
        Number of generations in all, the first population included.
    callback
        Called with the algorithm after each generation.

    Returns
    -------
    Result
        The feasible non-dominated set, the last population and the history.

    Raises
    ------
    ProblemError
        If the algorithm was made for another problem, or `generations` is below 1.
    """
    if algorithm.problem is not problem:
        raise ProblemError("the algorithm was made for another problem than the one to minimise")
    _at_least_one("generations", generations)
    return algorithm.run(max(0, generations - algorithm.generation), callback)


def _at_least_one(name: str, value: Any) -> int:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ProblemError(f"{name} is {value!r}; it must be an integer of at least 1")
    return int(value)


def _reference(reference: Any, n_obj: int) -> NDArray[np.float64] | None:
    if reference is None:
        return None
    point = np.array(reference, dtype=np.float64)
    if point.shape != (n_obj,) or not np.isfinite(point).all():
        raise ProblemError(f"reference is {reference!r}; it must be {n_obj} finite numbers, one an objective")
    return point


def _exactly(count: int, X: NDArray[Any], source: str) -> NDArray[Any]:
    if len(X) != count:
        raise ShapeError(f"{source} returned {len(X)} candidates; {count} were asked for")
    return X
