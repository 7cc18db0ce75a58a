"""Draw filter-sharing.svg: an index matrix, what is stored of it, and what aligning two networks does.

Run from the repository root: ``python docs/figures/filter-sharing.py``.
"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from emoref import networks
from emoref.compress import LayerSlots, filter_distances, permute_slots

COLOURS = {0: "#e1e5ea", 1: "#c69a24", 2: "#0a5fb4"}
NAMES = {0: "removed", 1: "private", 2: "shared"}


def main() -> None:
    """Write the figure beside this file."""
    plt.rcParams.update({"svg.hashsalt": "emoref", "font.size": 8, "svg.fonttype": "none"})
    slots = LayerSlots(
        np.array([list("1110011001"), list("1011010101")]) == "1", np.array(list("1010000001")) == "1"
    )
    figure, axes = plt.subplots(1, 4, figsize=(8.6, 2.6), layout="constrained", width_ratios=[10, 8, 7, 7])
    _matrix(axes[0], slots)
    _stored(axes[1], slots)
    _alignment(axes[2:])
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def _matrix(axis: plt.Axes, slots: LayerSlots) -> None:
    for task, kinds in enumerate(slots.kinds()):
        for slot, kind in enumerate(kinds):
            axis.add_patch(Rectangle((slot, task), 0.9, 0.8, color=COLOURS[int(kind)]))
    for place, kind in enumerate((2, 1, 0)):
        axis.add_patch(Rectangle((3.4 * place, 2.5), 0.6, 0.5, color=COLOURS[kind]))
        axis.text(3.4 * place + 0.8, 2.75, NAMES[kind], va="center")
    axis.set(xlim=(0, slots.size), ylim=(3.2, -0.2), xticks=[], yticks=[0.4, 1.4])
    axis.set_yticklabels(["task 1", "task 2"])
    axis.set_title(f"index matrix\n{slots.size} slots of a layer")
    axis.set_frame_on(False)


def _stored(axis: plt.Axes, slots: LayerSlots) -> None:
    for row, owners in enumerate(slots.owners()):
        for task, owns in enumerate(owners):
            if owns:
                colour = COLOURS[2 if owners.all() else 1]
                axis.add_patch(Rectangle((row, task), 0.9, 0.8, color=colour))
    axis.set(xlim=(0, slots.stored), ylim=(3.2, -0.2), xticks=[], yticks=[])
    axis.set_title(f"{slots.stored} stored filters\ninstead of {2 * slots.size}")
    axis.set_frame_on(False)


def _alignment(axes: list[plt.Axes]) -> None:
    """Show the distances between a network's filters and those of a disturbed, permuted copy of it."""
    rng = np.random.default_rng(3)
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    params = net.init(seed=0)
    other = permute_slots(net, params, {"conv1": rng.permutation(20)})["conv1.weight"]
    other = other + 0.1 * rng.standard_normal(other.shape)
    before = filter_distances(params["conv1.weight"], other)
    order = before.argmin(axis=1)
    for axis, distances, title in ((axes[0], before, "by index"), (axes[1], before[:, order], "aligned")):
        axis.imshow(distances, vmin=0, vmax=2, cmap="viridis", interpolation="none")
        mean = np.diag(distances).mean()
        axis.set_title(f"{title}: mean distance\nin a slot {mean:.2f}")
        axis.set(xticks=[], yticks=[], xlabel="filters of network 2")
    axes[0].set_ylabel("filters of network 1")


if __name__ == "__main__":
    main()
