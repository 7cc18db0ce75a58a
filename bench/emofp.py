"""A search of EMOFP beside the same search with PyTorch as its evaluator.

``python -m bench.emofp --threads 2 --rounds 1`` prints the ratio, each side timed in its own processes;
``pytest bench/emofp.py`` times emoref's side. Both sides run emoref's NSGA-II with the same seed on LeNet,
trained for one epoch on the embedded images, and see the same candidates: the peer slims each new candidate
and lets PyTorch classify the images, in the layout named. Training is not part of the time.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from bench.models import torch_model
from bench.peer import compare

SIDES = ("emoref", "torch", "torch channels-last")
POPULATION, GENERATIONS, IMAGES, BATCH = 40, 20, 1000, 250
NAME = f"EMOFP on LeNet, {POPULATION} x {GENERATIONS} candidates, {IMAGES} images"

Case = tuple[str, Callable[[], object]]


class TorchEvaluator:
    """Counts wrong predictions of slimmed candidates with PyTorch, each genome once."""

    def __init__(self, net: Any, params: Any, images: Any, labels: Any, layout: Any, form: Any) -> None:
        import torch

        self.network = (net, params, layout)
        self.form = form
        self.images = torch.from_numpy(images).contiguous(memory_format=form).split(BATCH)
        self.labels = torch.from_numpy(np.array(labels)).split(BATCH)
        self.seen: dict[bytes, int] = {}

    def wrong_counts(self, genomes: Any) -> np.ndarray:
        """Return the wrong predictions of each genome."""
        for row in genomes:
            if row.tobytes() not in self.seen:
                self.seen[row.tobytes()] = self._count(row)
        return np.array([self.seen[row.tobytes()] for row in genomes])

    def _count(self, row: Any) -> int:
        import torch

        from emoref.compress import slim

        net, params, layout = self.network
        model = torch_model(*slim(net, params, layout.masks(row))).to(memory_format=self.form)
        with torch.inference_mode():
            parts = zip(self.images, self.labels, strict=True)
            return sum(int((model(x).argmax(1) != y).sum()) for x, y in parts)


def prepared() -> tuple[Any, ...]:
    """Return configuration, network, parameters and images: LeNet after one epoch on Fashion-MNIST."""
    from emoref import networks, nn
    from emoref.systems import steps
    from emoref.systems.one_shot import OneShotConfig

    settings = {
        "data": {"name": "fashion-mnist-small", "validation": IMAGES},
        "base": {"train": {"epochs": 1, "lr": 0.03}},
        "search": {"population": POPULATION, "generations": GENERATIONS, "images": IMAGES},
    }
    config = OneShotConfig.model_validate(settings)
    splits = steps.load_splits(config)
    shape, classes = splits.train.images.shape[1:], len(splits.train.classes)
    net = networks.build(config.base.network, input_shape=tuple(shape), classes=classes)
    params = net.init(1)
    nn.fit(net, params, splits.train, config.base.train.to_train_config(), seed=1)
    return config, net, params, splits


def cases(side: str) -> Iterator[Case]:
    """Yield the search with the evaluator of one side; each call starts anew, with nothing cached."""
    from emoref import emo
    from emoref.systems import steps
    from emoref.systems.one_shot import FilterPruningProblem

    config, net, params, splits = prepared()

    def run() -> object:
        problem = FilterPruningProblem(net, params, splits, config)
        if side != "emoref":
            import torch

            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
            form = torch.channels_last if side.endswith("channels-last") else torch.contiguous_format
            images, labels = steps.fitness_images(splits, IMAGES, config.seed)
            problem.evaluator = TorchEvaluator(net, params, images, labels, problem.genome, form)
        algorithm = emo.NSGA2(
            problem,
            population_size=POPULATION,
            seed=1,
            sampling=emo.RatioLadder(*config.search.initial_ratio),
            crossover=emo.UniformCrossover(config.search.crossover_probability),
            mutation=emo.BitFlip(),
        )
        return algorithm.run(GENERATIONS)

    yield NAME, run


def test_search(benchmark):
    benchmark.pedantic(dict(cases("emoref"))[NAME], rounds=1, warmup_rounds=1)


def test_the_peer_counts_the_same():
    pytest.importorskip("torch")
    ours, theirs = (dict(cases(side))[NAME]() for side in SIDES[:2])
    np.testing.assert_allclose(ours.F, theirs.F, atol=2 / IMAGES)


def seconds(call: Callable[[], object]) -> float:
    """Return the wall time of one call, after one that compiles and warms up."""
    call()
    begin = perf_counter()
    call()
    return perf_counter() - begin


def main() -> None:
    """Print the ratio, or the time of one side as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="time this side and print its seconds as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({name: seconds(call) for name, call in cases(arguments.side)}))
        return
    times = compare("bench.emofp", SIDES, arguments.threads, arguments.rounds)
    ours, best = times["emoref"][NAME], min(times[side][NAME] for side in SIDES[1:])
    print(f"{arguments.threads} threads; ratio = best time of PyTorch / time of emoref")
    print(f"{NAME}: {ours:.2f} s, {best:.2f} s, {best / ours:.1f}")


if __name__ == "__main__":
    main()
