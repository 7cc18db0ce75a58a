"""The tables of a run: what the report shows, as rows of numbers and as CSV files for other programs."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoref.emo import hypervolume
from emoref.errors import FileFormatError
from emoref.runs.folder import write_text_atomic
from emoref.runs.record import NetworkRecord, Outcome, RunRecord

Cell = str | int | float | None

#: The hypervolume of a front is measured up to this point: every filter kept, every prediction wrong.
REFERENCE_POINT = (1.0, 1.0)


@dataclass(frozen=True)
class Table:
    """Rows under named columns; ``None`` is an empty cell."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def to_csv(self) -> str:
        """Return the table as CSV text: a header line, then one line a row, floats in full precision."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Individuals:
    """Some individuals of one generation, in the terms of the report.

    Attributes
    ----------
    kept : ndarray, shape (N, layers), int64
        Filters kept in each prunable layer.
    filters : ndarray, shape (N,), int64
        Filters kept in all.
    remaining_ratio : ndarray, shape (N,), float64
        Filters kept / filters of the base.
    error : ndarray, shape (N,), float64
        Validation error in [0, 1] before any fine-tuning.
    wrong : ndarray, shape (N,), int64, or None
        Wrong predictions; None where the number of validation images is not known.
    """

    kept: NDArray[np.int64]
    filters: NDArray[np.int64]
    remaining_ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    wrong: NDArray[np.int64] | None


def individuals(record: RunRecord, generation: int, rows: NDArray[np.int64] | None = None) -> Individuals:
    """Return individuals of a generation.

    Parameters
    ----------
    record : RunRecord
        The run.
    generation : int
        Row of ``record.generations``; 0 is the initial population.
    rows : ndarray of int64, optional
        Which individuals; all by default.

    Raises
    ------
    FileFormatError
        If the genomes do not have one bit for every filter of the layers.
    """
    stored = record.generations[generation]
    genomes = stored.genomes if rows is None else stored.genomes[rows]
    objectives = stored.objectives if rows is None else stored.objectives[rows]
    sizes = [filters for _, filters in record.layers]
    if sum(sizes) != genomes.shape[1] or not sizes:
        raise FileFormatError(
            f"{record.folder.search}: its layers have {sum(sizes)} filters, "
            f"its genomes {genomes.shape[1]} bits"
        )
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    kept = np.add.reduceat(genomes.astype(np.int64), starts, axis=1)
    filters = kept.sum(axis=1)
    error = objectives[:, error_objective(record)]
    images = fitness_images(record)
    wrong = np.rint(error * images).astype(np.int64) if images else None
    return Individuals(kept, filters, filters / sum(sizes), error, wrong)


def error_objective(record: RunRecord) -> int:
    """Return the column of the objectives that is the error: the first so named, else the second."""
    names = [str(name).lower() for name in record.layout.get("objectives", [])]
    return next((i for i, name in enumerate(names) if "error" in name), 1)


def fitness_images(record: RunRecord) -> int:
    """Return the number of validation images that the search measured errors on; 0 if not known."""
    if "images" in record.layout:
        return int(record.layout["images"])
    return record.base.validation.images if record.base is not None else 0


def front_table(record: RunRecord) -> Table:
    """Return the final front, fewest filters first; no rows before the search has begun."""
    columns = (
        "order",
        *(f"filters_kept_{name}" for name, _ in record.layers),
        "filters",
        "remaining_ratio",
        "pruned_ratio",
        "wrong",
        "error",
    )
    if not record.generations:
        return Table("front", columns, ())
    front = individuals(record, -1, record.front())
    total = sum(filters for _, filters in record.layers)
    rows = tuple(
        (
            i + 1,
            *(int(k) for k in front.kept[i]),
            int(front.filters[i]),
            float(front.remaining_ratio[i]),
            float((total - front.filters[i]) / total),
            None if front.wrong is None else int(front.wrong[i]),
            float(front.error[i]),
        )
        for i in range(len(front.filters))
    )
    return Table("front", columns, rows)


def networks_table(record: RunRecord) -> Table:
    """Return the base network and the selected ones, most filters first."""
    layers = layer_names(record)
    columns = (
        "name",
        "role",
        "choice",
        *(f"filters_kept_{name}" for name in layers),
        "filters",
        "filters_original",
        "pruned_ratio",
        "compression_ratio",
        "macs",
        "params",
        "size_bytes",
        "validation_images",
        "validation_error_before",
        "validation_error_after",
        "test_images",
        "test_error_before",
        "test_error_after",
    )
    return Table("networks", columns, tuple(_network_row(n, layers) for n in networks(record)))


def _network_row(network: NetworkRecord, layers: list[str]) -> tuple[Cell, ...]:
    return (
        network.name,
        network.role,
        network.choice,
        *(network.kept.get(name) for name in layers),
        network.filters,
        network.filters_original,
        (network.filters_original - network.filters) / network.filters_original,
        compression_ratio(network),
        network.macs,
        network.params,
        network.size_bytes,
        *_outcome_cells(network.validation),
        *_outcome_cells(network.test),
    )


def _outcome_cells(outcome: Outcome | None) -> tuple[Cell, Cell, Cell]:
    if outcome is None:
        return None, None, None
    return outcome.images, outcome.error_before, outcome.error_after


def generations_table(record: RunRecord) -> Table:
    """Return the progress of the search, one row a generation; row 0 is the initial population.

    The hypervolume is that of the front in the plane of remaining filter ratio and error, measured up to
    :data:`REFERENCE_POINT`. A generation without a feasible individual has hypervolume 0 and empty cells.
    """
    columns = ("generation", "evaluations", "front_size", "fewest_filters", "lowest_error", "hypervolume")
    rows = []
    for g, stored in enumerate(record.generations):
        front = individuals(record, g, record.front(g))
        size = len(front.filters)
        volume = 0.0
        if size:
            points = np.stack([front.remaining_ratio, front.error], axis=1)
            volume = float(hypervolume(points, np.array(REFERENCE_POINT)))
        rows.append(
            (
                g,
                stored.evaluations,
                size,
                int(front.filters.min()) if size else None,
                float(front.error.min()) if size else None,
                volume,
            )
        )
    return Table("generations", columns, tuple(rows))


def baselines_table(record: RunRecord) -> Table:
    """Return each selected network and what it is compared with, at the same filters in every layer.

    ``shared_filters`` counts the filters that the searched network keeps too. Empty are the errors before
    fine-tuning of a network trained from scratch, and those after it of one that was not fine-tuned. The last
    two columns are differences of wrong test images: positive where the searched network is better.
    """
    columns = (
        "selected",
        "method",
        "filters",
        "shared_filters",
        *(
            f"{split}_{quantity}"
            for split in ("validation", "test")
            for quantity in ("images", "wrong_before", "wrong_after", "error_before", "error_after")
        ),
        "test_wrong_before_minus_searched",
        "test_wrong_after_minus_searched",
    )
    rows = [
        _baseline_row(selected, method, network)
        for selected in record.selected
        if selected.name in record.baselines
        for method, network in contenders(record, selected)
    ]
    return Table("baselines", columns, tuple(rows))


def contenders(record: RunRecord, selected: NetworkRecord) -> list[tuple[str, NetworkRecord]]:
    """Return a selected network as ``"searched"``, then its baselines, each by its method."""
    rivals = record.baselines.get(selected.name, [])
    return [("searched", selected), *((network.method, network) for network in rivals)]


def wrong_before(network: NetworkRecord, outcome: Outcome | None) -> int | None:
    """Return the wrong predictions before fine-tuning; None where there is nothing to compare."""
    return None if outcome is None or network.from_scratch else outcome.wrong_before


def wrong_after(network: NetworkRecord, outcome: Outcome | None) -> int | None:
    """Return the wrong predictions after fine-tuning; None where there was none."""
    return None if outcome is None or not network.tuned else outcome.wrong_after


def _baseline_row(selected: NetworkRecord, method: str, network: NetworkRecord) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for outcome in (network.validation, network.test):
        wrong = wrong_before(network, outcome), wrong_after(network, outcome)
        images = outcome.images if outcome is not None else None
        errors = [None if w is None or images is None else w / images for w in wrong]
        cells += [images, *wrong, *errors]
    return (
        selected.name,
        method,
        network.filters,
        None if network.from_scratch else len(set(network.genome) & set(selected.genome)),
        *cells,
        difference(wrong_before(network, network.test), wrong_before(selected, selected.test)),
        difference(wrong_after(network, network.test), wrong_after(selected, selected.test)),
    )


def difference(count: int | None, other: int | None) -> int | None:
    """Return count - other; None where one is not known."""
    return None if count is None or other is None else count - other


def networks(record: RunRecord) -> list[NetworkRecord]:
    """Return the base network (if trained) and the selected ones."""
    return ([record.base] if record.base is not None else []) + list(record.selected)


def layer_names(record: RunRecord) -> list[str]:
    """Return the prunable layers: of the search, or of the base network before a search has begun."""
    if record.layers:
        return [name for name, _ in record.layers]
    return list(record.base.kept) if record.base is not None else []


def compression_ratio(network: NetworkRecord) -> float | None:
    """Return filters of the base / filters kept ("CR" in Sensors 21(17):5901); None where none is kept."""
    return network.filters_original / network.filters if network.filters else None


def all_tables(record: RunRecord) -> list[Table]:
    """Return front, networks and generations, and the baselines of a run that has some.

    Raises
    ------
    FileFormatError
        If the stored search contradicts itself.
    """
    found = [front_table(record), networks_table(record), generations_table(record)]
    return [*found, baselines_table(record)] if record.baselines else found


def write_tables(record: RunRecord, found: list[Table]) -> list[Path]:
    """Write tables of a run as ``<name>.csv`` into its ``tables`` folder.

    Parameters
    ----------
    record : RunRecord
        The run.
    found : list of Table
        Its tables.

    Returns
    -------
    list of Path
        The files, each replaced atomically.
    """
    record.folder.make_folder(record.folder.tables)
    paths = []
    for table in found:
        path = record.folder.tables / f"{table.name}.csv"
        write_text_atomic(path, table.to_csv())
        paths.append(path)
    return paths
