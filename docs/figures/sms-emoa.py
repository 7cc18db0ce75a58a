"""Draws docs/figures/sms-emoa.svg: the hypervolume of the example, and what each point contributes to it."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

NAMES = "abcde"
F = np.array([[0, 10], [1, 6], [2, 5], [6, 2], [10, 0]]) / 10
REFERENCE = 2.0


def draw(axes: plt.Axes, rows: list[int]) -> None:
    own = emo.normalised_contributions(F[rows])
    least = len(rows) - 1 - int(np.argmin(own[::-1]))
    for x, y in F[rows]:
        axes.fill_between([x, REFERENCE], y, REFERENCE, color="0.9", linewidth=0)
    for place, row in enumerate(rows):
        x, y = F[row]
        right = F[rows[place + 1], 0] if place + 1 < len(rows) else REFERENCE
        top = F[rows[place - 1], 1] if place > 0 else REFERENCE
        color = "C3" if place == least else "C0"
        axes.fill_between([x, right], y, top, color=color, alpha=0.6, linewidth=0)
        axes.plot(x, y, "o", color=color)
        axes.annotate(f"{NAMES[row]} {own[place]:g}", (x, y), (4, 5), textcoords="offset points")
    axes.set(xlim=(-0.08, REFERENCE), ylim=(-0.08, REFERENCE), aspect="equal")
    axes.set(xlabel="first objective, in ranges", ylabel="second objective, in ranges")


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2))
    draw(left, [0, 1, 2, 3, 4])
    left.set_title("1. b and c contribute least; c goes")
    draw(right, [0, 1, 3, 4])
    right.set_title("2. now b has more than before")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
