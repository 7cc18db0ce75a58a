"""Counts of a search in the modes "fast" and "exact" of the cpu back end."""

import numpy as np

from emoref.nn import NetworkBuilder
from emoref.search import FilterGenome, PopulationEvaluator
from emoref_kernels import load_backend


def wide():
    b = NetworkBuilder("wide", (3, 16, 16))
    for index, filters in enumerate((32, 48, 40), start=1):
        b.conv(f"c{index}", filters, 3, padding=1)
        b.relu(f"r{index}")
    b.max_pool("p", 4)
    b.flatten("flat")
    b.linear("f", 6)
    return b.build()


def test_both_modes_count_alike():
    net = wide()
    params = net.init(1)
    rng = np.random.default_rng(2)
    images = rng.standard_normal((40, 3, 16, 16), dtype=np.float32)
    labels = rng.integers(0, 6, 40)
    genome = FilterGenome(net)
    masks = genome.random(np.full(6, 0.8), rng)
    masks[0] = True
    x = rng.standard_normal((2, 32, 16, 16), dtype=np.float32)
    counts, maps = [], []
    for name in ("cpu", "cpu:exact"):
        evaluator = PopulationEvaluator(net, params, images, labels, genome, name)
        counts.append(evaluator.wrong_counts(masks).tolist())
        maps.append(load_backend(name).conv2d(x, params["c2.weight"], None, 1, 1))
    assert counts[0] == counts[1]
    assert not np.array_equal(*maps), "the modes must compute differently for this to mean anything"
