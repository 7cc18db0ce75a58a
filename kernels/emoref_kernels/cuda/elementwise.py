"""Operations that work value by value, and concatenation, on the device.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.elementwise`,
except that float64 raises DtypeError.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from emoref_kernels import layer_checks
from emoref_kernels.cuda.array import DeviceArray, empty, on_device, returned
from emoref_kernels.cuda.jit import THREADS, Kernel, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = [
    "add",
    "concat",
    "concat_grad",
    "dropout",
    "dropout_grad",
    "relu",
    "relu_grad",
    "tanh",
    "tanh_grad",
]

_ZERO = np.float32(0)
_ONE = np.float32(1)


@kernel("ffn")
def _relu(x, y, size):
    i = cuda.grid(1)
    if i < size:
        value = x[i]
        # Not a maximum: a NaN fails the comparison and goes through.
        if value <= _ZERO:
            value = _ZERO
        y[i] = value


@kernel("fffn")
def _relu_grad(dy, x, dx, size):
    i = cuda.grid(1)
    if i < size:
        value = dy[i]
        if x[i] <= _ZERO:
            value = _ZERO
        dx[i] = value


@kernel("ffn")
def _tanh(x, y, size):
    i = cuda.grid(1)
    if i < size:
        y[i] = math.tanh(x[i])


@kernel("fffn")
def _tanh_grad(dy, y, dx, size):
    i = cuda.grid(1)
    if i < size:
        dx[i] = dy[i] * (_ONE - y[i] * y[i])


@kernel("fffn")
def _add(a, b, y, size):
    i = cuda.grid(1)
    if i < size:
        y[i] = a[i] + b[i]


@kernel("fbsfn")
def _scale_kept(x, keep, scale, y, size):
    i = cuda.grid(1)
    if i < size:
        # A product, not a choice, so that a dropped NaN stays NaN.
        factor = _ZERO
        if keep[i]:
            factor = scale
        y[i] = x[i] * factor


@kernel("ffnnnnn")
def _copy_rows(source, target, rows, length, source_row, target_row, offsets):
    # Row r of `length` values, from source_row apart to target_row apart; `offsets` holds both starts.
    i = cuda.grid(1)
    if i < rows * length:
        row, column = i // length, i % length
        target[row * target_row + (offsets & 0xFFFFFFFF) + column] = source[
            row * source_row + (offsets >> 32) + column
        ]


def _by_value(launch: Kernel, result: DeviceArray, *values: Any) -> DeviceArray:
    """Launch a kernel that has one thread a value."""
    launch(-(-result.size // THREADS), THREADS, *values, result, result.size)
    return result


def relu(x: Any) -> Any:
    """Cut negative values off; see `emoref_kernels.reference.relu`."""
    layer_checks.check_same_shape({"x": x}, float64=False)
    return returned(_by_value(_relu, empty(x.shape), on_device(x)), x)


def relu_grad(dy: Any, x: Any) -> Any:
    """Return the gradient of ``relu``; see `emoref_kernels.reference.relu_grad`."""
    layer_checks.check_same_shape({"dy": dy, "x": x}, float64=False)
    return returned(_by_value(_relu_grad, empty(x.shape), on_device(dy), on_device(x)), dy, x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent; see `emoref_kernels.reference.tanh`."""
    layer_checks.check_same_shape({"x": x}, float64=False)
    return returned(_by_value(_tanh, empty(x.shape), on_device(x)), x)


def tanh_grad(dy: Any, y: Any) -> Any:
    """Return the gradient of ``tanh``; see `emoref_kernels.reference.tanh_grad`."""
    layer_checks.check_same_shape({"dy": dy, "y": y}, float64=False)
    return returned(_by_value(_tanh_grad, empty(y.shape), on_device(dy), on_device(y)), dy, y)


def add(a: Any, b: Any) -> Any:
    """Add two arrays of one shape; see `emoref_kernels.reference.add`."""
    layer_checks.check_same_shape({"a": a, "b": b}, float64=False)
    return returned(_by_value(_add, empty(a.shape), on_device(a), on_device(b)), a, b)


def _copy(
    source: DeviceArray, target: DeviceArray, lengths: tuple[int, int], starts: tuple[int, int], length: int
) -> None:
    rows = source.shape[0]
    _copy_rows(
        -(-rows * length // THREADS),
        THREADS,
        source,
        target,
        rows,
        length,
        *lengths,
        starts[0] << 32 | starts[1],
    )


def concat(arrays: Sequence[Any]) -> Any:
    """Join arrays along the channels; see `emoref_kernels.reference.concat`."""
    layer_checks.check_concat(arrays, float64=False)
    plane = math.prod(arrays[0].shape[2:])
    channels = sum(array.shape[1] for array in arrays)
    y = empty((arrays[0].shape[0], channels, *arrays[0].shape[2:]))
    start = 0
    for array in arrays:
        length = array.shape[1] * plane
        _copy(on_device(array), y, (length, channels * plane), (0, start), length)
        start += length
    return returned(y, *arrays)


def concat_grad(dy: Any, channels: Sequence[int]) -> list[Any]:
    """Return the gradients of ``concat``; see `emoref_kernels.reference.concat_grad`."""
    layer_checks.check_concat_grad(dy, channels, float64=False)
    plane = math.prod(dy.shape[2:])
    source, start, parts = on_device(dy), 0, []
    for count in channels:
        part = empty((dy.shape[0], int(count), *dy.shape[2:]))
        length = int(count) * plane
        _copy(source, part, (dy.shape[1] * plane, length), (start, 0), length)
        parts.append(returned(part, dy))
        start += length
    return parts


def dropout(x: Any, keep: Any, rate: float) -> Any:
    """Drop values and scale the others up; see `emoref_kernels.reference.dropout`."""
    scale = layer_checks.check_dropout("x", x, keep, rate, float64=False)
    return returned(_by_value(_scale_kept, empty(x.shape), on_device(x), on_device(keep), scale), x)


def dropout_grad(dy: Any, keep: Any, rate: float) -> Any:
    """Return the gradient of ``dropout``; see `emoref_kernels.reference.dropout_grad`."""
    scale = layer_checks.check_dropout("dy", dy, keep, rate, float64=False)
    return returned(_by_value(_scale_kept, empty(dy.shape), on_device(dy), on_device(keep), scale), dy)
