"""Step trace: what each generation's survival was decided from, and why every candidate lived or not."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.normalisation import PATHS
from emoref.emo.population import Population
from emoref.emo.problem import check_values, evaluate
from emoref.emo.ranking import constraint_violation
from emoref.errors import FileFormatError, ProblemError
from emoref.hdf5 import open_checked, read_array, read_json, write_array, write_atomic, write_json

__all__ = ["REASONS", "Trace", "TraceRecord", "load_trace", "survival_reasons"]

REASONS = (
    "front",
    "least_crowded",
    "nearest",
    "drawn",
    "violation",
    "dominated",
    "crowded",
    "niche_full",
    "infeasible",
    "failed",
)
"""Why a candidate survived (the first five) or did not.

``"front"``
    Its whole front survives.
``"least_crowded"``, ``"crowded"``
    Its front is cut, and its crowding distance is large enough, or too small. For SMS-EMOA, its contribution
    to the hypervolume.
``"nearest"``
    Its front is cut, and it is the nearest member of a niche that nobody belonged to.
``"drawn"``
    Its front is cut, and it was drawn in a niche that held no more than any other.
``"niche_full"``
    Its front is cut, and its niche got somebody else, or nobody because others held fewer. For theta-DEA,
    whose fronts are made of the first, second, ... of every niche: others are before it there.
``"violation"``, ``"infeasible"``
    It is infeasible, and its violation is among the smallest, or not. Also a failed candidate that survives
    because nothing else is left counts as ``"violation"``.
``"dominated"``
    Its front comes after those that survive.
``"failed"``
    Its evaluation failed, and it does not survive.
"""

FORMAT_CLASS = "trace"
FORMAT_VERSION = 1
_SURVIVAL = (
    "the algorithm keeps no record of its survival (no attribute 'survival'), so there is nothing to trace"
)


@dataclass(frozen=True, eq=False)
class TraceRecord:
    """One environmental selection among N candidates with M objectives.

    Parameters
    ----------
    generation
        Number of the generation; the first population is 1.
    parents
        How many candidates, the first rows, were the population of before.
    F
        Objective values (N, M).
    ranks
        Ranks (N,).
    survivors
        Rows of the survivors, in the order in which they were chosen (n,).
    reasons
        Index in `REASONS` for each candidate, uint8 (N,).
    distances
        Crowding distances, or distances to the reference lines; NaN where they were not looked at (N,).
    niches
        Reference point of each candidate, -1 where it was not looked at (N,); empty for algorithms without.
    niche_counts
        How many survivors belong to each reference point (H,); empty for algorithms without.
    ideal, nadir
        What the objectives were normalised by (M,); NaN if they were not.
    extremes
        Extreme points (M, M), one row an axis; NaN if there are none.
    path
        How the nadir came about, see `emoref.emo.normalisation.Normalisation`; empty without.
    """

    generation: int
    parents: int
    F: NDArray[np.float64]
    ranks: NDArray[np.int64]
    survivors: NDArray[np.int64]
    reasons: NDArray[np.uint8]
    distances: NDArray[np.float64]
    niches: NDArray[np.int64]
    niche_counts: NDArray[np.int64]
    ideal: NDArray[np.float64]
    nadir: NDArray[np.float64]
    extremes: NDArray[np.float64]
    path: tuple[str, ...]

    @property
    def intercepts(self) -> NDArray[np.float64]:
        """Distance from the ideal point to the nadir (M,), the paper's a_i."""
        return self.nadir - self.ideal

    def rows(self, reason: str) -> NDArray[np.int64]:
        """Return the rows of the candidates that met with a reason.

        Parameters
        ----------
        reason : str
            One of `REASONS`.

        Returns
        -------
        numpy.ndarray
            Rows, ascending.
        """
        return np.flatnonzero(self.reasons == REASONS.index(reason))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain lists, numbers and texts; values that are not finite become None."""
        plain: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            plain[field.name] = _plain(value.tolist()) if isinstance(value, np.ndarray) else value
        plain["path"] = list(self.path)
        plain["reasons"] = [REASONS[code] for code in self.reasons]
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def survival_reasons(survival: Any, candidates: Population) -> NDArray[np.uint8]:
    """Say for each candidate why it survived or not.

    Parameters
    ----------
    survival
        What an environmental selection returned: an object with ``survivors`` and ``ranks``, and for
        selections by reference points ``niches``; see `emoref.emo.Survival`.
    candidates
        Parents and offspring together, N rows.

    Returns
    -------
    numpy.ndarray
        Index in `REASONS`, uint8 (N,).
    """
    ranks = survival.ranks
    niches = getattr(survival, "niches", None)
    kept = np.zeros(len(candidates), dtype=np.bool_)
    kept[survival.survivors] = True
    violation = constraint_violation(candidates.G)
    failed = ~(np.isfinite(candidates.F).all(axis=1) & np.isfinite(violation))
    infeasible = failed | (violation > 0.0)
    # theta-DEA fills its population by ranks of its own, within the fronts that are needed.
    by_theta = getattr(survival, "theta_ranks", np.full(len(ranks), -1))
    ranked = np.where(by_theta >= 0, by_theta, by_theta.max() + 1 + ranks)
    cut = (ranked == ranked[kept].max()) & ~infeasible
    cut &= not kept[cut].all()

    reasons = np.where(kept, _code("front"), _code("dominated")).astype(np.uint8)
    reasons[(cut | (by_theta >= 0)) & ~kept] = _code("crowded" if niches is None else "niche_full")
    reasons[cut & kept] = _code("least_crowded")
    if niches is not None:
        seen = niches[kept & ~cut]
        counts: dict[int, int] = dict(zip(*np.unique(seen[seen >= 0], return_counts=True), strict=True))
        for row in survival.survivors[cut[survival.survivors]]:
            held = counts.get(niches[row], 0)
            reasons[row] = _code("drawn" if held else "nearest")
            counts[niches[row]] = held + 1
    reasons[infeasible] = np.where(kept, _code("violation"), _code("infeasible"))[infeasible]
    reasons[failed & ~kept] = _code("failed")
    return reasons


def _code(reason: str) -> int:
    return REASONS.index(reason)


class Trace:
    """Drives an algorithm and records how every generation was chosen.

    It stands between the caller and the algorithm: use its `run`, `step` or `tell` instead of the
    algorithm's. The algorithm computes the same as without it.

    Parameters
    ----------
    algorithm
        An algorithm with an attribute ``survival``, such as `emoref.emo.NSGA2` or `emoref.emo.NSGA3`.
    most_generations
        Records that are kept at most. When there are more, every second one is dropped, and from then on
        only every second generation is kept: the records cover the whole run at a bounded size. The newest
        generation is always among them.

    Attributes
    ----------
    records : list of TraceRecord
        In the order of the generations.

    Raises
    ------
    ProblemError
        If the algorithm keeps no record of its survival, or `most_generations` is below 2. At the first
        record, if its survival is no ranking (MOEA/D).

    Examples
    --------
    >>> from emoref import emo
    >>> trace = Trace(emo.NSGA2(emo.problems.ZDT1(5), population_size=4, seed=1))
    >>> result = trace.run(3)
    >>> last = trace.records[-1]
    >>> last.generation, last.F.shape, sorted(last.survivors.tolist()) == sorted(set(last.survivors.tolist()))
    (3, (8, 2), True)
    """

    def __init__(self, algorithm: Algorithm, most_generations: int = 256) -> None:
        if not hasattr(algorithm, "survival"):
            raise ProblemError(f"{type(algorithm).__name__}: {_SURVIVAL}")
        if most_generations < 2:
            raise ProblemError(f"most_generations is {most_generations}; it must be at least 2")
        self.algorithm: Any = algorithm
        self.most_generations = most_generations
        self.records: list[TraceRecord] = []
        self._stride = 1

    def tell(self, F: Any, G: Any = None) -> None:
        """Tell the algorithm the values of what it asked for, and record what it makes of them.

        Parameters
        ----------
        F, G
            As for `emoref.emo.Algorithm.tell`.

        Raises
        ------
        ProblemError, ShapeError
            As there.
        """
        algorithm = self.algorithm
        X = algorithm.ask()
        values = check_values(F, G, len(X), algorithm.problem.n_obj)
        before: Population | None = algorithm.population
        algorithm.tell(values.F, values.G)
        if len(X) > 0:
            offspring = Population(X, values.F, values.G)
            self._record(offspring if before is None else before.join(offspring), before)

    def step(self) -> None:
        """Run one generation."""
        X = self.algorithm.ask()
        if len(X) == 0:
            self.tell(np.empty((0, self.algorithm.problem.n_obj)))
            return
        values = evaluate(self.algorithm.problem, X)
        self.tell(values.F, values.G)

    def run(self, generations: int, callback: Callable[[Algorithm], None] | None = None) -> Any:
        """Run a number of further generations.

        Parameters
        ----------
        generations
            How many, at least 0.
        callback
            Called with the algorithm after each.

        Returns
        -------
        emoref.emo.Result
            What was found so far.
        """
        for _ in range(generations):
            self.step()
            if callback is not None:
                callback(self.algorithm)
        return self.algorithm.result()

    def _record(self, candidates: Population, before: Population | None) -> None:
        survival, n_obj = self.algorithm.survival, self.algorithm.problem.n_obj
        if not hasattr(survival, "ranks"):
            raise ProblemError(
                f"{type(self.algorithm).__name__} survives by no ranking, which a trace records"
            )
        normalisation = getattr(survival, "normalisation", None)
        state = getattr(normalisation, "normaliser", None)
        niches = np.asarray(getattr(survival, "niches", np.empty(0)), dtype=np.int64)
        survivors = np.asarray(survival.survivors, dtype=np.int64)
        points = getattr(self.algorithm, "reference_points", ())
        unknown = np.full(n_obj, np.nan)
        found = niches[survivors][niches[survivors] >= 0] if len(niches) else niches
        self._keep(
            TraceRecord(
                generation=self.algorithm.generation,
                parents=0 if before is None else len(before),
                F=candidates.F,
                ranks=survival.ranks,
                survivors=survivors,
                reasons=survival_reasons(survival, candidates),
                distances=survival.distances,
                niches=niches,
                niche_counts=np.bincount(found, minlength=len(points)).astype(np.int64),
                ideal=unknown if state is None else state.ideal,
                nadir=unknown if state is None else state.nadir,
                extremes=np.full((n_obj, n_obj), np.nan) if state is None else state.extremes,
                path=() if normalisation is None else tuple(normalisation.path),
            )
        )

    def _keep(self, record: TraceRecord) -> None:
        if self.records and not self._on_grid(self.records[-1]):
            self.records.pop()
        self.records.append(record)
        while len(self.records) > self.most_generations:
            self._stride *= 2
            self.records = [r for r in self.records if r is record or self._on_grid(r)]

    def _on_grid(self, record: TraceRecord) -> bool:
        return (record.generation - self.records[0].generation) % self._stride == 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the records into an HDF5 file, which is there completely or not at all.

        Parameters
        ----------
        path
            The file; replaced if it exists.

        Raises
        ------
        ProblemError
            If nothing is recorded yet.
        FileFormatError
            If the file cannot be written.

        Notes
        -----
        The file opens with h5py alone. ``/setup`` is a JSON text: the algorithm, and the names that
        ``reasons`` and ``path`` count. ``/generations`` has one array for each field of `TraceRecord`, the
        generations along the first axis. Where generations differ in size, rows are filled with -1
        (``reasons``: 255), or NaN; ``candidates`` and ``survivor_count`` say how many are in use.
        """
        if not self.records:
            raise ProblemError("nothing is recorded yet; call run, step or tell first")
        setup = {"algorithm": type(self.algorithm).__name__, "reasons": REASONS, "paths": PATHS}
        arrays = _to_arrays(self.records)

        def fill(file: h5py.File) -> None:
            file.attrs["emoref_class"] = FORMAT_CLASS
            file.attrs["format_version"] = FORMAT_VERSION
            write_json(file, "setup", setup)
            group = file.create_group("generations")
            for name, values in arrays.items():
                write_array(group, name, values, dimensions=_DIMENSIONS[name])

        write_atomic(path, fill)


_DIMENSIONS = {
    "generation": "generation",
    "parents": "generation",
    "candidates": "generation",
    "survivor_count": "generation",
    "F": "generation,candidate,objective",
    "ranks": "generation,candidate",
    "survivors": "generation,survivor",
    "reasons": "generation,candidate",
    "distances": "generation,candidate",
    "niches": "generation,candidate",
    "niche_counts": "generation,reference point",
    "ideal": "generation,objective",
    "nadir": "generation,objective",
    "extremes": "generation,axis,objective",
    "path": "generation,step",
}
_FILLERS = {"F": np.nan, "distances": np.nan, "extremes": np.nan, "reasons": 255}
_KINDS = {"F": "f", "distances": "f", "ideal": "f", "nadir": "f", "extremes": "f", "reasons": "u"}


def _to_arrays(records: Sequence[TraceRecord]) -> dict[str, NDArray[Any]]:
    columns: dict[str, list[NDArray[Any]]] = {
        "candidates": [np.array(len(r.F)) for r in records],
        "survivor_count": [np.array(len(r.survivors)) for r in records],
        "path": [np.array([PATHS.index(step) for step in r.path], dtype=np.int64) for r in records],
    }
    for name in _DIMENSIONS:
        if name not in columns:
            columns[name] = [np.asarray(getattr(r, name)) for r in records]
    return {name: _stack(columns[name], _FILLERS.get(name, -1)) for name in _DIMENSIONS}


def _stack(arrays: Sequence[NDArray[Any]], filler: float) -> NDArray[Any]:
    if arrays[0].ndim == 0:
        return np.array(arrays, dtype=np.int64)
    shape = np.max([array.shape for array in arrays], axis=0)
    stacked = np.full((len(arrays), *shape), filler, dtype=arrays[0].dtype)
    for row, array in enumerate(arrays):
        inside: tuple[Any, ...] = (row, *(slice(extent) for extent in array.shape))
        stacked[inside] = array
    return stacked


def load_trace(path: str | os.PathLike[str]) -> tuple[TraceRecord, ...]:
    """Read what `Trace.save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    tuple of TraceRecord
        In the order of the generations.

    Raises
    ------
    FileFormatError
        If it is missing, damaged, of another class or of a newer format version.
    """
    with open_checked(path, FORMAT_CLASS, FORMAT_VERSION) as file:
        group = file.get("generations")
        if not isinstance(group, h5py.Group):
            raise FileFormatError(f"{path}: /generations is missing")
        arrays = {name: read_array(group, name, kinds=_KINDS.get(name, "i")) for name in _DIMENSIONS}
        setup = read_json(file, "setup")
    wrong = _contradiction(setup, arrays)
    if wrong:
        raise FileFormatError(f"{path}: {wrong}")
    return tuple(_from_arrays(arrays, setup["paths"]))


def _contradiction(setup: Any, arrays: dict[str, NDArray[Any]]) -> str:
    """Say what does not hold together in a stored trace, or return an empty text."""
    for name, dimensions in _DIMENSIONS.items():
        if arrays[name].ndim != len(dimensions.split(",")):
            return f"/generations/{name} has {arrays[name].ndim} dimensions, wanted {dimensions}"
    if len({len(array) for array in arrays.values()}) != 1 or len(arrays["generation"]) == 0:
        return "its arrays disagree on the number of generations, or hold none"
    n_obj = arrays["F"].shape[2]
    if any(arrays[name].shape[1:] != (n_obj,) for name in ("ideal", "nadir")):
        return "its arrays disagree on the number of objectives"
    used, kept = arrays["candidates"], arrays["survivor_count"]
    most = min(arrays[name].shape[1] for name in ("F", "ranks", "reasons", "distances"))
    if not ((used >= 1) & (used <= most) & (kept >= 0) & (kept <= arrays["survivors"].shape[1])).all():
        return "its arrays disagree on the number of candidates"
    if (
        not isinstance(setup, dict)
        or setup.get("reasons") != list(REASONS)
        or setup.get("paths") != list(PATHS)
    ):
        return "/setup does not name the reasons and paths that this emoref knows"
    rows = np.arange(most)[None, :] < used[:, None]
    if (arrays["reasons"][:, :most][rows] >= len(REASONS)).any() or (arrays["path"] >= len(PATHS)).any():
        return "a reason or a step of a path has no name"
    return ""


def _from_arrays(arrays: dict[str, NDArray[Any]], paths: Sequence[str]) -> Iterator[TraceRecord]:
    for row in range(len(arrays["generation"])):
        n, kept = int(arrays["candidates"][row]), int(arrays["survivor_count"][row])
        counts = arrays["niche_counts"][row]
        yield TraceRecord(
            generation=int(arrays["generation"][row]),
            parents=int(arrays["parents"][row]),
            survivors=arrays["survivors"][row, :kept],
            niche_counts=counts[counts >= 0],
            niches=arrays["niches"][row, :n],
            ideal=arrays["ideal"][row],
            nadir=arrays["nadir"][row],
            extremes=arrays["extremes"][row],
            path=tuple(paths[step] for step in arrays["path"][row] if step >= 0),
            **{name: arrays[name][row, :n] for name in ("F", "ranks", "reasons", "distances")},
        )
