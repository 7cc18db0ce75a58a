"""Whole training steps (forward, backward, SGD with momentum) and inference beside PyTorch.

``python bench/training.py`` prints a table of ratios, each side timed in its own processes;
``pytest bench/training.py`` times emoref's side with pytest-benchmark.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.models import build, torch_model
from bench.peer import compare, median_seconds
from emoref.nn import Network, NetworkBuilder

SIDES = ("emoref", "torch", "torch channels-last")
COLOUR = (64, (3, 32, 32))
BATCH = {
    "LeNet": (64, (1, 28, 28)),
    "VGG block": (64, (64, 32, 32)),
    "vgg16": COLOUR,
    "resnet56": COLOUR,
    "mobilenet-v1": COLOUR,
}
"""Images and their shape. What bench/inference.py times as well has its name in lower case."""
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4

Case = tuple[str, Callable[[], object]]


def _network(name: str) -> Network:
    from emoref import networks

    if name == "LeNet":
        return networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    if name != "VGG block":
        return build(name)
    b = NetworkBuilder("vgg-block", (64, 32, 32))
    for i in (1, 2):
        b.conv(f"conv{i}", 64, 3, padding=1, bias=False)
        b.batch_norm(f"bn{i}")
        b.relu(f"relu{i}")
    b.max_pool("pool", 2)
    b.global_avg_pool("mean")
    b.linear("fc", 10)
    return b.build()


def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images, shape = BATCH[name]
    return rng.standard_normal((images, *shape)).astype(np.float32), rng.integers(0, 10, images)


def emoref_cases() -> Iterator[Case]:
    """Yield step and inference of each network in emoref."""
    from emoref import nn
    from emoref_kernels import load_backend

    for name in BATCH:
        net, (x, y) = _network(name), _data(name)
        params = net.init(0)
        config = nn.TrainConfig(lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        optimizer, backend = nn.make_optimizer(net, params, config), load_backend("cpu")

        def step(net=net, params=params, optimizer=optimizer, backend=backend, x=x, y=y):
            result = nn.loss_and_gradients(net, params, x, y, backend=backend)
            params.update(result.buffer_updates)
            optimizer.step(backend, params, result.grads, LR)

        yield f"{name} training step", step
        if not name.islower():
            yield f"{name} inference", lambda net=net, params=params, x=x: nn.predict(net, params, x)


def torch_cases(channels_last: bool) -> Iterator[Case]:
    """Yield the same of PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    models = {
        "LeNet": nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        ),
        "VGG block": nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        ),
        **{name: torch_model(_network(name), _network(name).init(0)) for name in BATCH if name.islower()},
    }  # fmt: skip
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for name, model in models.items():
        images, labels = _data(name)
        x, y = torch.from_numpy(images).contiguous(memory_format=layout), torch.from_numpy(labels)
        model = model.to(memory_format=layout)
        frozen = None
        if not name.islower():
            frozen = torch.jit.optimize_for_inference(torch.jit.trace(model.eval(), x))
        optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY)

        def step(model=model, optimizer=optimizer, x=x, y=y):
            model.train()
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        def infer(frozen=frozen, x=x):
            with torch.inference_mode():
                return frozen(x)

        yield f"{name} training step", step
        if frozen is not None:
            yield f"{name} inference", infer


def cases(side: str) -> Iterator[Case]:
    """Yield the cases of one side of :data:`SIDES`."""
    return emoref_cases() if side == "emoref" else torch_cases(side.endswith("channels-last"))


@pytest.mark.parametrize("name", BATCH)
def test_training_step(benchmark, name):
    benchmark(dict(emoref_cases())[f"{name} training step"])


@pytest.mark.parametrize("name", ["LeNet", "VGG block"])
def test_inference(benchmark, name):
    benchmark(dict(emoref_cases())[f"{name} inference"])


def main() -> None:
    """Print the table, or the times of one side as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="time this side and print its seconds as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({name: median_seconds(call, seconds=1.0) for name, call in cases(arguments.side)}))
        return
    times = compare("bench.training", SIDES, arguments.threads, arguments.rounds)
    print(f"{arguments.threads} threads, batch 64; ratio = best time of PyTorch / time of emoref")
    for name, ours in times["emoref"].items():
        best = min(times[side][name] for side in SIDES[1:])
        print(f"{name:26}{ours * 1e3:10.2f} ms{best * 1e3:10.2f} ms{best / ours:8.2f}")


if __name__ == "__main__":
    main()
