"""Reports of runs: CSV tables for other programs, one self-contained page for people, results over seeds."""

from emoref.report.compare import compare_runs
from emoref.report.comparisons import comparison_of
from emoref.report.pages import network_lines, write_report, write_tables
from emoref.report.sparse_compare import compare_sparse_runs

__all__ = [
    "compare_runs",
    "compare_sparse_runs",
    "comparison_of",
    "network_lines",
    "write_report",
    "write_tables",
]
