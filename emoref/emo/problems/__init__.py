"""Test problems whose true fronts are known."""

from emoref.emo.problems.dtlz import DTLZ1, DTLZ2, DTLZ3, DTLZ4
from emoref.emo.problems.zdt import ZDT1, ZDT2, ZDT3, ZDT4, ZDT6

__all__ = ["DTLZ1", "DTLZ2", "DTLZ3", "DTLZ4", "ZDT1", "ZDT2", "ZDT3", "ZDT4", "ZDT6"]
