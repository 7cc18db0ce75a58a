"""Threads against worker processes for one population, and what a task costs.

``python -m bench.scaling`` prints the table and the figures that docs/scaling.md puts into its model.
"""

import argparse
import os
from statistics import median
from time import perf_counter
from typing import Any

import numba
import numpy as np

from emoref import networks
from emoref.search import FilterGenome, PopulationEvaluator, WorkerEvaluator, process_pool

CANDIDATES, IMAGES = 50, 1000
SHAPES = {"lenet": (1, 28, 28), "conv4": (1, 28, 28), "vgg16": (3, 32, 32)}


def _case(name: str) -> tuple[Any, FilterGenome]:
    rng = np.random.default_rng(0)
    net = networks.build(name, input_shape=SHAPES[name], classes=10)
    layout = FilterGenome(net)
    images = rng.standard_normal((IMAGES, *SHAPES[name])).astype(np.float32)
    return (net, net.init(0), images, rng.integers(0, 10, IMAGES), layout), layout


def _genomes(layout: FilterGenome, count: int, seed: int) -> np.ndarray:
    """Return genomes that were not there before: 30 to 70 % of the filters of each layer."""
    rng = np.random.default_rng(seed)
    genomes = rng.random((count, layout.n_bits)) < rng.uniform(0.3, 0.7, (count, 1))
    genomes[:, layout.offsets] = True
    return genomes


def _seconds(evaluator: Any, layout: FilterGenome, count: int, rounds: int) -> float:
    evaluator.wrong_counts(_genomes(layout, count, 1000))
    times = []
    for seed in range(rounds):
        genomes = _genomes(layout, count, seed)
        begin = perf_counter()
        evaluator.wrong_counts(genomes)
        times.append(perf_counter() - begin)
    return median(times)


def measure(name: str, rounds: int) -> None:
    """Print the row of one network."""
    arguments, layout = _case(name)
    row = {}
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        row[f"{threads} threads"] = _seconds(PopulationEvaluator(*arguments), layout, CANDIDATES, rounds)
    numba.set_num_threads(1)
    single = PopulationEvaluator(*arguments)
    one, fifty = (_seconds(single, layout, count, rounds) for count in (1, CANDIDATES))
    candidate_s = (fifty - one) / (CANDIDATES - 1)
    for workers in (1, 2):
        with WorkerEvaluator(
            *arguments, make_executor=lambda n=workers: process_pool(n), workers=workers
        ) as many:
            row[f"{workers} workers"] = _seconds(many, layout, CANDIDATES, rounds)
    task_s = max(0.0, row["1 workers"] - row["1 threads"])
    times = "  ".join(f"{what} {seconds:.3f} s" for what, seconds in row.items())
    print(
        f"{name:8}{times}  candidate_s {candidate_s:.4f}  stem_s {one - candidate_s:.4f}  task_s {task_s:.4f}"
    )


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", default=["lenet", "conv4"], choices=list(SHAPES))
    arguments = parser.parse_args()
    print(f"{CANDIDATES} candidates, {IMAGES} images, {os.cpu_count()} cores")
    for name in arguments.networks:
        measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
