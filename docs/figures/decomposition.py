"""Draws docs/figures/decomposition.svg: what three scalarisations find equally good."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

NAMES = "edcba"
F = np.array([[9, 1], [7, 2], [4, 4], [2, 7], [1, 9]])
IDEAL = F.min(axis=0)
WEIGHTS = np.array([0.75, 0.25])
KINDS = {
    "weighted sum": emo.weighted_sum,
    "Tchebycheff": emo.tchebycheff,
    "boundary intersection": emo.boundary_intersection,
}


def main() -> None:
    axis = np.linspace(IDEAL[0], 10.5, 160)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1) - IDEAL
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.6), sharex=True, sharey=True)
    for axes, (name, scalarise) in zip(panels, KINDS.items(), strict=True):
        values = scalarise(F - IDEAL, WEIGHTS)
        best = int(np.argmin(values))
        axes.contour(axis, axis, scalarise(grid, WEIGHTS), levels=np.sort(values)[:4], colors="0.75")
        axes.contour(axis, axis, scalarise(grid, WEIGHTS), levels=[values[best]], colors="C0")
        along = 1 / WEIGHTS if name == "Tchebycheff" else WEIGHTS
        if name != "weighted sum":
            end = IDEAL + along / along.max() * 9.5
            axes.plot([IDEAL[0], end[0]], [IDEAL[1], end[1]], "--", color="C1", linewidth=1)
        axes.plot(*F.T, "o", color="0.4")
        axes.plot(*F[best], "o", color="C0")
        axes.plot(*IDEAL, "*", color="C1", markersize=10)
        for letter, point in zip(NAMES, F, strict=True):
            axes.annotate(letter, point, (5, 4), textcoords="offset points")
        axes.set(title=name, xlim=(0, 10.5), ylim=(0, 10.5), aspect="equal", xlabel="first objective")
    panels[0].set_ylabel("second objective")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
