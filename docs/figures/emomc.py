"""Draws docs/figures/emomc.svg: what pruning and few bits save on LeNet-5, by EMOMC's formulas."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref import networks
from emoref.compress.energy import (
    CODINGS,
    DATAFLOWS,
    emomc_energies,
    emomc_float32_energy,
    emomc_sizes,
    float32_size,
)

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

RATIOS = np.linspace(0.2, 0.8, 25)
BITS = (2, 4, 8, 12)
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f")


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.8), sharex=True)
    net = networks.build("lenet5")
    for bits, style in zip(BITS, (":", "-.", "--", "-"), strict=True):
        rows = np.full((len(RATIOS), 1), float(bits))
        for colour, dataflow in zip(COLOURS, DATAFLOWS, strict=True):
            energies = emomc_energies(net, dataflow, RATIOS[:, None], rows)
            factor = emomc_float32_energy(net, dataflow).energy_pj / energies
            left.plot(RATIOS, factor, style, color=colour, label=dataflow if bits == 12 else None)
        for colour, coding in zip(COLOURS, CODINGS, strict=False):
            factor = float32_size(net).size_bits / emomc_sizes(net, coding, RATIOS[:, None], rows)
            right.plot(RATIOS, factor, style, color=colour, label=coding if bits == 12 else None)
    for axes, what in ((left, "energy"), (right, "size")):
        axes.set(xlabel="remaining ratio of the weights", yscale="log", title=f"times less {what}")
        axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.set_xticks([0.2, 0.4, 0.6, 0.8], ["20 %", "40 %", "60 %", "80 %"])
        axes.minorticks_off()
        axes.grid(color="0.93")
        axes.legend(fontsize=9)
    figure.suptitle("LeNet-5; 2 (dotted), 4, 8 and 12 bits (solid) in every layer", fontsize=10)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
