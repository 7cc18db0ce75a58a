"""Reports of runs: CSV tables for other programs, one self-contained page for people, results over seeds."""

from emoref.report.compare import compare_runs
from emoref.report.html import write_report
from emoref.report.tables import write_tables

__all__ = ["compare_runs", "write_report", "write_tables"]
