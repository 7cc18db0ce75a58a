"""Draws docs/figures/coding.svg: what a weight costs in each layout, by the share of weights that is left."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref.compress import ALL_CODERS, Coder, quantize, smallest_coder

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

SIZE, BITS = 30_000, 4
RATIOS = np.array([0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def main() -> None:
    figure, axes = plt.subplots(figsize=(7.2, 4.2))
    weights = np.random.default_rng(0).normal(size=SIZE)
    order = np.argsort(np.abs(weights))
    rows = [symbols_of(weights, order, ratio) for ratio in RATIOS]

    relative = [coder for coder in ALL_CODERS if coder.layout == "relative" and not coder.huffman]
    choices = {
        "dense": [Coder("dense")],
        "bitmap": [Coder("bitmap")],
        "coo": [Coder("coo")],
        "relative, 3-bit runs": [Coder("relative", 3)],
        "relative, best width": relative,
        "smallest, with Huffman": ALL_CODERS,
    }
    for name, coders in choices.items():
        sizes = [smallest_coder(symbols, BITS, coders)[1] / SIZE for symbols in rows]
        axes.plot(RATIOS, sizes, ".-", label=name)
    axes.plot(RATIOS, RATIOS * (BITS + 3), "k:", label="EMOMC's estimate for CSR, p (q + 3)")

    axes.set(
        xlabel="share of weights left, p", ylabel="bits a weight", xscale="log", yscale="log", ylim=(0.04, 20)
    )
    axes.set_xticks([0.01, 0.03, 0.1, 0.3, 1], ["1 %", "3 %", "10 %", "30 %", "100 %"])
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.grid(color="0.93")
    axes.legend(loc="lower right", fontsize=9)
    axes.set_title(f"{SIZE:,} normal weights, the largest kept, {BITS} bits")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def symbols_of(weights: np.ndarray, order: np.ndarray, ratio: float) -> np.ndarray:
    """Keep the largest weights and quantise them; what would round to 0 becomes 1, so that p holds."""
    kept = order[round((1 - ratio) * len(weights)) :]
    chosen = np.zeros_like(weights)
    chosen[kept] = weights[kept]
    symbols = quantize(chosen, BITS).symbols()
    symbols[kept] = np.maximum(symbols[kept], 1)
    return symbols


if __name__ == "__main__":
    main()
