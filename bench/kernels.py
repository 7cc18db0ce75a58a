"""Convolution and linear layers beside PyTorch.

``python bench/kernels.py`` prints a table of ratios, each side timed in its own processes;
``pytest bench/kernels.py`` times emoref's side with pytest-benchmark.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from bench.peer import compare, median_seconds

SIDES = (
    "emoref", "emoref exact", "emoref channels-last", "emoref channels-last exact", "torch",
    "torch channels-last", "torch from plain arrays",
)  # fmt: skip
"""PyTorch gets images in the layout it computes in, except for the last side: that one converts plain arrays
to channels-last and its result back within the measured call."""


class Convolution(NamedTuple):
    """One square layer: images, channels, map, filters, kernel, stride, padding, groups."""

    images: int
    channels: int
    size: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass."""
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return self.images * self.filters * out**2 * self.channels // self.groups * self.kernel**2


class Linear(NamedTuple):
    """One linear layer: batch, inputs, units."""

    batch: int
    inputs: int
    units: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass."""
        return self.batch * self.inputs * self.units


LAYERS: dict[str, Convolution | Linear] = {
    "LeNet conv1": Convolution(64, 1, 28, 20, 5),
    "LeNet conv2": Convolution(64, 20, 12, 50, 5),
    "LeNet fc1": Linear(64, 800, 500),
    "LeNet fc2": Linear(64, 500, 10),
    "VGG 3-64 @32": Convolution(64, 3, 32, 64, 3, 1, 1),
    "VGG 64-64 @32": Convolution(64, 64, 32, 64, 3, 1, 1),
    "VGG 128-128 @16": Convolution(64, 128, 16, 128, 3, 1, 1),
    "VGG 256-256 @8": Convolution(64, 256, 8, 256, 3, 1, 1),
    "VGG 512-512 @4": Convolution(64, 512, 4, 512, 3, 1, 1),
    "VGG 512-512 @2": Convolution(64, 512, 2, 512, 3, 1, 1),
    "ResNet 3-16 @32": Convolution(64, 3, 32, 16, 3, 1, 1),
    "ResNet 16-16 @32": Convolution(64, 16, 32, 16, 3, 1, 1),
    "ResNet 16-32 @32 s2": Convolution(64, 16, 32, 32, 3, 2, 1),
    "ResNet 32-32 @16": Convolution(64, 32, 16, 32, 3, 1, 1),
    "ResNet 32-64 @16 s2": Convolution(64, 32, 16, 64, 3, 2, 1),
    "ResNet 64-64 @8": Convolution(64, 64, 8, 64, 3, 1, 1),
    "1x1 16-32 @32 s2": Convolution(64, 16, 32, 32, 1, 2, 0),
    "1x1 32-64 @16 s2": Convolution(64, 32, 16, 64, 1, 2, 0),
    "1x1 64-128 @16": Convolution(64, 64, 16, 128, 1),
    "1x1 256-256 @8": Convolution(64, 256, 8, 256, 1),
    "depthwise 64 @16": Convolution(64, 64, 16, 64, 3, 1, 1, 64),
    "depthwise 64 @32 s2": Convolution(64, 64, 32, 64, 3, 2, 1, 64),
    "depthwise 256 @8": Convolution(64, 256, 8, 256, 3, 1, 1, 256),
}
PASSES = ("forward", "input grad", "weight grad")

Case = tuple[str, Callable[[], object]]


def _arrays(layer: Convolution | Linear) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    if isinstance(layer, Linear):
        shapes: tuple[tuple[int, ...], ...] = ((layer.batch, layer.inputs), (layer.units, layer.inputs))
    else:
        n, c, size, filters, kernel, _, _, groups = layer
        shapes = ((n, c, size, size), (filters, c // groups, kernel, kernel))
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, w


def emoref_cases(
    names: Iterable[str] = tuple(LAYERS), mode: str = "fast", layout: str = "planes"
) -> Iterator[Case]:
    """Yield each pass of the layers named as a call of the kernels, on arrays of one layout."""
    from emoref_kernels import load_backend
    from emoref_kernels.cpu.maps import as_maps

    k = load_backend("cpu", mode, layout)
    for name in names:
        layer = LAYERS[name]
        x, w = _arrays(layer)
        if layout == "channels-last" and x.ndim == 4:
            x = as_maps(x)
        if isinstance(layer, Linear):
            dy = k.linear(x, w)
            yield f"{name} forward", lambda x=x, w=w: k.linear(x, w)
            yield f"{name} input grad", lambda dy=dy, w=w: k.linear_input_grad(dy, w)
            yield f"{name} weight grad", lambda dy=dy, x=x: k.linear_weight_grad(dy, x)
        else:
            how = layer[5:]
            dy = k.conv2d(x, w, None, *how)
            yield f"{name} forward", lambda x=x, w=w, how=how: k.conv2d(x, w, None, *how)
            yield (
                f"{name} input grad",
                lambda x=x, w=w, dy=dy, how=how: k.conv2d_input_grad(dy, w, x.shape, *how),
            )
            yield (
                f"{name} weight grad",
                lambda x=x, w=w, dy=dy, how=how: k.conv2d_weight_grad(dy, x, w.shape, *how),
            )


def torch_cases(channels_last: bool, converting: bool = False) -> Iterator[Case]:
    """Yield each pass of each layer as a call of PyTorch.

    A call that is `converting` gets plain arrays (N, C, H, W), computes on channels-last copies of them, and
    returns a plain array; its weights are channels-last already. Linear layers have no layout to convert.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_grad_enabled(False)
    for name, layer in LAYERS.items():
        x, w = (torch.from_numpy(array) for array in _arrays(layer))
        if isinstance(layer, Linear):
            dy = torch.nn.functional.linear(x, w)
            yield f"{name} forward", lambda x=x, w=w: torch.nn.functional.linear(x, w)
            yield f"{name} input grad", lambda dy=dy, w=w: dy @ w
            yield f"{name} weight grad", lambda dy=dy, x=x: dy.T @ x
            continue
        if converting:
            yield from _converting_cases(name, layer, x, w)
            continue
        if channels_last:
            x, w = (array.contiguous(memory_format=torch.channels_last) for array in (x, w))
        stride, padding, groups = [layer.stride] * 2, [layer.padding] * 2, layer.groups

        def forward(x=x, w=w, stride=stride, padding=padding, groups=groups):
            return torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups)

        dy = forward()

        def backward(wanted, x=x, w=w, dy=dy, stride=stride, padding=padding, groups=groups):
            return torch.ops.aten.convolution_backward(
                dy, x, w, [0], stride, padding, [1, 1], False, [0, 0], groups, wanted
            )

        yield f"{name} forward", forward
        yield f"{name} input grad", lambda backward=backward: backward([True, False, False])
        yield f"{name} weight grad", lambda backward=backward: backward([False, True, False])


def _converting_cases(name: str, layer: Convolution, x: Any, w: Any) -> Iterator[Case]:
    """Yield the passes of one layer from plain arrays to plain arrays by way of channels-last ones."""
    import torch

    def last(array: Any) -> Any:
        return array.contiguous(memory_format=torch.channels_last)

    stride, padding, groups = [layer.stride] * 2, [layer.padding] * 2, layer.groups
    w = last(w)

    def forward() -> Any:
        return torch.nn.functional.conv2d(last(x), w, None, stride, padding, 1, groups).contiguous()

    def backward(dy: Any, x: Any, wanted: list[bool]) -> tuple[Any, ...]:
        return torch.ops.aten.convolution_backward(
            last(dy), x, w, [0], stride, padding, [1, 1], False, [0, 0], groups, wanted
        )

    # The gradient of the images does not read them.
    dy, shaped = forward(), last(x)
    yield f"{name} forward", forward
    yield f"{name} input grad", lambda: backward(dy, shaped, [True, False, False])[0].contiguous()
    yield f"{name} weight grad", lambda: backward(dy, last(x), [False, True, False])[1].contiguous()


def cases(side: str) -> Iterator[Case]:
    """Yield the cases of one side of :data:`SIDES`."""
    if side.startswith("torch"):
        return torch_cases(side.endswith("channels-last"), converting=side == SIDES[-1])
    layout = "channels-last" if "channels-last" in side else "planes"
    return emoref_cases(mode="exact" if side.endswith("exact") else "fast", layout=layout)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("layer", LAYERS)
def test_layer(benchmark, layer, which):
    benchmark(dict(emoref_cases([layer]))[f"{layer} {which}"])


def main() -> None:
    """Print the table, or the times of one side as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="time this side and print its seconds as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({name: median_seconds(call) for name, call in cases(arguments.side)}))
        return
    times = compare("bench.kernels", SIDES, arguments.threads, arguments.rounds)
    print(f"{arguments.threads} threads; ratio = best time of PyTorch / time of emoref, planes and maps;")
    print("the third: planes to planes on both sides, PyTorch converting or not, whichever is faster")
    print(f"{'':32}{'planes ms':>11}{'maps ms':>9}{'GFLOP/s':>9}{'torch ms':>11}{'ratios':>18}")
    for layer_name, layer in LAYERS.items():
        for which in PASSES:
            name = f"{layer_name} {which}"
            ours, maps = times["emoref"][name], times["emoref channels-last"][name]
            plain, best = (
                min(times[side][name] for side in sides) for sides in (("torch", SIDES[-1]), SIDES[4:6])
            )
            rate = 2 * layer.macs / maps / 1e9
            print(
                f"{name:32}{ours * 1e3:11.3f}{maps * 1e3:9.3f}{rate:9.0f}{best * 1e3:11.3f}"
                f"{best / ours:6.2f}{best / maps:6.2f}{plain / ours:6.2f}"
            )


if __name__ == "__main__":
    main()
