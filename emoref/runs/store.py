"""``search.h5``: every generation of a search, replaced atomically after each.

The file opens with h5py alone::

    /generations/genomes      (generations, population, genes)
                              uint8, 1 = filter kept; int64 or float64 where /layout says so under "genes"
    /generations/objectives   (generations, population, objectives) float64
    /generations/constraints  (generations, population, constraints) float64   at most 0 is feasible
    /generations/ranks        (generations, population) int64   0 = non-dominated
    /generations/individuals  (generations,) int64   how many rows of each generation are in use
    /generations/evaluations  (generations,) int64   candidates scored since the start
    /layout                   JSON text: layers and their numbers of filters, names and units
    /state                    what the algorithm needs to go on; see emoref.emo.algorithm

Row ``g`` is the population after generation ``g``; row 0 is the initial one. A generation with fewer
individuals than the largest is padded with rank -1 and NaN. Random numbers are derived from (seed, purpose,
generation), so ``/state`` holds a seed and a generation and no generator's inner state. Nothing in the file
depends on clock, path or machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from emoref.errors import FileFormatError, RunFolderError
from emoref.hdf5 import (
    open_checked,
    read_array,
    read_json,
    write_array,
    write_atomic,
    write_attributes,
    write_json,
)

FORMAT_VERSION = 1
_ARRAYS = {  # and the kinds of number that each may hold
    "genomes": "ubif",
    "objectives": "f",
    "constraints": "f",
    "ranks": "i",
    "individuals": "i",
    "evaluations": "i",
}
_DIMENSIONS = {"ranks": 2, "individuals": 1, "evaluations": 1}  # the others have 3
_KINDS = "fiub"
_GENES: dict[str, tuple[type, str]] = {  # how genomes are held in memory, and the kinds that a file may have
    "bits": (np.bool_, "ub"),
    "integers": (np.int64, "i"),
    "reals": (np.float64, "f"),
}


@dataclass(frozen=True)
class Generation:
    """A population after one generation; arrays of ``population`` rows."""

    genomes: NDArray[Any]  # bool, one bit a gene; or int64 or float64
    objectives: NDArray[np.float64]
    constraints: NDArray[np.float64]
    ranks: NDArray[np.int64]
    evaluations: int


def front_rows(generation: Generation) -> NDArray[np.int64]:
    """Return the row numbers of the feasible non-dominated individuals, smallest first objective first.

    Individuals with equal objectives are listed once, by the first of them.
    """
    feasible = (generation.constraints <= 0).all(axis=1)
    rows = np.flatnonzero((generation.ranks == 0) & feasible)
    _, first = np.unique(generation.objectives[rows], axis=0, return_index=True)
    return rows[first]


class SearchStore:
    """The generations of one search, in memory and in ``search.h5``.

    Parameters
    ----------
    path : Path
        The file.
    layout : dict
        JSON-able description of genome and objectives; a stored file with another one is refused. Its
        ``genes`` says what genomes are made of: "bits" (if left out), "integers" or "reals".
    """

    def __init__(self, path: Path, layout: dict[str, Any]) -> None:
        self.path = path
        self.layout = layout
        self.generations: list[Generation] = []
        self.state: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Path) -> "SearchStore":
        """Read a stored search.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, of a newer format or inconsistent.
        """
        with open_checked(path, "search", FORMAT_VERSION) as file:
            store = cls(path, read_json(file, "layout"))
            arrays = {
                name: read_array(file, f"generations/{name}", kinds=kinds) for name, kinds in _ARRAYS.items()
            }
            if not isinstance(file.get("state"), h5py.Group):
                raise FileFormatError(f"{path}: damaged: group /state is missing")
            store.state = {name: read_array(file, f"state/{name}", kinds=_KINDS) for name in file["state"]}
        problem = _contradiction(store.layout, arrays) or _wrong_genes(store.layout, arrays["genomes"])
        if problem:
            raise FileFormatError(f"{path}: damaged: {problem}")
        dtype, _ = _GENES[_genes(store.layout)]
        for g, rows in enumerate(arrays["individuals"]):
            store.generations.append(
                Generation(
                    arrays["genomes"][g, :rows].astype(dtype),
                    arrays["objectives"][g, :rows],
                    arrays["constraints"][g, :rows],
                    arrays["ranks"][g, :rows],
                    int(arrays["evaluations"][g]),
                )
            )
        return store

    @classmethod
    def open_or_new(cls, path: Path, layout: dict[str, Any]) -> "SearchStore":
        """Continue the stored search, or begin one where there is none.

        Raises
        ------
        RunFolderError
            If the stored search belongs to another network or problem.
        """
        if not path.exists():
            return cls(path, layout)
        store = cls.open(path)
        if store.layout != json.loads(json.dumps(layout)):
            raise RunFolderError(f"{path}: holds the search of another network or problem; use a new folder")
        return store

    def append(self, generation: Generation, state: Mapping[str, Any]) -> None:
        """Add a generation and the algorithm's state after it, and replace the file atomically."""
        self.generations.append(generation)
        self.state = dict(state)
        write_atomic(self.path, self._fill)

    def _fill(self, file: h5py.File) -> None:
        write_attributes(file, emoref_class="search", format_version=FORMAT_VERSION)
        write_json(file, "layout", self.layout)
        group = file.create_group("generations")
        rows = [len(g.genomes) for g in self.generations]
        bits = _genes(self.layout) == "bits"
        genomes = _padded([g.genomes.astype(np.uint8) if bits else g.genomes for g in self.generations], 0)
        packed = {"compression": "gzip", "compression_opts": 1, "chunks": (1, *genomes.shape[1:])}
        group.create_dataset("genomes", data=genomes, track_times=False, **packed)
        group["genomes"].attrs["dimensions"] = f"generation, individual, {'bit' if bits else 'gene'}"
        for name, filler in (("objectives", np.nan), ("constraints", np.nan), ("ranks", -1)):
            values = _padded([getattr(g, name) for g in self.generations], filler)
            axes = "generation, individual" if values.ndim == 2 else f"generation, individual, {name[:-1]}"
            write_array(group, name, values, dimensions=axes)
        group["objectives"].attrs["names"] = ", ".join(self.layout["objectives"])
        evaluations = [g.evaluations for g in self.generations]
        write_array(group, "individuals", np.array(rows, dtype=np.int64), dimensions="generation")
        write_array(group, "evaluations", np.array(evaluations, dtype=np.int64), dimensions="generation")
        state = file.create_group("state")
        for name, value in sorted(self.state.items()):
            write_array(state, name, value)


def _genes(layout: Any) -> str:
    """Return what genomes are made of: a name of `_GENES`."""
    return str(layout.get("genes", "bits"))


def _wrong_genes(layout: Any, genomes: NDArray[Any]) -> str:
    """Say that genomes are not of the kind that the layout names, or return an empty text."""
    genes = _genes(layout)
    if genes not in _GENES:
        return f"/layout: genes is {genes!r}; known: {', '.join(_GENES)}"
    if genomes.dtype.kind not in _GENES[genes][1]:
        return f"/generations/genomes holds {genomes.dtype}, but /layout says {genes}"
    return ""


def _contradiction(layout: Any, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Say what does not hold together in a stored search, or return an empty text."""
    for name, array in arrays.items():
        wanted = _DIMENSIONS.get(name, 3)
        if array.ndim != wanted:
            return f"/generations/{name} has {array.ndim} dimensions, wanted {wanted}"
    if len({len(array) for array in arrays.values()}) != 1:
        return "its arrays disagree on the number of generations"
    if len(arrays["ranks"]) == 0:
        return "it holds no generation"
    populations = {array.shape[1] for array in arrays.values() if array.ndim > 1}
    if len(populations) != 1:
        return "its arrays disagree on the population"
    rows = arrays["individuals"]
    if rows.min() < 1 or rows.max() > min(populations):
        return f"/generations/individuals must be 1 to {min(populations)}"
    if not isinstance(layout, dict):
        return "/layout is not a table"
    objectives, layers = layout.get("objectives"), layout.get("layers", [])
    if not isinstance(objectives, list) or len(objectives) != arrays["objectives"].shape[2]:
        return "/layout and /generations/objectives disagree on the objectives"
    pairs = [layer for layer in layers if isinstance(layer, list)] if isinstance(layers, list) else []
    if not isinstance(layers, list) or len(pairs) != len(layers):
        return "/layout: layers is not a list of [name, filters]"
    if any(len(p) != 2 or not isinstance(p[0], str) or not isinstance(p[1], int) for p in pairs):
        return "/layout: layers is not a list of [name, filters]"
    return ""


def _padded(arrays: list[NDArray], filler: float) -> NDArray:
    rows = max(len(array) for array in arrays)
    result = np.full((len(arrays), rows, *arrays[0].shape[1:]), filler, dtype=arrays[0].dtype)
    for g, array in enumerate(arrays):
        result[g, : len(array)] = array
    return result
