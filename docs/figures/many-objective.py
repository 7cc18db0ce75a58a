"""Draws docs/figures/many-objective.svg: points of any number, near a wish, and where the front is."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
"""Where the corners of the simplex are drawn."""


class Inverted:
    """The front 1 - w of the weights w, a triangle upside down, behind an easy distance."""

    n_var, n_obj, lower, upper = 7, 3, 0.0, 1.0

    def evaluate(self, X):
        a, b = np.sqrt(X[:, :1]), X[:, 1:2]
        w = np.hstack([1 - a, a * (1 - b), a * b])
        return (1 - w) * (1 + ((X[:, 2:] - 0.5) ** 2).sum(axis=1, keepdims=True))


def draw(axes, points, *style, **options) -> None:
    axes.plot(*(points @ CORNERS).T, *style, linestyle="none", **options)


def main() -> None:
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.4))
    for axes in panels:
        axes.plot(*CORNERS[[0, 1, 2, 0]].T, color="0.7", linewidth=1)
        for name, corner, offset in zip(("f1", "f2", "f3"), CORNERS, (-14, 4, 4), strict=True):
            axes.annotate(name, corner, (offset, 2), textcoords="offset points", color="0.4")
        axes.set(aspect="equal")
        axes.axis("off")

    draw(panels[0], emo.riesz_points(3, 50), "o", markersize=4)
    panels[0].set_title("50 points of small Riesz energy")

    aspirations = np.array([[0.6, 0.2, 0.2], [0.3, 0.7, 0.9]])
    points = emo.around_aspiration_points(aspirations, emo.das_dennis(3, 4), mu=0.25)
    draw(panels[1], points, "o", markersize=4, label="reference point")
    centres = aspirations / aspirations.sum(axis=1, keepdims=True)
    draw(panels[1], centres, "+", color="C3", markersize=12, markeredgewidth=2, label="aspired direction")
    panels[1].legend(loc="upper left", bbox_to_anchor=(-0.12, 1.0), frameon=False, fontsize=8)
    panels[1].set_title("round two aspiration points")

    W = emo.das_dennis(3, 9)
    algorithm = emo.ANSGA3(Inverted(), reference_points=W, seed=1)
    algorithm.run(80)
    used = algorithm.survival.counts > 0
    in_use, empty = algorithm.survival.reference_points[used], algorithm.survival.reference_points[~used]
    original = used[: len(W)].sum()
    draw(panels[2], empty, "o", markersize=4, color="0.85", label="empty")
    draw(panels[2], in_use[:original], "o", markersize=4, color="C0", label="original, in use")
    draw(panels[2], in_use[original:], "^", markersize=4, color="C1", label="added, in use")
    panels[2].legend(loc="upper left", bbox_to_anchor=(-0.12, 1.0), frameon=False, fontsize=8)
    panels[2].set_title("A-NSGA-III on an inverted triangle")

    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
