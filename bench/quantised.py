"""Populations of pruned and quantised candidates: evaluated together, and one by one.

``NUMBA_NUM_THREADS=1 python -m bench.quantised`` prints for each network how many times less a population
takes when weights and equal beginnings are shared, early in a search (random bits) and late (candidates agree
in most layers); both sides are emoref's, alternate, and count the processor time of one thread. ``pytest
bench/quantised.py`` times the shared side.
"""

import argparse
import time

import numpy as np
import pytest

from bench.models import build, images

CANDIDATES = 20
SETTINGS = {"lenet5": 500, "vgg16": 20, "mobilenet-v1": 20}
"""Images of each network."""
RATIOS = (0.2, 0.4, 0.8)


def setting(name: str, late: bool):
    """Return network, models, images, labels and candidates."""
    from emoref import compress
    from emoref.compress import PrunedModel

    net = build(name)
    params, rng = net.init(0), np.random.default_rng(1)
    models = [
        PrunedModel.of(
            net, compress.apply_weight_masks(net, params, compress.magnitude_masks(net, params, ratio)), ratio
        )
        for ratio in RATIOS
    ]
    layers = len(compress.weighted_layers(net))
    rows = np.column_stack([rng.integers(0, 3, CANDIDATES), rng.integers(2, 13, (CANDIDATES, layers))])
    if late:  # as in a converged population: one mutation away from one of four parents
        rows = rows[rng.integers(0, 4, CANDIDATES)]
        place = rng.integers(1, layers + 1, CANDIDATES)
        rows[np.arange(CANDIDATES), place] = rng.integers(2, 13, CANDIDATES)
    return net, models, images(net, SETTINGS[name]), rng.integers(0, 10, SETTINGS[name]), rows


def together(case) -> list[int]:
    """Count for all candidates with one evaluator."""
    from emoref.search import QuantizedEvaluator

    *arguments, rows = case
    return QuantizedEvaluator(*arguments).wrong_counts(rows).tolist()


def one_by_one(case) -> list[int]:
    """Quantise and evaluate each candidate by itself."""
    from emoref import compress, nn

    net, models, x, y, rows = case
    layers = compress.weighted_layers(net)
    counts = []
    for model, *bits in rows:
        chosen = dict(zip(layers, map(int, bits), strict=True))
        small = compress.quantize_network(net, models[model].params(net), chosen)
        counts.append(nn.evaluate(net, small.params(), x, y).wrong)
    return counts


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_quantised_population(benchmark, name, late):
    benchmark(together, setting(name, late))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default=",".join(SETTINGS))
    arguments = parser.parse_args()
    for name in arguments.networks.split(","):
        for late in (False, True):
            case, best = setting(name, late), {together: np.inf, one_by_one: np.inf}
            counts = [side(case) for side in best]
            assert counts[0] == counts[1], "shared work must not change a count"
            for _ in range(arguments.rounds):
                for side in best:
                    start = time.thread_time()
                    side(case)
                    best[side] = min(best[side], time.thread_time() - start)
            when, ratio = "late" if late else "early", best[one_by_one] / best[together]
            print(
                f"{name:14} {when:6} {1e3 * best[together] / CANDIDATES:8.1f} ms a candidate, {ratio:.2f} x"
            )


if __name__ == "__main__":
    main()
