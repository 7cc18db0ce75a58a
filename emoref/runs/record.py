"""What a finished (or unfinished) run holds, as one immutable object: the input of tables and report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress import CRITERIA
from emoref.compress.library import library_notes
from emoref.errors import FileFormatError
from emoref.nn import Network, load, load_extra
from emoref.runs.compressed import CompressedRecord, compressed_names, read_compressed
from emoref.runs.folder import RunFolder
from emoref.runs.store import Generation, SearchStore, front_rows


@dataclass(frozen=True)
class Outcome:
    """Wrong predictions of one network on one set of images, before and after fine-tuning."""

    images: int
    wrong_before: int
    wrong_after: int

    @property
    def error_before(self) -> float:
        """Error in [0, 1] before fine-tuning."""
        return self.wrong_before / self.images

    @property
    def error_after(self) -> float:
        """Error in [0, 1] after fine-tuning."""
        return self.wrong_after / self.images


@dataclass(frozen=True)
class NetworkRecord:
    """One network of a run: the base, a selected and fine-tuned one, or a baseline of a selected one.

    Stored as JSON inside the network's own file. ``size_bytes`` is the length of that file, filled in when
    the record is read. A baseline that was not fine-tuned has equal outcomes before and after and no curves.
    """

    name: str  # of a baseline: "<selected network>/<method>"
    role: str  # "base", "selected" or "baseline"
    choice: str  # why it is here, in words
    kept: dict[str, int]  # prunable layer -> filters kept
    filters: int
    filters_original: int
    macs: int
    params: int
    validation: Outcome
    test: Outcome | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)  # of the training or fine-tuning, per epoch
    genome: list[int] = field(default_factory=list)  # indices of the filters kept; empty: from scratch
    size_bytes: int = 0

    @property
    def remaining_ratio(self) -> float:
        """Filters kept / filters of the base."""
        return self.filters / self.filters_original

    @property
    def pruned_ratio(self) -> float:
        """Filters removed / filters of the base."""
        return 1 - self.remaining_ratio

    @property
    def method(self) -> str:
        """How a baseline was made: an importance criterion, or ``scratch...``; empty for other networks."""
        return self.name.partition("/")[2]

    @property
    def from_scratch(self) -> bool:
        """Whether it is a baseline with new weights; its error before training says nothing."""
        return self.role == "baseline" and not self.genome

    @property
    def tuned(self) -> bool:
        """Whether it was trained after its filters were removed; a baseline need not be."""
        return self.role != "baseline" or bool(self.curves)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "NetworkRecord":
        """Return the record that :meth:`to_dict` described."""
        table = dict(table)
        table["validation"] = Outcome(**table["validation"])
        table["test"] = Outcome(**table["test"]) if table.get("test") else None
        return cls(**table)


@dataclass(frozen=True)
class RunRecord:
    """Everything that a report shows.

    Attributes
    ----------
    folder : RunFolder
        Where the run lives.
    config : dict
        The complete configuration.
    network : Network or None
        The base architecture; None before it is trained.
    base : NetworkRecord or None
        The base network's figures.
    layout : dict
        Of the search: ``layers`` (list of [name, filters]), ``objectives`` (names).
    generations : list of Generation
        Row 0 is the initial population.
    selected : list of NetworkRecord
        The fine-tuned networks, most filters first.
    events : list of dict
        The log.
    baselines : mapping of str to list of NetworkRecord
        Name of a selected network -> the networks that it is compared with, in the order of
        :func:`method_order`; empty for a run without baselines.
    library : tuple of dict
        For each pruned model of the run's library its ``remaining_ratio`` and what was noted of it; empty
        for a system without a library.
    searches : mapping of str to SearchStore
        Where a system has several searches: each by its name.
    compressed : tuple of CompressedRecord
        The networks that are stored as ``.emz``, by name.
    """

    folder: RunFolder
    config: dict[str, Any]
    network: Network | None
    base: NetworkRecord | None
    layout: dict[str, Any]
    generations: list[Generation]
    selected: list[NetworkRecord]
    events: list[dict[str, Any]]
    baselines: Mapping[str, list[NetworkRecord]] = field(default_factory=dict)
    library: tuple[dict[str, Any], ...] = ()
    searches: Mapping[str, SearchStore] = field(default_factory=dict)
    compressed: tuple[CompressedRecord, ...] = ()

    @property
    def layers(self) -> list[tuple[str, int]]:
        """Prunable layers and their numbers of filters, in genome order."""
        return [(name, int(filters)) for name, filters in self.layout.get("layers", [])]

    def front(self, generation: int = -1) -> NDArray[np.int64]:
        """Return the row numbers of the feasible non-dominated individuals, fewest filters first.

        Individuals with equal objectives are listed once.
        """
        return front_rows(self.generations[generation])


def read_network_record(folder: RunFolder, name: str) -> NetworkRecord:
    """Read the figures stored inside a network's file.

    Parameters
    ----------
    folder : RunFolder
        The run.
    name : str
        ``"base"``, a selected network's name, or a baseline's ``"<selected network>/<method>"``.

    Raises
    ------
    FileFormatError
        If the file is damaged or holds no such figures.
    """
    path = folder.network_file(name)
    extra = load_extra(path)
    if "record" not in extra:
        raise FileFormatError(f"{path}: a network, but not one that a run stored (it has no record)")
    try:
        record = NetworkRecord.from_dict(extra["record"])
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: damaged record ({error})") from None
    return NetworkRecord.from_dict({**record.to_dict(), "size_bytes": path.stat().st_size})


def selected_names(folder: RunFolder) -> list[str]:
    """Return the names of the stored selected networks, sorted."""
    return sorted(p.stem for p in folder.models.glob("*.h5")) if folder.models.is_dir() else []


def baseline_names(folder: RunFolder, selected: str) -> list[str]:
    """Return the names of a selected network's stored baselines, in the order of :func:`method_order`."""
    place = folder.baselines / selected
    methods = [p.stem for p in place.glob("*.h5")] if place.is_dir() else []
    return [f"{selected}/{method}" for method in sorted(methods, key=method_order)]


def method_order(method: str) -> tuple[int, str]:
    """Return the sorting key of a baseline's method: the criteria as listed, then what is no criterion."""
    return (CRITERIA.index(method) if method in CRITERIA else len(CRITERIA)), method


def read_run(folder: RunFolder, config: dict[str, Any]) -> RunRecord:
    """Read a run folder, as far as the run has come."""
    network, base = None, None
    if folder.base.exists():
        network, _ = load(folder.base)
        base = read_network_record(folder, "base")
    store = SearchStore.open(folder.search) if folder.search.exists() else None
    selected = [read_network_record(folder, name) for name in selected_names(folder)]
    selected.sort(key=lambda r: (-r.filters, r.name))
    baselines = {network.name: baseline_names(folder, network.name) for network in selected}
    return RunRecord(
        folder=folder,
        config=config,
        network=network,
        base=base,
        layout=store.layout if store else {},
        generations=store.generations if store else [],
        selected=selected,
        events=folder.events(),
        baselines={
            selected: [read_network_record(folder, name) for name in names]
            for selected, names in baselines.items()
            if names
        },
        library=library_notes(folder.library) if folder.library.exists() else (),
        searches=_searches(folder),
        compressed=tuple(read_compressed(folder, name) for name in compressed_names(folder)),
    )


def _searches(folder: RunFolder) -> dict[str, SearchStore]:
    files = sorted(folder.searches.glob("*.h5")) if folder.searches.is_dir() else []
    return {path.stem: SearchStore.open(path) for path in files}
