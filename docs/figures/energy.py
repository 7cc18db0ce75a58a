"""Draw energy.svg: what VGG-16 spends on arithmetic and on moving data, before and after compression.

Run from the repository root: ``python docs/figures/energy.py``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from emoref import networks
from emoref.compress.energy import DATAFLOWS, EnergyTable, emomc_energy, emomc_float32_energy

PJ_PER_MJ = 1e9
NAMES = {
    "mac": "multiply-accumulate",
    "input": "read inputs",
    "weight": "read weights",
    "output": "write outputs",
    "psum": "read partial sums",
}


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    net = networks.build("vgg16")
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), layout="constrained")
    for axis, title, tables in (
        (axes[0], "32-bit floating point", [emomc_float32_energy(net, d) for d in DATAFLOWS]),
        (axes[1], "8 bits, nothing pruned", [emomc_energy(net, d, 1.0, 8) for d in DATAFLOWS]),
        (axes[2], "4 bits, half of the weights", [emomc_energy(net, d, 0.5, 4) for d in DATAFLOWS]),
    ):
        _bars(axis, tables)
        axis.set_title(title, fontsize=8)
    axes[0].set_ylabel("mJ an image")
    axes[2].legend(fontsize=7, frameon=False, loc="upper left", reverse=True)
    axes[2].set_ylim(0, 4.6)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _bars(axis: plt.Axes, tables: list[EnergyTable]) -> None:
    bottom = [0.0] * len(tables)
    for part, name in NAMES.items():
        heights = [table.components_pj[part] / PJ_PER_MJ for table in tables]
        axis.bar(DATAFLOWS, heights, 0.7, bottom, label=name)
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    for x, total in enumerate(bottom):
        axis.text(x, total, f"{total:.2f}", ha="center", va="bottom", fontsize=7)
    axis.set_ylim(0, 1.1 * max(bottom))


if __name__ == "__main__":
    main()
