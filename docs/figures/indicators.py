"""Draws docs/figures/indicators.svg: what the indicators of the worked example measure."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

F = np.array([[1, 4], [2, 2], [4, 1]])
FRONT = np.array([[0, 4], [1, 2], [2, 1], [5, 0]])
REFERENCE = np.array([6, 6])


def draw_points(axes: plt.Axes) -> None:
    axes.plot(*FRONT.T, "s", color="0.4", label="stand for the true front")
    axes.plot(*F.T, "o", color="C0", label="found")
    for name, point in zip("pqrs", FRONT, strict=True):
        axes.annotate(name, point, (-11, -12), textcoords="offset points", color="0.4")
    for name, point in zip("abc", F, strict=True):
        axes.annotate(name, point, (6, 5), textcoords="offset points")
    axes.set(xlim=(-0.7, 6.4), ylim=(-0.7, 6.4), xlabel="first objective", ylabel="second objective")
    axes.set_aspect("equal")


def draw_distances(axes: plt.Axes, from_points: np.ndarray, to_points: np.ndarray, title: str) -> None:
    for point in from_points:
        nearest = to_points[np.linalg.norm(to_points - point, axis=1).argmin()]
        arrow = {"arrowstyle": "->", "color": "C1", "shrinkA": 3, "shrinkB": 3}
        axes.annotate("", nearest, point, arrowprops=arrow)
    draw_points(axes)
    axes.set_title(title)


def draw_hypervolume(axes: plt.Axes) -> None:
    contributions = emo.hypervolume_contributions(F, REFERENCE)
    for x, y in F:
        axes.fill_between([x, REFERENCE[0]], y, REFERENCE[1], color="0.9", linewidth=0)
    tops, ends = [REFERENCE[1], *F[:-1, 1]], [*F[1:, 0], REFERENCE[0]]
    for (x, y), top, end, own in zip(F, tops, ends, contributions, strict=True):
        axes.fill_between([x, end], y, top, color="C0", alpha=0.35, linewidth=0)
        axes.text((x + end) / 2, (y + top) / 2, f"{own:g}", ha="center", va="center")
    axes.plot(*REFERENCE, "*", color="C3", markersize=10)
    draw_points(axes)
    axes.set_title(f"hypervolume {emo.hypervolume(F, REFERENCE):g}, and what each adds")


def main() -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2))
    draw_distances(axes[0], F, FRONT, f"GD {emo.gd(F, FRONT):.4f}: from the points found")
    draw_distances(axes[1], FRONT, F, f"IGD {emo.igd(F, FRONT):.4f}: from those of the front")
    draw_hypervolume(axes[2])
    axes[0].legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
