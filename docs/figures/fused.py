"""Draw fused.svg: operations per candidate of a LeNet population, masked, slimmed and with partial sums.

Run from the repository root: ``python docs/figures/fused.py``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from emoref import networks
from emoref.compress import count, slim_network
from emoref.search import FilterGenome

LAYERS = ("conv1", "conv2", "fc1", "fc2")
CANDIDATES = 50


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    layout = FilterGenome(net)
    rng = np.random.default_rng(0)
    rows = layout.random(rng.uniform(0.3, 0.7, CANDIDATES), rng)
    full = {row.name: row.macs for row in count(net).layers}
    slimmed = [{row.name: row.macs for row in count(slim_network(net, layout.masks(r))).layers} for r in rows]
    mean = {name: np.mean([macs[name] for macs in slimmed]) for name in LAYERS}
    adds = np.mean([np.prod(kept) * 8 * 8 for kept in layout.kept(rows)])
    sizes = np.arange(1, 101)
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 2.8), layout="constrained")
    forms = {
        "masked": full,
        "slimmed": mean,
        f"{CANDIDATES} together": {
            **mean, "conv1": full["conv1"] / CANDIDATES, "conv2": full["conv2"] / CANDIDATES + adds,
        },
    }  # fmt: skip
    bottoms = np.zeros(len(forms))
    for name in LAYERS:
        heights = np.array([macs[name] for macs in forms.values()]) / 1e6
        axes[0].bar(list(forms), heights, bottom=bottoms, label=name)
        bottoms += heights
    axes[0].set(ylabel="million operations an image")
    axes[0].legend(frameon=False)
    rest = mean["fc1"] + mean["fc2"]
    shared = (full["conv1"] + full["conv2"]) / sizes + adds + rest
    axes[1].plot(sizes, np.full(len(sizes), sum(full[name] for name in LAYERS)) / 1e6, label="masked")
    axes[1].plot(sizes, np.full(len(sizes), sum(mean.values())) / 1e6, label="slimmed")
    axes[1].plot(sizes, shared / 1e6, label="together")
    axes[1].set(xlabel="candidates", ylabel="million operations\nan image and candidate", ylim=(0, None))
    axes[1].legend(frameon=False)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
