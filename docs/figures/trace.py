"""Draws docs/figures/trace.svg from a trace: why candidates of NSGA-III survived, and the nadir over time."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import emo
from emoref.emo.trace import REASONS, Trace

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

SHOWN = 12
STYLES = {
    "front": ("o", "C0", "survives: whole front"),
    "nearest": ("o", "C2", "survives: nearest of its line"),
    "drawn": ("s", "C2", "survives: drawn"),
    "niche_full": ("x", "C1", "dropped: line is taken"),
    "dominated": ("x", "0.7", "dropped: dominated"),
}


def main() -> None:
    W = emo.das_dennis(2, 9)
    trace = Trace(emo.NSGA3(emo.problems.ZDT1(10), reference_points=W, population_size=12, seed=4))
    trace.run(60)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.8))

    record = next(r for r in trace.records if r.generation == SHOWN)
    for direction in W:
        ends = record.ideal + np.outer([0, 2.5], direction) * record.intercepts
        left.plot(*ends.T, color="0.9", linewidth=0.8, zorder=0)
    for reason in REASONS:
        rows = record.rows(reason)
        if len(rows):
            marker, color, label = STYLES[reason]
            left.plot(*record.F[rows].T, marker, color=color, label=label, markersize=5)
    margin = 0.08 * np.ptp(record.F, axis=0)
    low, high = record.F.min(axis=0) - margin, record.F.max(axis=0) + margin
    left.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="first objective")
    left.set(ylabel="second objective", title=f"generation {SHOWN}")
    left.legend(loc="upper right", fontsize=8)

    generations = [r.generation for r in trace.records]
    nadirs = np.array([r.nadir for r in trace.records])
    for objective, name in enumerate(("first", "second")):
        right.plot(generations, nadirs[:, objective], label=f"nadir, {name} objective")
    right.set(xlabel="generation", title="normalisation", ylim=(0, None))
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
