"""Test problems whose true fronts are known."""

from emoref.emo.problems.zdt import ZDT1, ZDT2, ZDT3, ZDT4, ZDT6

__all__ = ["ZDT1", "ZDT2", "ZDT3", "ZDT4", "ZDT6"]
