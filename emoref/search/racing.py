"""Racing: a candidate stops as soon as it is certain that it cannot survive; who survives stays the same.

A candidate is run on one part of the images after another. What it got wrong so far is a lower bound of what
it will have got wrong in the end; all its other objectives are known exactly. Selection by non-dominated
sorting (NSGA-II) looks at whole fronts F0, F1, ... of parents and offspring until it has found as many as it
keeps; nothing behind the last of these fronts matters to it. So:

    sort parents and offspring, each unfinished candidate at its bound; run the next part for those
    unfinished ones that lie in fronts which selection looks at; repeat until there are none.

Why the survivors are exactly those of full evaluation. Let C be the fronts that selection looks at in the
last of these sorts, F_k the last of them. By the rule, all of C is finished. Let "a beats b" be (constrained)
domination, a strict partial order in which rank = length of the longest chain of candidates that beat one
another. Replace every bound by the true, equal or larger, error:

1. Nobody in C gets another rank. If an unfinished q beats c in C with its true value, it does so with its
   bound as well, for which it is no worse in anything. Then q had a lower rank than c, so it was in C and
   finished. So c is beaten by the same members of C as before, and by nobody else.
2. Nobody outside of C comes into F_0 .. F_k. An outsider x had a rank above k, so a chain led to it from
   someone in F_k, who beats x by transitivity: a member of C with its true value. If x is finished, it still
   is beaten; if not, its true value is no better than its bound. So its rank is still above k.

The fronts that are looked at, the crowding distances in them and the rule for ties are therefore the same:
parents, ranks and distances of the next generation are equal to the last bit. Nothing is said about the
fronts behind, which are dropped. This holds for feasibility as well, where a constraint grows with the error;
for any number of objectives; and for plus-selection of parents and offspring together, as of
:class:`emoref.emo.NSGA2`. It is no statement about algorithms that look at more than these fronts.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.emo import constrained_ranks
from emoref.errors import ConfigError, ShapeError
from emoref.search.cache import FAILED, CountCache

__all__ = ["Raced", "Racing", "hardest_first", "looked_at"]

_PARTS = 5
"""More parts stop candidates a little earlier, and run what candidates share more often."""

_BOUND = FAILED - 1
"""A bound b travels as _BOUND - b, so that nobody takes it for a count."""

Wrong = NDArray[np.int64]


def looked_at(F: ArrayLike, size: int, G: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Return which candidates lie in the fronts that selection by non-dominated sorting looks at.

    Parameters
    ----------
    F : float array, shape (N, M)
        Objectives of parents and offspring together.
    size : int
        How many survive.
    G : float array, shape (N, K), optional
        Constraints; at most 0 is feasible.

    Returns
    -------
    bool array, shape (N,)
        True in the first fronts up to the one with which there are `size` candidates.

    Examples
    --------
    >>> looked_at([[1, 4], [2, 2], [3, 3], [5, 5]], size=2).tolist()
    [True, True, False, False]
    >>> looked_at([[1, 4], [2, 2], [3, 3], [5, 5]], size=3).tolist()
    [True, True, True, False]
    """
    ranks = constrained_ranks(F, G)
    sizes = np.bincount(ranks)
    before = np.cumsum(sizes) - sizes
    return np.asarray((before < size)[ranks])


def hardest_first(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return images in the order in which a network's certainty about them rises.

    What the unpruned network is least sure of, pruned ones get wrong most often.

    Parameters
    ----------
    logits : float array, shape (N, classes)
        Of the unpruned network, two classes at least.
    labels : int array, shape (N,)
        The right classes.

    Returns
    -------
    int64 array, shape (N,)
        Numbers of the images by logit of the right class - largest other one, the smallest first.

    Examples
    --------
    >>> hardest_first(np.array([[5.0, 1.0], [2.0, 3.0], [0.5, 0.0]]), np.array([0, 0, 0])).tolist()
    [1, 2, 0]
    """
    right = np.arange(logits.shape[1]) == np.asarray(labels)[:, None]
    with np.errstate(invalid="ignore"):  # an infinite logit is a result like any other here
        margin = logits[right] - np.where(right, -np.inf, logits).max(axis=1)
    return np.argsort(np.where(np.isnan(margin), -np.inf, margin), kind="stable")


class CountsParts(Protocol):
    """An evaluator that can run candidates on a part of its images."""

    total: int
    cache: CountCache

    def partial_counts(self, genomes: ArrayLike, part: Wrong) -> Wrong:
        """Return the wrong predictions of `genomes` on the images numbered in `part`, or `FAILED`."""
        ...


class Raced(NamedTuple):
    """What racing found out about candidates.

    Attributes
    ----------
    wrong : int64 array, shape (P,)
        Wrong predictions; `FAILED`; or, of those that were stopped, the lower bound.
    stopped : bool array, shape (P,)
        Which were stopped.
    """

    wrong: Wrong
    stopped: NDArray[np.bool_]


class Racing:
    """Counts wrong predictions, only as far as selection needs to know them.

    Parameters
    ----------
    evaluator : CountsParts
        Runs the candidates. Its cache is asked first and gets full counts; bounds are forgotten.
    order : int array, shape (images,), optional
        The images' numbers in the order in which candidates are run on them: the earlier those come that
        many get wrong, the sooner bounds rise; see :func:`hardest_first`. Left out, as they are.
    parts : int
        Into how many parts they are cut.

    Attributes
    ----------
    stopped : int
        Candidates that were stopped so far.
    images_saved : int
        Images that they were not run on.

    Raises
    ------
    ConfigError
        If the number of parts is below 1.
    ShapeError
        If the order does not name every image once.
    """

    def __init__(
        self, evaluator: CountsParts, order: NDArray[np.int64] | None = None, parts: int = _PARTS
    ) -> None:
        if parts < 1:
            raise ConfigError(f"parts must be at least 1, got {parts}")
        self._evaluator = evaluator
        every = np.arange(evaluator.total)
        order = every if order is None else order
        if not np.array_equal(np.sort(order), every):
            raise ShapeError(f"the order must name each of {evaluator.total} images once")
        self._parts = [part for part in np.array_split(order, parts) if len(part)]
        self._images = np.array([len(part) for part in self._parts])
        self.stopped = self.images_saved = 0

    def race(self, genomes: NDArray[Any], needed: Callable[[Wrong], NDArray[np.bool_]]) -> Raced:
        """Count the wrong predictions of every candidate that survival depends on.

        Parameters
        ----------
        genomes : array, shape (P, genes)
            Candidates, as the evaluator takes them.
        needed : callable
            From the counts so far (P,), bounds for the unfinished, to which candidates selection would look
            at with these; see :func:`looked_at`. May be given `FAILED`.

        Returns
        -------
        Raced
            Counts and bounds. No candidate whose bound it is is needed.
        """
        rows = np.ascontiguousarray(genomes)
        known = self._evaluator.cache.known(rows)
        found = self._evaluator.cache.complete(rows, lambda places: self._run(rows, known, places, needed))
        stopped = found < FAILED
        return Raced(np.where(stopped, _BOUND - found, found), stopped)

    def _run(
        self,
        rows: NDArray[Any],
        known: Wrong,
        places: list[int],
        needed: Callable[[Wrong], NDArray[np.bool_]],
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield the counts of distinct unknown rows as they are finished, and at the end the bounds."""
        first = _first_equal(rows)
        wrong, done = known.copy(), np.zeros(len(rows), dtype=np.int64)
        wrong[places] = 0
        unfinished = np.zeros(len(rows), dtype=bool)
        unfinished[places] = True
        going_on = unfinished  # the first part is for all: before it, nothing tells them apart
        while going_on.any():
            part = int(done[going_on].min())
            runners = np.flatnonzero(going_on & (done == part))
            counts = self._evaluator.partial_counts(rows[runners], self._parts[part])
            wrong[runners] = np.where(counts == FAILED, FAILED, wrong[runners] + counts)
            done[runners] += 1
            over = runners[(counts == FAILED) | (done[runners] == len(self._parts))]
            unfinished[over] = False
            yield [(int(place), int(wrong[place])) for place in over]
            going_on = unfinished & needed(wrong[first])
        stopped = np.flatnonzero(unfinished)
        self.stopped += len(stopped)
        self.images_saved += sum(int(self._images[done[place] :].sum()) for place in stopped)
        yield [(int(place), int(_BOUND - wrong[place])) for place in stopped]


def _first_equal(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each row the number of the first one that equals it."""
    first: dict[bytes, int] = {}
    return np.array(
        [first.setdefault(row.tobytes(), place) for place, row in enumerate(rows)], dtype=np.int64
    )
