"""Variation operators: how two parents make two children, and how a child is changed at random.

The functions are the operators themselves; the classes of the same names hold an operator's settings and
apply it to the columns that it is for. A crossover object is called with (A, B, variables, rng) and returns
two new matrices of children; a mutation object is called with (X, variables, rng) and returns a new one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problem import Variables
from emoref.errors import ProblemError
from emoref_kernels.cpu import variation

__all__ = [
    "SBX",
    "BitFlip",
    "Crossover",
    "CrossoverByKind",
    "Mutation",
    "MutationByKind",
    "PolynomialMutation",
    "UniformCrossover",
    "bit_flip",
    "polynomial_mutation",
    "sbx",
    "uniform_crossover",
]

Crossover = Callable[
    [NDArray[Any], NDArray[Any], Variables, np.random.Generator], tuple[NDArray[Any], NDArray[Any]]
]
Mutation = Callable[[NDArray[Any], Variables, np.random.Generator], NDArray[Any]]


# -------------------------------------------------------------------------------------------- functions


def sbx(
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    probability: float = 0.9,
    eta: float = 20.0,
    swap: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recombine real parents by simulated binary crossover within bounds.

    A pair takes part with `probability`, each of its variables then with probability 0.5. For such a
    variable let y1 < y2 be the parents' values. The spread factor beta of the lower child has the density
    that a one-point crossover of bit strings would give it, with index `eta`, cut off so that the child
    cannot leave the bounds::

        beta_max = 1 + 2 (y1 - lower) / (y2 - y1)
        alpha    = 2 - beta_max ** -(eta + 1)
        beta     = (u alpha) ** (1 / (eta + 1))              if u <= 1 / alpha
                   (1 / (2 - u alpha)) ** (1 / (eta + 1))    otherwise
        c1       = (y1 + y2 - beta (y2 - y1)) / 2

    and the upper child c2 likewise with (upper - y2) and a plus sign; u is uniform and the same for both.

    Parameters
    ----------
    A, B
        Parents (pairs, n).
    lower, upper
        Bounds (n,).
    rng
        Source of random numbers.
    probability
        Probability that a pair takes part.
    eta
        Distribution index; the larger, the closer children are to their parents.
    swap
        Whether c1 and c2 change places with probability 0.5, variable by variable. Without it the first
        child gets c1 and the second c2.

    Returns
    -------
    tuple of numpy.ndarray
        The two children of each pair, (pairs, n) each. Variables that do not take part are inherited.

    Notes
    -----
    Sources: Deb and Agrawal, "Simulated binary crossover for continuous search space", Complex Systems 9,
    1995; the treatment of bounds and the probability 0.5 are those of Deb's NSGA-II program.
    """
    A, B = (np.ascontiguousarray(parents, dtype=np.float64) for parents in (A, B))
    draws = rng.random(A.shape[0] + 3 * A.size)
    children = variation.sbx(A, B, draws, lower, upper, probability, eta, swap)
    return children[0::2], children[1::2]


def polynomial_mutation(
    X: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    probability: float | None = None,
    eta: float = 20.0,
) -> NDArray[np.float64]:
    """Change real variables by polynomial mutation within bounds.

    Each variable x is changed with `probability` to x + delta (upper - lower)::

        delta = (2u + (1 - 2u) (1 - d1) ** (eta + 1)) ** (1 / (eta + 1)) - 1            if u <= 0.5
                1 - (2 (1 - u) + (2u - 1) (1 - d2) ** (eta + 1)) ** (1 / (eta + 1))     otherwise

    where d1 and d2 are the distances to the lower and the upper bound, divided by their difference.

    Parameters
    ----------
    X
        Candidates (N, n).
    lower, upper
        Bounds (n,). A variable whose bounds are equal is left alone.
    rng
        Source of random numbers.
    probability
        Probability for each variable; None for 1/n.
    eta
        Distribution index; the larger, the smaller the changes.

    Returns
    -------
    numpy.ndarray
        The changed candidates (N, n).

    Notes
    -----
    Source: Deb and Goyal, "A combined genetic adaptive search (GeneAS) for engineering design", 1996, in
    the bounded form of Deb's NSGA-II program.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    draws = rng.random((2, *X.shape))
    return variation.polynomial_mutation(X, draws, lower, upper, _rate(probability, X.shape[1]), eta)


def uniform_crossover(
    A: NDArray[Any], B: NDArray[Any], rng: np.random.Generator, *, probability: float = 0.9
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Recombine parents by exchanging genes at random.

    A pair takes part with `probability`; each of its genes then changes places with probability 0.5.

    Parameters
    ----------
    A, B
        Parents (pairs, n) of any type.
    rng
        Source of random numbers.
    probability
        Probability that a pair takes part.

    Returns
    -------
    tuple of numpy.ndarray
        The two children of each pair.

    Notes
    -----
    Source: Syswerda, "Uniform crossover in genetic algorithms", ICGA 1989.
    """
    change = (rng.random((len(A), 1)) < probability) & (rng.random(A.shape) < 0.5)
    return np.where(change, B, A), np.where(change, A, B)


def bit_flip(X: NDArray[Any], rng: np.random.Generator, *, probability: float | None = None) -> NDArray[Any]:
    """Turn bits over, each with `probability` (None for 1/n).

    Parameters
    ----------
    X
        Bits (N, n): bool, or numbers 0 and 1.
    rng
        Source of random numbers.
    probability
        Probability for each bit.

    Returns
    -------
    numpy.ndarray
        The changed bits, of the type of `X`.
    """
    flipped = rng.random(X.shape) < _rate(probability, X.shape[1])
    return (X.astype(np.bool_) ^ flipped).astype(X.dtype)


def _rate(probability: float | None, n_var: int) -> float:
    return 1.0 / n_var if probability is None else probability


# -------------------------------------------------------------------------------------------- settings


def check_probability(name: str, probability: float | None) -> None:
    """Check an operator's probability, where None stands for 1/n.

    Raises
    ------
    ProblemError
        If it is outside [0, 1].
    """
    if probability is not None and not 0.0 <= probability <= 1.0:
        raise ProblemError(f"the probability of {name} is {probability}; it must be between 0 and 1")


def _check_settings(name: str, probability: float | None, eta: float) -> None:
    check_probability(name, probability)
    if not eta >= 0.0:
        raise ProblemError(f"the distribution index eta of {name} is {eta}; it must be at least 0")


def _settle(X: NDArray[np.float64], variables: Variables) -> NDArray[Any]:
    """Round integer variables into their bounds and return the matrix in the problem's type."""
    for kind, columns in variables.columns.items():
        if kind != "real":
            whole = np.rint(X[:, columns])
            X[:, columns] = np.clip(whole, variables.lower[columns], variables.upper[columns])
    return X.astype(variables.dtype, copy=False)


@dataclass(frozen=True)
class SBX:
    """Simulated binary crossover of real variables; see `sbx`.

    Integer variables are recombined as real ones within bounds that are wider by one half, and rounded
    (not published; emoref uses it so that the outermost integers are as likely as the others).

    Parameters
    ----------
    probability
        Probability that a pair takes part.
    eta
        Distribution index.
    swap
        Whether the children's values change places at random.
    """

    probability: float = 0.9
    eta: float = 20.0
    swap: bool = True

    def __post_init__(self) -> None:
        _check_settings("SBX", self.probability, self.eta)

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair."""
        lower, upper = variables.widened
        first, second = sbx(
            A, B, lower, upper, rng, probability=self.probability, eta=self.eta, swap=self.swap
        )
        return _settle(first, variables), _settle(second, variables)


@dataclass(frozen=True)
class PolynomialMutation:
    """Polynomial mutation of real variables; see `polynomial_mutation`. Integers as in `SBX`.

    Parameters
    ----------
    probability
        Probability for each variable; None for 1/n.
    eta
        Distribution index.
    """

    probability: float | None = None
    eta: float = 20.0

    def __post_init__(self) -> None:
        _check_settings("PolynomialMutation", self.probability, self.eta)

    def __call__(self, X: NDArray[Any], variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return the changed candidates."""
        lower, upper = variables.widened
        mutated = polynomial_mutation(X, lower, upper, rng, probability=self.probability, eta=self.eta)
        return _settle(mutated, variables)


@dataclass(frozen=True)
class UniformCrossover:
    """Uniform crossover of variables of any kind; see `uniform_crossover`.

    Parameters
    ----------
    probability
        Probability that a pair takes part.
    """

    probability: float = 0.9

    def __post_init__(self) -> None:
        check_probability("UniformCrossover", self.probability)

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair."""
        return uniform_crossover(A, B, rng, probability=self.probability)


@dataclass(frozen=True)
class BitFlip:
    """Bit-flip mutation of binary variables; see `bit_flip`.

    Parameters
    ----------
    probability
        Probability for each bit; None for 1/n.
    """

    probability: float | None = None

    def __post_init__(self) -> None:
        check_probability("BitFlip", self.probability)

    def __call__(self, X: NDArray[Any], variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return the changed candidates.

        Raises
        ------
        ProblemError
            If a variable is not binary.
        """
        check_binary("BitFlip", variables)
        return bit_flip(X, rng, probability=self.probability)


def check_binary(name: str, variables: Variables) -> None:
    """Check that an operator on bits is not let loose on other variables.

    Raises
    ------
    ProblemError
        If a variable is not binary.
    """
    for i, kind in enumerate(variables.kinds):
        if kind != "binary":
            raise ProblemError(
                f"{name} turns bits, but variable {i} is {kind}; give it to MutationByKind for bits"
            )


def _operator(operators: dict[str, Any], kind: str, what: str) -> Any:
    if kind not in operators:
        raise ProblemError(
            f"the problem has {kind} variables, but the {what} by kind is for {', '.join(operators)}; add one"
        )
    return operators[kind]


def _part(variables: Variables, kind: str) -> Variables:
    columns = variables.columns[kind]
    return Variables(variables.lower[columns], variables.upper[columns], (kind,) * len(columns))


@dataclass(frozen=True)
class CrossoverByKind:
    """Recombine the variables of each kind by the operator for that kind.

    Parameters
    ----------
    operators
        Crossover of each kind of variable.
    """

    operators: dict[str, Crossover] = field(
        default_factory=lambda: {"real": SBX(), "integer": SBX(), "binary": UniformCrossover()}
    )

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair.

        Raises
        ------
        ProblemError
            If there is no operator for a kind that occurs.
        """
        if len(variables.columns) == 1:
            children = _operator(self.operators, variables.kinds[0], "crossover")(A, B, variables, rng)
            return children[0], children[1]
        first, second = A.copy(), B.copy()
        for kind, columns in variables.columns.items():
            operator = _operator(self.operators, kind, "crossover")
            first[:, columns], second[:, columns] = operator(
                A[:, columns], B[:, columns], _part(variables, kind), rng
            )
        return first, second


@dataclass(frozen=True)
class MutationByKind:
    """Mutate the variables of each kind by the operator for that kind.

    A rate of None means 1/n with n the number of all variables, of whatever kind.

    Parameters
    ----------
    operators
        Mutation of each kind of variable.
    """

    operators: dict[str, Mutation] = field(
        default_factory=lambda: {
            "real": PolynomialMutation(),
            "integer": PolynomialMutation(),
            "binary": BitFlip(),
        }
    )

    def __call__(self, X: NDArray[Any], variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return the changed candidates.

        Raises
        ------
        ProblemError
            If there is no operator for a kind that occurs.
        """
        if len(variables.columns) == 1:
            return np.asarray(_operator(self.operators, variables.kinds[0], "mutation")(X, variables, rng))
        mutated = X.copy()
        for kind, columns in variables.columns.items():
            operator: Mutation = _operator(self.operators, kind, "mutation")
            if is_dataclass(operator) and getattr(operator, "probability", 0.0) is None:
                operator = replace(operator, probability=1.0 / variables.count)
            mutated[:, columns] = operator(X[:, columns], _part(variables, kind), rng)
        return mutated
