"""Draws docs/figures/nsga2.svg: the fronts, crowding distances and survivors of the worked example."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

NAMES = "abcdefgh"
F = np.array([[1, 9], [2, 7], [5, 4], [8, 2], [9, 1], [3, 8], [6, 6], [9, 9]])
SIZE = 4


def main() -> None:
    survival = emo.environmental_selection(F, SIZE)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0), sharex=True, sharey=True)

    for rank, front in enumerate(emo.fronts(survival.ranks)):
        line = front[np.argsort(F[front, 0])]
        left.plot(*F[line].T, "o-", drawstyle="steps-post", label=f"rank {rank}")
    left.legend(loc="lower left")
    left.set_title("1. fronts")

    front = np.flatnonzero(survival.ranks == 0)
    lost = np.setdiff1d(front, survival.survivors)
    others = np.flatnonzero(survival.ranks > 0)
    right.plot(*F[others].T, "o", color="0.85")
    right.plot(*F[survival.survivors].T, "o", color="C0", label="survives")
    right.plot(*F[lost].T, "x", color="C3", markersize=9, markeredgewidth=2, label="is dropped")
    for row, color in ((2, "C0"), (3, "C3")):
        (x0, y1), (x1, y0) = F[row - 1], F[row + 1]
        right.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], "--", color=color, linewidth=1)
        right.annotate(
            f"{survival.distances[row]:g}", F[row], (8, 8), textcoords="offset points", color=color
        )
    right.legend(loc="lower left")
    right.set_title("2. front 0 is cut by crowding distance")

    for axes in (left, right):
        for name, point in zip(NAMES, F, strict=True):
            axes.annotate(name, point, (-11, 5), textcoords="offset points")
        axes.set(
            xlim=(0, 10.5),
            ylim=(0, 10.5),
            xlabel="first objective",
            ylabel="second objective",
            aspect="equal",
        )
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
