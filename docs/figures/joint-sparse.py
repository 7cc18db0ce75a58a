"""Draw joint-sparse.svg: a joint network under a mask, the parents of both initialisations, and a repair.

Run from the repository root: ``python docs/figures/joint-sparse.py``.
"""

from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from emoref import emo
from emoref.emo.problem import Variables
from emoref.systems.joint_sparse_search import BernoulliLadder

KEPT, GONE, RESTORED, HEADS = "#0a5fb4", "#e1e5ea", "#c69a24", ("#5f7d3c", "#8a4f8f")


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.5), layout="constrained", width_ratios=[6, 6, 6, 5])
    _network(axes[0])
    _ladders(axes[1:3])
    _repair(axes[3])
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _network(axis: plt.Axes) -> None:
    """Show a trunk of two layers, kept connections dark, and a head for each of two tasks."""
    rng = np.random.default_rng(4)
    columns = [np.linspace(-1, 1, units) for units in (5, 5, 4)]
    for x, (left, right) in enumerate(pairwise(columns)):
        for a in left:
            for b in right:
                kept = rng.random() < 0.35
                axis.plot(
                    [x, x + 1], [a, b], color=KEPT if kept else GONE, lw=1.2 if kept else 0.5, zorder=kept
                )
    for y, colour in zip((-0.6, 0.6), HEADS, strict=True):
        for b in columns[2]:
            axis.plot([2, 2.9], [b, y], color=colour, lw=0.8)
        axis.add_patch(Rectangle((2.9, y - 0.22), 0.5, 0.44, color=colour))
        axis.text(
            3.15, y, "task 1" if y > 0 else "task 2", ha="center", va="center", color="white", fontsize=6
        )
    for x, units in enumerate(columns):
        axis.plot([x] * len(units), units, "o", color="#444", ms=4, zorder=3)
    axis.set(xlim=(-0.2, 3.5), ylim=(-1.2, 1.2), xticks=[], yticks=[])
    axis.set_title("one trunk under a mask,\na head for each task")
    axis.set_frame_on(False)


def _ladders(axes: np.ndarray) -> None:
    """Show twelve parents of 60 weights, sorted by magnitude, from both initialisations."""
    weights = np.sort(np.abs(np.random.default_rng(0).standard_normal(60)))[::-1]
    variables = Variables(np.zeros(60), np.ones(60), ("binary",) * 60)
    samplings = (emo.MagnitudeLadder(weights, None, 0.05, 0.6), BernoulliLadder(0.05, 0.6))
    for axis, sampling, title in zip(axes, samplings, ("magnitude ladder", "random"), strict=True):
        rows = sampling(12, variables, np.random.default_rng(1))
        axis.imshow(
            rows, aspect="auto", cmap=matplotlib.colors.ListedColormap([GONE, KEPT]), interpolation="none"
        )
        axis.set(xticks=[], yticks=[], xlabel="weights, largest first", title=f"parents:\n{title}")
    axes[0].set_ylabel("kept ratio 0.6 ... 0.05")


def _repair(axis: plt.Axes) -> None:
    """Show the worked example's masks: layer 1 (2 x 3), layer 2 (2 x 2), a restored connection."""
    for y0, rows, title in ((0, ["100", "00r"], "layer 1"), (3.2, ["10", "01"], "layer 2")):
        for y, row in enumerate(rows):
            for x, bit in enumerate(row):
                colour = {"1": KEPT, "0": GONE, "r": RESTORED}[bit]
                axis.add_patch(Rectangle((x, y0 + y), 0.9, 0.9, color=colour))
            axis.text(-0.3, y0 + y + 0.45, f"unit {y + 1}", ha="right", va="center")
        axis.text(0, y0 - 0.2, title)
    axis.set(xlim=(-2, 3.2), ylim=(5.6, -0.8), xticks=[], yticks=[])
    axis.set_title("repair: unit 2 is read,\nso it gets a connection")
    axis.set_frame_on(False)


if __name__ == "__main__":
    main()
