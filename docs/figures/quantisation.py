"""Draws docs/figures/quantisation.svg: grids of three bits, and the error of every range in four."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from emoref.compress import RangeObserver, UniformGrid

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "emoref", "svg.fonttype": "none", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 (the back end is chosen first)

BITS = 4


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6))

    x = np.linspace(-1.4, 1.4, 1401)
    left.plot(x, x, color="0.8")
    for symmetric, name in ((True, "symmetric"), (False, "asymmetric")):
        grid = UniformGrid.of_range(-0.5, 1.25, 3, symmetric)
        left.plot(x, grid.fake_quantize(x), label=name, linewidth=1.3)
    left.axvspan(-0.5, 1.25, color="0.95", zorder=0)
    left.set(xlabel="number", ylabel="rounded number", title="3 bits, range -0.5 to 1.25")
    left.legend(loc="upper left")

    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(0.5, 1, 40_000), 0)
    values[:4] = 12
    observer = RangeObserver()
    observer.see_range(values)
    observer.see_values(values)
    ends = np.linspace(0.06, 1, 95) * observer.high
    errors = [mean_error(UniformGrid.of_range(0, end, BITS, symmetric=False), values) for end in ends]
    right.plot(ends, errors, color="C0")
    for method, offset in (("min-max", (-14, 8)), ("percentile", (4, 8)), ("mse", (-26, -12))):
        grid = observer.grid(BITS, method)
        place = (grid.highest_code * float(grid.scale[0]), mean_error(grid, values))
        right.plot(*place, "o", color="C3")
        right.annotate(method, place, offset, textcoords="offset points")
    right.set(xlabel="end of the range", ylabel="mean squared error", yscale="log")
    right.set(title=f"{BITS} bits, outliers at 12", xlim=(0, 14.5), ylim=(6e-3, 0.6))

    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


def mean_error(grid: UniformGrid, values: np.ndarray) -> float:
    return float(np.mean((grid.fake_quantize(values) - values) ** 2))


if __name__ == "__main__":
    main()
