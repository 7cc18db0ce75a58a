"""Inference of whole networks beside PyTorch: NCHW images in, logits out.

``python -m bench.inference --threads 2 --rounds 3`` prints a table of ratios, each side timed in its own
processes; ``pytest bench/inference.py`` times emoref's side with pytest-benchmark. PyTorch is measured as
it is, with channels last, and frozen (batch norm folded, weights packed) in both layouts.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.models import build, images, small_network, torch_model
from bench.peer import compare, median_seconds

SIDES = (
    "emoref",
    "emoref exact",
    "torch",
    "torch channels-last",
    "torch frozen",
    "torch frozen channels-last",
)
IMAGES = {"lenet": 256, "vgg16": 64, "resnet56": 64, "mobilenet-v1": 64}

Case = tuple[str, Callable[[], object]]


def emoref_cases(mode: str, names: Iterator[str] | tuple[str, ...] = tuple(IMAGES)) -> Iterator[Case]:
    """Yield the inference of each network as a call of emoref."""
    from emoref.nn.fused import compile_plan
    from emoref_kernels import load_backend

    for name in names:
        net = build(name)
        out, x = net.output.name, images(net, IMAGES[name])
        plan = compile_plan(net, net.init(0), ["input"], [out], load_backend("cpu", mode))
        yield name, lambda plan=plan, x=x: plan({"input": x})


def torch_cases(side: str) -> Iterator[Case]:
    """Yield the same as a call of PyTorch; a change of layout, where there is one, is part of the call."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    layout = torch.channels_last if side.endswith("channels-last") else torch.contiguous_format
    for name, count in IMAGES.items():
        net = build(name)
        x = torch.from_numpy(images(net, count))
        model = torch_model(net, net.init(0)).to(memory_format=layout)
        if "frozen" in side:
            with torch.inference_mode():
                example = x.contiguous(memory_format=layout)
                model = torch.jit.optimize_for_inference(torch.jit.trace(model, example))

        def run(model=model, x=x):
            with torch.inference_mode():
                return model(x.contiguous(memory_format=layout))

        yield name, run


def cases(side: str) -> Iterator[Case]:
    """Yield the cases of one side of :data:`SIDES`."""
    if side.startswith("torch"):
        return torch_cases(side)
    return emoref_cases("exact" if side.endswith("exact") else "fast")


@pytest.mark.parametrize("name", IMAGES)
def test_inference(benchmark, name):
    benchmark(dict(emoref_cases("fast", (name,)))[name])


def test_the_peer_computes_the_same():
    torch = pytest.importorskip("torch")
    from emoref import nn

    net = small_network()
    params, x = net.init(1), images(net, 3)
    with torch.inference_mode():
        found = torch_model(net, params)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(nn.predict(net, params, x), found, rtol=1e-4, atol=1e-5)


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
    times = compare("bench.inference", SIDES, arguments.threads, arguments.rounds)
    print(f"{arguments.threads} threads; ratio = best time of PyTorch / time of emoref")
    heads = f"{'emoref':>10}{'exact':>10}{'PyTorch':>10}  {'its best form':27}{'ratio':>6}{'exact':>7}"
    print(f"{'':14}{'images':>7}{heads}")
    for name, count in IMAGES.items():
        best = min(SIDES[2:], key=lambda side: times[side][name])
        fast, exact, peer = (1e3 * times[side][name] for side in ("emoref", "emoref exact", best))
        print(
            f"{name:14}{count:7}{fast:7.1f} ms{exact:7.1f} ms{peer:7.1f} ms  {best:27}"
            f"{peer / fast:6.2f}{peer / exact:7.2f}"
        )


if __name__ == "__main__":
    main()
