"""From parents to offspring: recombine, mutate, and drop what is already there."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.operators import Crossover, Mutation
from emoref.emo.problem import Variables
from emoref_kernels.cpu.rows import new_rows

__all__ = ["eliminate_duplicates", "fill_with_new_rows", "mating"]


def mating(
    X: NDArray[Any],
    parents: NDArray[np.int64],
    variables: Variables,
    crossover: Crossover,
    mutation: Mutation,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Make one child for each chosen parent: recombine neighbours in the list, then mutate.

    Parameters
    ----------
    X
        Population (N, n_var).
    parents
        Rows of the parents, an even number; the first and second mate, the third and fourth, and so on.
    variables
        The search space.
    crossover, mutation
        Operators; see `emoref.emo.operators`.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Children (len(parents), n_var); those of one pair are neighbours.
    """
    first, second = crossover(X[parents[0::2]], X[parents[1::2]], variables, rng)
    children = np.empty((len(parents), X.shape[1]), dtype=X.dtype)
    children[0::2], children[1::2] = first, second
    return mutation(children, variables, rng)


def eliminate_duplicates(X: NDArray[Any], existing: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """Find the rows that are new.

    Rows are equal if all their bytes are; minus zero counts as zero. The time grows linearly with the
    number of rows.

    Parameters
    ----------
    X
        Candidates (N, n).
    existing
        Rows of the same type that are already there, or None.

    Returns
    -------
    numpy.ndarray
        True for each row of `X` that is neither in `existing` nor equal to an earlier row of `X`, bool (N,).

    Examples
    --------
    >>> eliminate_duplicates(np.array([[1, 2], [3, 4], [1, 2]]), np.array([[3, 4]]))
    array([ True, False, False])
    """
    return new_rows(_words(X), _words(X[:0] if existing is None else existing))


def _words(X: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the bytes of each row as whole 64-bit words, the last one filled up with zeros."""
    if X.dtype == np.bool_:
        X = np.packbits(X, axis=1)
    elif X.dtype.kind == "f":
        X = X + 0.0  # minus zero becomes zero
    if X.itemsize == 8:
        return np.ascontiguousarray(X).view(np.uint64)
    octets = np.ascontiguousarray(X).view(np.uint8).reshape(len(X), X.shape[1] * X.itemsize)
    missing = -octets.shape[1] % 8
    if missing:
        octets = np.pad(octets, ((0, 0), (0, missing)))
    return octets.view(np.uint64)


def fill_with_new_rows(
    make: Callable[[int], NDArray[Any]],
    count: int,
    existing: NDArray[Any] | None,
    attempts: int,
) -> NDArray[Any]:
    """Ask for rows until enough of them are new.

    Parameters
    ----------
    make
        Called with the number of rows that are missing; returns as many.
    count
        Number of rows wanted.
    existing
        Rows that must not come again, or None.
    attempts
        How often `make` is called at most.

    Returns
    -------
    numpy.ndarray
        At most `count` rows, all different and none in `existing`. There are fewer if the attempts did
        not suffice, for instance because the search space has no more.
    """
    rows = make(count)
    rows = rows[eliminate_duplicates(rows, existing)]
    for _ in range(attempts - 1):
        if len(rows) == count:
            break
        more = make(count - len(rows))
        taken = rows if existing is None else np.concatenate([existing, rows])
        rows = np.concatenate([rows, more[eliminate_duplicates(more, taken)]])
    return rows
