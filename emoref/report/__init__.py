"""Reports of runs: CSV tables for other programs, one self-contained page for people, results over seeds."""

from emoref.report.compare import compare_runs
from emoref.report.pages import network_lines, write_report, write_tables

__all__ = ["compare_runs", "network_lines", "write_report", "write_tables"]
