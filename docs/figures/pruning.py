"""Draw pruning.svg: what slimming cuts out of LeNet's second layer, and what that saves layer by layer.

Run from the repository root: ``python docs/figures/pruning.py``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from emoref import networks
from emoref.compress import apply_masks, count, filter_importance, masks_from_importance, slim

KEPT = {"conv1": 8, "conv2": 20}
NAMED = ("conv1", "conv2", "fc1", "fc2")


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    params = net.init(seed=0)
    masks = masks_from_importance(filter_importance("l1", net, params), KEPT)
    masked = apply_masks(net, params, masks)
    # The input channels of removed filters are only ever multiplied by zero.
    masked["conv2.weight"] = masked["conv2.weight"] * masks["conv1"][None, :, None, None]
    small_net, small = slim(net, params, masks)
    widths = {"width_ratios": [20, 20, 8, 34]}
    figure, axes = plt.subplots(1, 4, figsize=(8.4, 3.2), gridspec_kw=widths, layout="constrained")
    for axis, title, weight in (
        (axes[0], "conv2, unpruned", params["conv2.weight"]),
        (axes[1], "masked: as large as before", masked["conv2.weight"]),
        (axes[2], "slimmed", small["conv2.weight"]),
    ):
        filters, channels = weight.shape[:2]
        shown = np.abs(weight).sum(axis=(2, 3))
        axis.imshow(np.ma.masked_equal(shown, 0), vmin=0, aspect="auto", interpolation="none", cmap="viridis")
        axis.set_title(f"{title}\n{filters} x {channels} kernels", fontsize=8)
        axis.set_ylim(49.5, -0.5)
        axis.set(xticks=[], yticks=[], xlabel="input channels", ylabel="filters")
        axis.set_frame_on(False)
    _bars(axes[3], {row.name: row.macs for row in count(net).layers}, "unpruned", -0.2)
    _bars(axes[3], {row.name: row.macs for row in count(small_net).layers}, "slimmed", 0.2)
    axes[3].set(xticks=range(len(NAMED)), xticklabels=NAMED, ylabel="thousand MACs an image")
    axes[3].set_title(
        f"{count(net).macs:,} MACs\nbecome {count(small_net).macs:,}".replace(",", " "), fontsize=8
    )
    axes[3].legend(frameon=False)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _bars(axis: plt.Axes, macs: dict[str, int], label: str, shift: float) -> None:
    axis.bar(np.arange(len(NAMED)) + shift, [macs[name] / 1000 for name in NAMED], 0.4, label=label)


if __name__ == "__main__":
    main()
