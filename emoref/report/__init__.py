"""Reports of runs: CSV tables for other programs and one self-contained page for people."""

from emoref.report.html import write_report
from emoref.report.tables import write_tables

__all__ = ["write_report", "write_tables"]
