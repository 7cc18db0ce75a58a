"""Draws docs/figures/problems.svg: true fronts of two and of three objectives."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref.emo import problems

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

TWO = ("zdt1", "zdt3", "zdt5", "wfg1", "wfg2", "smop4")
THREE = (
    "dtlz1",
    "dtlz2",
    "convexdtlz2",
    "inverteddtlz1",
    "c2dtlz2",
    "c3dtlz4",
    "dtlz5",
    "dtlz7",
    "wfg1",
    "wfg2",
    "maf2",
    "maf8",
)
AXES = np.array([[-np.sqrt(0.75), -0.5], [np.sqrt(0.75), -0.5], [0.0, 1.0]])
"""Where the axes of three objectives point on paper, seen from (1, 1, 1)."""


def dots(axes, points) -> None:
    """Draw points as pieces of a line without length, which takes less room than symbols."""
    line = np.full((3 * len(points), 2), np.nan)
    line[::3], line[1::3] = points, points + 1e-3
    axes.plot(*line.T, "-", linewidth=1.7, solid_capstyle="round")


def main() -> None:
    figure, panels = plt.subplots(3, 6, figsize=(9.0, 5.0))
    for axes, name in zip(panels[0], TWO, strict=True):
        problem = problems.build(name, **({} if "zdt" in name else {"n_obj": 2}))
        front = (problem.front(66) - problem.ideal) / (problem.nadir - problem.ideal)
        dots(axes, front)
        axes.set(title=name, xticks=[0, 1], yticks=[0, 1])
    for axes, name in zip(panels[1:].ravel(), THREE, strict=True):
        problem = problems.build(name, n_obj=3)
        front = (problem.front(66) - problem.ideal) / (problem.nadir - problem.ideal)
        for end in AXES:
            axes.plot([0, end[0]], [0, end[1]], color="0.7", linewidth=0.8)
        dots(axes, front @ AXES)
        axes.set(title=name, aspect="equal", xlim=(-1.05, 1.05), ylim=(-1.05, 1.15))
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
