"""Build the golden file from the reference back end.

Usage: ``python -m emoref.verify.make_golden OUT``. On one machine the same bytes every time; elsewhere the
last bits of a float64 may differ, as NumPy's ``exp`` and sums are not the same on every processor.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import EmorefError
from emoref.nn.builder import NetworkBuilder
from emoref.nn.config import TrainConfig
from emoref.nn.graph import Network
from emoref.seeding import generator
from emoref.verify.golden import Golden, GoldenCase, GoldenTraining, save_golden
from emoref.verify.operations import OPERATIONS
from emoref.verify.replay import replay
from emoref_kernels import load_backend

__all__ = ["build", "main"]

SEED = 0
STEPS = 10
BATCH = 6

Array = NDArray[Any]
Shape = tuple[int, ...]
# What a case is there for, its inputs and its other arguments.
Drawn = tuple[str, dict[str, Array], dict[str, Any]]


class _Source:
    """Draws the inputs of one operation; only uniform numbers, whose stream NumPy keeps stable."""

    def __init__(self, operation: str) -> None:
        self.rng = generator(SEED, f"verify.{operation}")

    def uniform(self, shape: Shape, low: float = -2.0, high: float = 2.0) -> Array:
        return (low + (high - low) * self.rng.random(shape)).astype(np.float32)

    def integers(self, shape: Shape, count: int) -> NDArray[np.int64]:
        """Return integers in 0..count-1."""
        return np.floor(self.rng.random(shape) * count).astype(np.int64)

    def with_ties(self, shape: Shape) -> Array:
        """Return one of -1, 0 and 1 at each place."""
        return (self.integers(shape, 3) - 1).astype(np.float32)


def _conv2d(s: _Source) -> Iterator[Drawn]:
    sizes: tuple[tuple[str, Shape, Shape, bool, dict[str, Any]], ...] = (
        ("3x3, padding keeps the size", (2, 3, 5, 7), (5, 3, 3, 3), True, {"padding": 1}),
        ("1x1", (3, 4, 3, 5), (7, 4, 1, 1), True, {}),
        ("5x5, stride 2, no bias", (2, 2, 9, 8), (3, 2, 5, 5), False, {"stride": 2, "padding": 2}),
        ("two groups", (1, 6, 6, 5), (4, 3, 3, 3), True, {"groups": 2}),
        ("depthwise", (2, 5, 5, 6), (5, 1, 3, 3), True, {"padding": 1, "groups": 5}),
        ("depthwise, two filters a channel", (1, 4, 7, 7), (8, 1, 3, 3), False, {"stride": 2, "groups": 4}),
        ("stride larger than the kernel", (2, 3, 7, 8), (5, 3, 2, 2), True, {"stride": 3}),
        (
            "sides that differ",
            (2, 2, 6, 7),
            (3, 2, 3, 2),
            True,
            {"stride": [2, 1], "padding": [1, 0]},
        ),
        ("the kernel covers the image", (3, 2, 3, 4), (6, 2, 3, 4), True, {}),
        ("more channels than vector lanes", (1, 17, 3, 4), (17, 17, 2, 2), True, {}),
        ("padding wider than the kernel", (1, 1, 3, 2), (2, 1, 2, 2), True, {"padding": 3}),
    )
    for about, x_shape, w_shape, has_bias, options in sizes:
        inputs = {"x": s.uniform(x_shape), "w": s.uniform(w_shape)}
        if has_bias:
            inputs["b"] = s.uniform(w_shape[:1])
        yield about, inputs, {"stride": 1, "padding": 0, "groups": 1, **options}


def _linear(s: _Source) -> Iterator[Drawn]:
    for about, batch, features, units, has_bias in (
        ("one number", 1, 1, 1, True),
        ("odd sizes, no bias", 3, 37, 5, False),
        ("larger", 17, 20, 10, True),
    ):
        inputs = {"x": s.uniform((batch, features)), "w": s.uniform((units, features))}
        if has_bias:
            inputs["b"] = s.uniform((units,))
        yield about, inputs, {}


def _batch_norm_train(s: _Source) -> Iterator[Drawn]:
    for about, shape, eps in (
        ("images", (3, 4, 3, 5), 1e-5),
        ("rows", (9, 6), 1e-5),
        ("a large eps", (2, 3, 4, 4), 0.5),
    ):
        channels = shape[1:2]
        vectors = {"gamma": s.uniform(channels), "beta": s.uniform(channels)}
        yield about, {"x": s.uniform(shape, -2.0, 4.0), **vectors}, {"eps": eps}


def _batch_norm(s: _Source) -> Iterator[Drawn]:
    for about, inputs, options in _batch_norm_train(s):
        channels = inputs["gamma"].shape
        statistics = {"mean": s.uniform(channels), "var": s.uniform(channels, 0.2, 2.0)}
        yield about, {**inputs, **statistics}, options


def _batch_norm_sum(s: _Source) -> Iterator[Drawn]:
    for about, shape, relu, two_ways in (
        ("a residual block's end, whose result goes two ways", (3, 4, 3, 5), True, True),
        ("read by one layer", (2, 5, 4, 3), True, False),
        ("rows, without ReLU", (9, 6), False, True),
    ):
        channels = shape[1:2]
        inputs = {"x": s.uniform(shape, -2.0, 4.0), "gamma": s.uniform(channels), "beta": s.uniform(channels)}
        inputs |= {name: s.uniform(shape) for name in ("shortcut", "dy", *(("more",) if two_ways else ()))}
        yield about, inputs, {"eps": 1e-5, "relu": relu}


def _pool(s: _Source, ties: bool) -> Iterator[Drawn]:
    for about, shape, kernel, stride, padding in (
        ("halves the size", (2, 2, 6, 4), 2, None, 0),
        ("odd sizes, the rest is cut off", (1, 2, 7, 9), 2, 2, 0),
        ("overlapping, padded", (1, 2, 7, 8), 3, 2, 1),
        ("stride larger than the kernel", (1, 2, 8, 7), 2, 3, 0),
        ("sides that differ", (1, 2, 7, 6), [3, 2], [1, 2], [1, 0]),
    ):
        yield about, {"x": s.uniform(shape)}, {"kernel": kernel, "stride": stride, "padding": padding}
    if ties:
        overlapping = {"kernel": 3, "stride": 1, "padding": 1}
        yield "equal values in a window: the first wins", {"x": s.with_ties((1, 2, 6, 7))}, overlapping


def _one_input(s: _Source) -> Iterator[Drawn]:
    yield "images", {"x": s.uniform((2, 3, 3, 5))}, {}
    yield "rows", {"x": s.uniform((4, 19))}, {}


def _relu(s: _Source) -> Iterator[Drawn]:
    yield from _one_input(s)
    yield "zeros: their gradient is 0", {"x": s.with_ties((1, 2, 4, 5))}, {}


def _add(s: _Source) -> Iterator[Drawn]:
    for about, inputs, _ in _one_input(s):
        yield about, {"a": inputs["x"], "b": s.uniform(inputs["x"].shape)}, {}


def _concat(s: _Source) -> Iterator[Drawn]:
    yield "images", {f"x{i}": s.uniform((2, count, 3, 5)) for i, count in enumerate((3, 1, 4))}, {}
    yield "rows", {f"x{i}": s.uniform((4, count)) for i, count in enumerate((7, 2))}, {}


def _dropout(s: _Source) -> Iterator[Drawn]:
    for about, shape, rate in (("images", (2, 3, 4, 5), 0.5), ("rows, a small rate", (5, 9), 0.1)):
        yield about, {"x": s.uniform(shape), "keep": s.rng.random(shape) >= rate}, {"rate": rate}


def _global_avg_pool2d(s: _Source) -> Iterator[Drawn]:
    yield "odd sizes", {"x": s.uniform((2, 3, 5, 3))}, {}
    yield "one pixel", {"x": s.uniform((2, 4, 1, 1))}, {}


def _softmax(s: _Source) -> Iterator[Drawn]:
    yield "ten classes", {"logits": s.uniform((6, 10))}, {}
    yield "large scores", {"logits": s.uniform((5, 3), -90.0, 90.0)}, {}


def _softmax_cross_entropy(s: _Source) -> Iterator[Drawn]:
    for smoothing in (0.0, 0.1):
        for about, inputs, _ in _softmax(s):
            count, classes = inputs["logits"].shape
            options = {"smoothing": smoothing}
            yield (
                f"{about}, smoothing {smoothing}",
                {**inputs, "labels": s.integers((count,), classes)},
                options,
            )


def _distillation_loss(s: _Source) -> Iterator[Drawn]:
    for temperature in (1.0, 4.0):
        logits = {name: s.uniform((6, 10), -5.0, 5.0) for name in ("logits", "teacher_logits")}
        yield f"temperature {temperature:g}", logits, {"temperature": temperature}


def _local_response_norm(s: _Source) -> Iterator[Drawn]:
    yield (
        "constants of AlexNet",
        {"x": s.uniform((2, 7, 2, 3))},
        {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0},
    )
    wide = {"size": 9, "alpha": 1.5, "beta": 0.5, "k": 1.0}
    yield "a window wider than the image is deep", {"x": s.uniform((2, 3, 3, 2))}, wide


def _sgd_update(s: _Source) -> Iterator[Drawn]:
    for about, momentum, weight_decay, nesterov in (
        ("plain", 0.0, 0.0, False),
        ("momentum and weight decay", 0.9, 5e-4, False),
        ("Nesterov", 0.9, 5e-4, True),
    ):
        options = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        yield about, {name: s.uniform((3, 7)) for name in ("param", "grad", "velocity")}, options


def _adam_update(s: _Source) -> Iterator[Drawn]:
    for about, step, weight_decay in (("first step", 1, 0.0), ("a later step, weight decay", 100, 0.01)):
        arrays = {name: s.uniform((3, 7)) for name in ("param", "grad", "m")}
        moments = {"v": s.uniform((3, 7), 0.01, 1.0)}
        options = {"step": step, "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        yield about, {**arrays, **moments}, {**options, "weight_decay": weight_decay}


def _objectives(s: _Source, count: int, dimensions: int, ties: bool = False) -> Array:
    values = s.integers((count, dimensions), 5) / 4 if ties else s.rng.random((count, dimensions))
    return values.astype(np.float64)


def _nondominated_ranks(s: _Source) -> Iterator[Drawn]:
    yield "two objectives", {"F": _objectives(s, 40, 2)}, {}
    yield "three objectives", {"F": _objectives(s, 40, 3)}, {}
    yield "five objectives", {"F": _objectives(s, 30, 5)}, {}
    yield "equal values and equal points", {"F": _objectives(s, 40, 2, ties=True)}, {}


def _crowding_distance(s: _Source) -> Iterator[Drawn]:
    for variant in ("paper", "deb-c"):
        yield f"three objectives, {variant}", {"F": _objectives(s, 15, 3)}, {"variant": variant}
        yield f"equal values, {variant}", {"F": _objectives(s, 15, 2, ties=True)}, {"variant": variant}


def _hypervolume(s: _Source) -> Iterator[Drawn]:
    for dimensions in (2, 3, 4, 5):
        ref = np.full(dimensions, 0.9)
        yield f"{dimensions} objectives", {"F": _objectives(s, 20, dimensions), "ref": ref}, {}


_DRAWS = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "batch_norm_train": _batch_norm_train,
    "batch_norm_sum": _batch_norm_sum,
    "relu": _relu,
    "tanh": _one_input,
    "add": _add,
    "concat": _concat,
    "dropout": _dropout,
    "local_response_norm": _local_response_norm,
    "max_pool2d": lambda s: _pool(s, ties=True),
    "avg_pool2d": lambda s: _pool(s, ties=False),
    "global_avg_pool2d": _global_avg_pool2d,
    "softmax": _softmax,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "distillation_loss": _distillation_loss,
    "sgd_update": _sgd_update,
    "adam_update": _adam_update,
    "nondominated_ranks": _nondominated_ranks,
    "crowding_distance": _crowding_distance,
    "hypervolume": _hypervolume,
}
# Operations that draw their gradient in the result themselves, have none, or do not start from one.
_WITHOUT_DY = {
    "batch_norm_sum",
    "add",
    "softmax",
    "softmax_cross_entropy",
    "distillation_loss",
    "sgd_update",
    "adam_update",
    "nondominated_ranks",
    "crowding_distance",
    "hypervolume",
}


def _with_dy(
    operation: str, s: _Source, inputs: dict[str, Array], options: dict[str, Any]
) -> dict[str, Array]:
    """Add a gradient in the result, of the result's shape."""
    if operation in _WITHOUT_DY:
        return inputs
    forward = {"concat": lambda k: k.concat(list(inputs.values()))}.get(
        operation, lambda k: getattr(k, operation)(**inputs, **options)
    )
    y = forward(load_backend("reference"))
    return {**inputs, "dy": s.uniform((y[0] if isinstance(y, tuple) else y).shape)}


def _cases() -> Iterator[GoldenCase]:
    reference = load_backend("reference")
    for operation in sorted(OPERATIONS):
        source = _Source(operation)
        for about, drawn, options in _DRAWS[operation](source):
            inputs = _with_dy(operation, source, drawn, options)
            unfinished = GoldenCase(operation, about, options, inputs, {})
            results = OPERATIONS[operation].run(reference, unfinished.inputs_as("float64"), options)
            yield GoldenCase(operation, about, options, inputs, results)


def _network() -> Network:
    b = NetworkBuilder("golden", (2, 6, 6))
    b.conv("conv1", 6, 3, padding=1, bias=False)
    b.batch_norm("norm1")
    b.relu("relu1")
    b.conv("conv2", 6, 3, stride=2, padding=1, groups=6, bias=False)
    b.batch_norm("norm2")
    b.relu("relu2")
    b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def _training() -> GoldenTraining:
    net, source = _network(), _Source("training")
    config = TrainConfig(epochs=1, batch_size=BATCH, lr=0.05, momentum=0.9, weight_decay=1e-3)
    images = source.uniform((STEPS, BATCH, *net.input_shape))
    labels = source.integers((STEPS, BATCH), net.classes)
    initial = net.init(SEED)
    final = {name: value.astype(np.float64) for name, value in initial.items()}
    backend = load_backend("reference")
    losses, norms = replay(net, config, images.astype(np.float64), labels, final, backend)
    about = "ten steps of SGD with momentum and weight decay on random images, batch norm in training mode"
    return GoldenTraining(about, net, config, images, labels, initial, losses, norms, final)


def build() -> Golden:
    """Draw all inputs and compute what the golden file holds.

    Returns
    -------
    Golden
        The same contents every time.
    """
    return Golden(tuple(_cases()), _training())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the builder from the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        OUT; by default that of the process.

    Returns
    -------
    int
        0, or 2 after a message on the standard error.
    """
    paths = sys.argv[1:] if arguments is None else list(arguments)
    if len(paths) != 1:
        sys.stderr.write("usage: python -m emoref.verify.make_golden OUT\n")
        return 2
    try:
        save_golden(paths[0], build())
    except EmorefError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{Path(paths[0]).stat().st_size:>9} bytes  {paths[0]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
