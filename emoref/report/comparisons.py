"""Which comparison over seeds belongs to which system."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoref.errors import RunFolderError
from emoref.report import compare, sparse_compare
from emoref.report.tables import Table
from emoref.runs.config import read_table
from emoref.runs.folder import RunFolder

__all__ = ["Comparison", "comparison_of"]


@dataclass(frozen=True)
class Comparison:
    """How runs of one system are compared.

    Attributes
    ----------
    compare : callable
        From run folders to a table.
    columns : tuple of str
        Titles of what a terminal shows.
    rows : callable
        From the table to what a terminal shows, by heading.
    """

    compare: Callable[[Sequence[str | Path]], Table]
    columns: tuple[str, ...]
    rows: Callable[[Table], Mapping[str, list[tuple[str, ...]]]]


_BASELINES = Comparison(compare.compare_runs, compare.TEXT_COLUMNS, compare.text_rows)
_SPARSE = Comparison(
    sparse_compare.compare_sparse_runs, sparse_compare.TEXT_COLUMNS, sparse_compare.text_rows
)

_TABLES = {"emomc": "networks", "filter-sharing": "shared_networks"}
"""Systems whose runs are not compared, and the table that holds their networks' figures."""


def comparison_of(folders: Sequence[str | Path]) -> Comparison:
    """Return the comparison for the system of the first run.

    Parameters
    ----------
    folders : sequence of path
        The runs; others than those of joint sparse compression are compared with their baselines.

    Raises
    ------
    RunFolderError
        If the first folder is no run, or of a system that has no comparison.
    """
    if len(folders) < 2:
        return _BASELINES
    system = read_table(RunFolder.open(folders[0]).config).get("system")
    if system in _TABLES:
        raise RunFolderError(
            f"{folders[0]}: there is no comparison over seeds for runs of {system!r}; the figures of each "
            f"are in its tables/{_TABLES[system]}.csv"
        )
    return _SPARSE if system == "joint-sparse" else _BASELINES
