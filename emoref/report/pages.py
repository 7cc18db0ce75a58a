"""Which page, tables and lines on the terminal belong to which system."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emoref.report import (
    emo_dir,
    emo_dir_tables,
    emomc,
    emomc_tables,
    html,
    sharing,
    sharing_tables,
    sparse,
    sparse_tables,
    tables,
)
from emoref.report.html import Section
from emoref.report.tables import Table
from emoref.runs.record import RunRecord

__all__ = ["PAGES", "Page", "network_lines", "write_report", "write_tables"]

Lines = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Titles, and rows of as many cells; the first column is set left."""


@dataclass(frozen=True)
class Page:
    """How the runs of one system are shown.

    Attributes
    ----------
    summary : callable
        From the record to the page's first sentences.
    sections : tuple of (str, callable)
        Title and section, in order; see :mod:`emoref.report.html`.
    tables : callable
        From the record to the CSV tables.
    lines : callable
        From the record to what the command line prints about its networks.
    """

    summary: Callable[[RunRecord], str]
    sections: tuple[tuple[str, Section], ...]
    tables: Callable[[RunRecord], list[Table]]
    lines: Callable[[RunRecord], Lines]


def _filter_lines(record: RunRecord) -> Lines:
    titles = ("network", "filters", "removed", "MACs", "parameters", "val. error", "tuned", "test error")
    rows: list[tuple[str, ...]] = [
        (
            network.name,
            "+".join(str(kept) for kept in network.kept.values())
            if len(network.kept) < 6
            else str(network.filters),
            f"{network.pruned_ratio:.1%}",
            f"{network.macs:,}",
            f"{network.params:,}",
            f"{network.validation.error_before:.2%}",
            f"{network.validation.error_after:.2%}",
            f"{network.test.error_after:.2%}" if network.test else "-",
        )
        for network in tables.networks(record)
    ]
    return titles, rows


def _emomc_lines(record: RunRecord) -> Lines:
    titles = ("network", "remain", "bits", "times less", "file", "val. error", "test error")
    rows: list[tuple[str, ...]] = []
    if record.base is not None:
        base = record.base
        test = f"{base.test.error_after:.2%}" if base.test else "-"
        rows.append(("base", "", "32", "", "", f"{base.validation.error_after:.2%}", test))
    for network in emomc_tables.networks(record):
        costs = emomc_tables.own_costs(record, network)
        rows.append(
            (
                network.name,
                f"{network.remaining_ratio:.0%}",
                f"{sum(network.bits.values()) / len(network.bits):.1f}",
                " ".join(f"{emomc_tables.factor(network, cost):.2f}" for cost in costs),
                f"{network.file_bytes:,}",
                f"{network.validation.error:.2%}",
                f"{network.test.error:.2%}" if network.test else "-",
            )
        )
    return titles, rows


_SHARED = tuple(
    pair
    for pair in html.SECTIONS
    if pair[1] in (html.curves_section, html.architecture_section, html.provenance_section)
)

PAGES = {
    "emo-dir": Page(emo_dir.summary, (*emo_dir.SECTIONS, *_SHARED), emo_dir_tables.all_tables, emo_dir.lines),
    "emofp": Page(html.summary, html.SECTIONS, tables.all_tables, _filter_lines),
    "emomc": Page(emomc.summary, (*emomc.SECTIONS, *_SHARED), emomc_tables.all_tables, _emomc_lines),
    "joint-sparse": Page(
        sparse.summary, (*sparse.SECTIONS, _SHARED[-1]), sparse_tables.all_tables, sparse.lines
    ),
    "filter-sharing": Page(
        sharing.summary, (*sharing.SECTIONS, _SHARED[-1]), sharing_tables.all_tables, sharing.lines
    ),
}
"""By the name of the system."""


def page_of(record: RunRecord) -> Page:
    """Return the page of a run's system."""
    return PAGES.get(str(record.config.get("system")), PAGES["emofp"])


def network_lines(record: RunRecord) -> Lines:
    """Return what the command line prints about the networks of the run in `record`."""
    return page_of(record).lines(record)


def write_report(record: RunRecord) -> Path:
    """Write ``report.html`` of the run in `record`, finished or not, and return its path.

    Raises
    ------
    MissingDependencyError
        If plotly is not installed. The tables (:func:`write_tables`) do not need it.
    FileFormatError
        If a stored search contradicts itself.
    """
    page = page_of(record)
    return html.write_report(record, page.sections, page.summary)


def write_tables(record: RunRecord) -> list[Path]:
    """Write the tables of the run in `record`, finished or not, into its ``tables`` folder.

    Returns
    -------
    list of Path
        The files, each replaced atomically.

    Raises
    ------
    FileFormatError
        If a stored search contradicts itself.
    """
    return tables.write_tables(record, page_of(record).tables(record))
