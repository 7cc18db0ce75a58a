"""Draws docs/figures/nsga3.svg: normalisation, association and niching of the worked example."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

NAMES = "abcdef"
F = np.array([[1, 9], [9, 1], [4, 7], [5, 6], [7, 4.5], [9, 9]])
W = emo.das_dennis(2, 2)
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2, "fontsize": 8}


def name_points(axes: plt.Axes, points: np.ndarray) -> None:
    for name, point in zip(NAMES, points, strict=False):
        axes.annotate(name, point, (6, 5), textcoords="offset points")


def draw_objectives(axes: plt.Axes) -> None:
    front = F[np.argsort(F[:5, 0])]
    axes.plot(*front.T, "o", color="C0", label="front 0")
    axes.plot(*F[5], "o", color="0.7", label="front 1")
    axes.plot(*F.min(axis=0), "s", color="C2", label="ideal point")
    axes.plot(*F[:2].T, "--", color="C1", linewidth=1, label="line through the extreme points")
    name_points(axes, F)
    axes.set(
        xlabel="first objective / 0.001", ylabel="second objective / 1000", xlim=(0, 10.5), ylim=(0, 10.5)
    )
    axes.legend(**BELOW)
    axes.set_title("1. objectives")


def draw_niches(axes: plt.Axes) -> None:
    start = emo.Normaliser.start(n_obj=2)
    survival = emo.reference_selection(F, 3, W, start, np.random.default_rng(1))
    points = emo.normalise(F, emo.nondominated_ranks(F), start).F[:5]
    for weights in W:
        axes.plot(*np.outer([0, 1.15 / weights.max()], weights).T, color="0.75", linewidth=1)
    axes.plot(*W.T, "D", color="0.5", markersize=5, label="reference points")
    for row, point in enumerate(points):
        line = W[survival.niches[row]] / np.linalg.norm(W[survival.niches[row]])
        lives = row in survival.survivors
        axes.plot(*np.stack([point, (point @ line) * line]).T, ":", color="C0" if lives else "C3")
        axes.plot(*point, "o" if lives else "x", color="C0" if lives else "C3", markeredgewidth=2)
    axes.plot([], [], "o", color="C0", label="nearest of its niche: survives")
    axes.plot([], [], "x", color="C3", markeredgewidth=2, label="is dropped")
    name_points(axes, points)
    axes.set(xlabel="first, normalised", ylabel="second, normalised", xlim=(-0.05, 1.2), ylim=(-0.05, 1.2))
    axes.legend(**BELOW)
    axes.set_title("2. normalised, and their niches")


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 5.2))
    draw_objectives(left)
    draw_niches(right)
    for axes in (left, right):
        axes.set_aspect("equal")
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
