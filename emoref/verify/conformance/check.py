"""Trying properties on a library, and making counter-examples small."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from emoref.verify.conformance.cases import Case, shrink
from emoref.verify.conformance.protocol import STEPS, Library
from emoref.verify.records import Finding

__all__ = ["Property", "Violation", "check_library", "properties"]

Function = Callable[..., Any]


class Violation(Exception):
    """A property does not hold; the text says what happened instead."""


@dataclass(frozen=True)
class Failure:
    """Why a case fails.

    Attributes
    ----------
    kind : type
        `Violation`, or the class of the error that was raised.
    text : str
        What happened.
    """

    kind: type[Exception]
    text: str


@dataclass(frozen=True)
class Property:
    """Something that a function of a library should do on every case.

    Attributes
    ----------
    step : str
        Field of `Library` whose functions have it.
    name : str
        The property in words.
    cases : callable
        ``cases(seed)`` yields the cases that it is tried on, simple ones first.
    check : callable
        ``check(function, case)`` raises `Violation` if the property does not hold; any other error that
        the function raises counts as a failure too.
    of : str
        Only for the function of this name, e.g. ``"NSGA-II"``; empty for all of the step.
    unless : tuple of str
        Not for the functions of these names, whose algorithm means to do otherwise.
    """

    step: str
    name: str
    cases: Callable[[int], Iterator[Any]]
    check: Callable[[Function, Any], None]
    of: str = ""
    unless: tuple[str, ...] = ()

    def applies_to(self, title: str) -> bool:
        """Return whether a function should have the property.

        Parameters
        ----------
        title : str
            The function's title, see `Library.functions`.

        Returns
        -------
        bool
            False if it is for other functions of the step.
        """
        name = title.removesuffix(STEPS[self.step]).strip()
        return name not in self.unless and self.of in ("", name)

    def failure(self, function: Function, case: Any) -> Failure | None:
        """Try one case.

        Parameters
        ----------
        function : callable
            A function of the step.
        case
            One of `cases`.

        Returns
        -------
        Failure or None
            What is wrong; None if nothing is.
        """
        # Libraries warn, and some change the filters: neither shall reach the caller.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.check(function, case)
            except (Violation, NotImplementedError) as error:
                return Failure(type(error), str(error))
            except Exception as error:
                return Failure(type(error), f"raises {type(error).__name__}: {_last_line(error)}")
        return None


def _last_line(error: Exception) -> str:
    """Return the last line of an error's text; libraries in C++ put file and function into those before."""
    return (str(error).strip().splitlines() or [""])[-1].strip()


def properties() -> tuple[Property, ...]:
    """Return every property, by step in the order of `STEPS`."""
    from emoref.verify.conformance import measures, runs, selections, steps

    found = (*steps.PROPERTIES, *selections.PROPERTIES, *measures.PROPERTIES, *runs.PROPERTIES)
    order = list(STEPS)
    return tuple(sorted(found, key=lambda item: order.index(item.step)))


def check_library(library: Library, seed: int = 0) -> Iterator[Finding]:
    """Try every property on every function that a library offers.

    A counter-example is made smaller as long as the library fails in the same way and emoref, where it has
    the same function, does not: what is left is a matter of the library and not of a tie or of rounding.
    Properties for which a function raises NotImplementedError are left out.

    Parameters
    ----------
    library : Library
        What to check.
    seed : int
        Seed of the random cases.

    Yields
    ------
    Finding
        One for each property and function.
    """
    from emoref.verify.conformance.adapters import load_library

    reference = load_library("emoref")
    for item in properties():
        ours = reference.functions(item.step)
        for title, function in library.functions(item.step).items():
            if not item.applies_to(title):
                continue
            tried, case, failure = _search(item, function, None if library.ours else ours.get(title), seed)
            if failure is None or failure.kind is not NotImplementedError:
                example = "" if failure is None else f"{case}: {failure.text}"
                yield Finding(library.title, f"{title}: {item.name}", tried, example, library.ours)


def _search(
    item: Property, function: Function, baseline: Function | None, seed: int
) -> tuple[int, Any, Failure | None]:
    """Return how many cases were tried, and the smallest counter-example with its failure, if any."""
    tried = 0
    for case in item.cases(seed):
        tried += 1
        failure = item.failure(function, case)
        if failure is not None and isinstance(case, Case):
            case, failure = _shrink(item, function, baseline, case, failure)
        if failure is not None:
            return tried, case, failure
    return tried, None, None


def _shrink(
    item: Property, function: Function, baseline: Function | None, case: Case, failure: Failure
) -> tuple[Case, Failure]:
    """Return a smaller case that fails alike, with its failure."""
    # Not asked for again at the end: a function that draws without a seed need not fail twice.
    last = failure

    def fails_alike(smaller: Case) -> bool:
        nonlocal last
        found = item.failure(function, smaller)
        if found is None or found.kind is not failure.kind:
            return False
        if baseline is not None and item.failure(baseline, smaller) is not None:
            return False
        last = found
        return True

    return shrink(case, fails_alike), last
