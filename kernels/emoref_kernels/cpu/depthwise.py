"""Depthwise convolution with 3 x 3 filters at stride 1 or 2: every channel has a filter of its own.

There is nothing to multiply as matrices here; nine multiply-adds a pixel are done where the pixels lie. A
plane is copied between zeros into scratch memory with rows of P floats. There, the pixels under tap (r, s)
of *all* positions are one run, shifted by r P + s, so that the result of a whole plane is one vector loop;
the few values that fall between two rows are dropped when the rows are copied to their place.

* Stride 2 computes each wanted row at stride 1 and keeps every other value.
* The gradient of the input is the same with the filter turned by 180 degrees, over the output's gradient
  padded with zeros; at stride 2 there are zeros between its values too.
* The gradient of the filter is nine inner products of the same two kinds of runs.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.depthwise_strips import strip_kind, strips_conv, strips_weight_grad
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_run, add_strided, copy_run, sum_run
from emoref_kernels.cpu.simd import INTERPRETED, LANES, broadcast, fma, integer, multiply_add

__all__ = ["LOOPS", "depthwise_planes", "depthwise_weight_grad", "dots_run", "even_run", "stencil_run"]

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FLOATS = types.Array(types.float32, 1, "C")


_SUMMED_IMAGES = 8
"""Images whose gradients are added in single precision."""

_CHANNELS = 16
"""Channels that are summed together, so that the planes of an image are read one after the other."""


# ------------------------------------------------------------------------------------------ vector loops


def _place(context: Any, builder: Any, signature: Any, args: Any, position: int) -> Any:
    array = context.make_array(signature.args[position])(context, builder, args[position])
    return builder.gep(array.data, [args[position + 1]])


def _load(builder: Any, pointer: Any) -> Any:
    return builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)


def _tap_places(builder: Any, x: Any, row: Any) -> list[Any]:
    """Return the pointers to the first values under the nine taps."""
    places = []
    for _ in range(3):
        places += [builder.gep(x, [integer(s)]) for s in range(3)]
        x = builder.gep(x, [row])
    return places


@intrinsic
def _stencil_run(typingctx, out, out_start, x, x_start, x_row, w, w_start, w_step, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (_place(context, builder, signature, args, position) for position in (0, 2))
        place = _place(context, builder, signature, args, 5)
        factors = []
        for _ in range(9):
            factors.append(broadcast(builder, builder.load(place), LANES))
            place = builder.gep(place, [args[7]])
        places = _tap_places(builder, source, args[4])
        step = integer(LANES)
        with cgutils.for_range_slice(builder, integer(0), args[8], step) as (index, _):
            total = ir.Constant(_VECTOR, [0.0] * LANES)
            for factor, tap in zip(factors, places, strict=True):
                total = multiply_add(builder, factor, _load(builder, builder.gep(tap, [index])), total)
            pointer = builder.bitcast(builder.gep(target, [index]), _VECTOR.as_pointer())
            builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    number = types.int64
    signature = types.void(_FLOATS, number, _FLOATS, number, number, _FLOATS, number, number, number)
    return signature, emit


@intrinsic
def _dots_run(typingctx, sums, sums_start, dy, dy_start, x, x_start, x_row, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, gradient, source = (_place(context, builder, signature, args, i) for i in (0, 2, 4))
        places = _tap_places(builder, source, args[6])
        kept = [builder.gep(totals, [integer(t * LANES)]) for t in range(9)]
        slots = [cgutils.alloca_once_value(builder, _load(builder, pointer)) for pointer in kept]
        step = integer(LANES)
        with cgutils.for_range_slice(builder, integer(0), args[7], step) as (index, _):
            value = _load(builder, builder.gep(gradient, [index]))
            for slot, tap in zip(slots, places, strict=True):
                pixels = _load(builder, builder.gep(tap, [index]))
                builder.store(multiply_add(builder, value, pixels, builder.load(slot)), slot)
        for slot, pointer in zip(slots, kept, strict=True):
            builder.store(builder.load(slot), builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    number = types.int64
    return types.void(_FLOATS, number, _FLOATS, number, _FLOATS, number, number, number), emit


@intrinsic
def _even_run(typingctx, out, out_start, x, x_start, count, addend):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (_place(context, builder, signature, args, position) for position in (0, 2))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [2 * i for i in range(LANES)])
        summand = broadcast(builder, args[5], LANES)
        whole = builder.and_(args[4], integer(-LANES))
        step = integer(LANES)
        with cgutils.for_range_slice(builder, integer(0), whole, step) as (index, _):
            pair = builder.gep(source, [builder.shl(index, integer(1))])
            low, high = _load(builder, pair), _load(builder, builder.gep(pair, [step]))
            value = builder.fadd(builder.shuffle_vector(low, high, mask), summand)
            pointer = builder.bitcast(builder.gep(target, [index]), _VECTOR.as_pointer())
            builder.store(value, pointer, align=4)
        with cgutils.for_range_slice(builder, whole, args[4], integer(1)) as (index, _):
            value = builder.load(builder.gep(source, [builder.shl(index, integer(1))]))
            builder.store(builder.fadd(value, args[5]), builder.gep(target, [index]))
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, _FLOATS, types.int64, types.int64, types.float32), emit


@jit()
def _stencil_loops(out, out_start, x, x_start, x_row, w, w_start, w_step, count):
    for i in range((count + LANES - 1) // LANES * LANES):
        total = np.float32(0.0)
        for t in range(9):
            value = x[x_start + i + t // 3 * x_row + t % 3]
            total = fma(w[w_start + t * w_step], value, total)
        out[out_start + i] = total


@jit()
def _dots_loops(sums, sums_start, dy, dy_start, x, x_start, x_row, count):
    for i in range((count + LANES - 1) // LANES * LANES):
        for t in range(9):
            place = sums_start + t * LANES + i % LANES
            sums[place] = fma(dy[dy_start + i], x[x_start + i + t // 3 * x_row + t % 3], sums[place])


@jit()
def _even_loops(out, out_start, x, x_start, count, addend):
    for i in range(count):
        out[out_start + i] = x[x_start + 2 * i] + addend


LOOPS = {"stencil_run": _stencil_loops, "dots_run": _dots_loops, "even_run": _even_loops}
"""The plain-loop twin of each vector loop: its meaning."""

stencil_run: Any = _stencil_loops if INTERPRETED else _stencil_run
"""``stencil_run(out, out_start, x, x_start, x_row, w, w_start, w_step, count)`` sums under nine taps.

Value i is the chain of multiply-adds over taps (r, s) of ``w[w_start + (3 r + s) w_step]`` and
``x[x_start + i + r x_row + s]``. It goes on to the end of the last vector.
"""

dots_run: Any = _dots_loops if INTERPRETED else _dots_run
"""``dots_run(sums, sums_start, dy, dy_start, x, x_start, x_row, count)`` adds to nine vectors of sums.

Lane i of vector 3 r + s gets the products of ``dy[dy_start + k]`` and ``x[x_start + k + r x_row + s]`` for
all k with remainder i modulo LANES, to the end of the last vector.
"""

even_run: Any = _even_loops if INTERPRETED else _even_run
"""``even_run(out, out_start, x, x_start, count, addend)`` copies every other value, `addend` added.

It may read one value more than twice `count`.
"""


# --------------------------------------------------------------------------------------------- planes


class Planes(NamedTuple):
    """How a result is computed plane by plane; every number is an extent, an offset or a step."""

    channels: int
    x_h: int  # source: rows and columns,
    x_w: int
    top: int  # its place in the padded plane,
    left: int
    spread: int  # and the distance of its values there
    row: int  # P: floats of a padded row
    y_h: int
    y_w: int
    stride: int
    turned: int  # 1: the filter turned by 180 degrees
    padded: int  # floats of the padded plane
    scratch: int  # and of all of a thread's memory


@jit()
def _planes(numbers):
    """Return the NamedTuple that an array holds; one array makes a parallel kernel compile faster."""
    return Planes(
        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7],
        numbers[8], numbers[9], numbers[10], numbers[11], numbers[12],
    )  # fmt: skip


@jit()
def _pad(h, w, spread, x, start, out, place, row):
    """Copy a plane into a padded one, `spread` apart; what lies between is zero already."""
    for i in range(h):
        target = place + i * spread * row
        if spread == 1:
            copy_run(out, target, x, start + i * w, w)
        else:
            add_strided(out, target, x, start + i * w, w, spread, np.float32(0.0))


@jit()
def _plane(p, index, x, w, bias, scratch, start, y):
    """Compute one plane of the result."""
    channel = index % p.channels
    place = start + p.top * p.row + p.left
    _pad(p.x_h, p.x_w, p.spread, x, index * p.x_h * p.x_w, scratch, place, p.row)
    w_start, w_step = (channel * 9 + 8, -1) if p.turned else (channel * 9, 1)
    addend = bias[channel] if bias.size else np.float32(0.0)
    result, y_start = start + p.padded, index * p.y_h * p.y_w
    if p.stride == 1:
        count = (p.y_h - 1) * p.row + p.y_w
        stencil_run(scratch, result, scratch, start, p.row, w, w_start, w_step, count)
        for i in range(p.y_h):
            add_run(y, y_start + i * p.y_w, scratch, result + i * p.row, p.y_w, addend)
        return
    for i in range(p.y_h):
        source = start + i * p.stride * p.row
        stencil_run(scratch, result, scratch, source, p.row, w, w_start, w_step, 2 * p.y_w - 1)
        even_run(y, y_start + i * p.y_w, scratch, result, p.y_w, addend)


@jit()
def _chunk_of_planes(chunk, chunks, planes, numbers, x, w, bias, scratch, y):
    p = _planes(numbers)
    for index in range(planes * chunk // chunks, planes * (chunk + 1) // chunks):
        _plane(p, index, x, w, bias, scratch, chunk * p.scratch, y)


@jit(parallel=True)
def _all_planes(chunks, planes, numbers, x, w, bias, scratch, y):
    for chunk in numba.prange(chunks):
        _chunk_of_planes(np.int64(chunk), chunks, planes, numbers, x, w, bias, scratch, y)


@jit()
def _plane_dots(p, plane, dy, x, scratch, start, sums):
    """Add the products of one plane to its channel's sums."""
    source, gradient = plane * p.y_h * p.y_w, start + p.padded
    _pad(p.x_h, p.x_w, 1, x, plane * p.x_h * p.x_w, scratch, start + p.top * p.row + p.left, p.row)
    if p.stride == 1:
        _pad(p.y_h, p.y_w, 1, dy, source, scratch, gradient, p.row)
        count = (p.y_h - 1) * p.row + p.y_w
        dots_run(scratch, sums, scratch, gradient, scratch, start, p.row, count)
        return
    for i in range(p.y_h):
        # Behind the spread row there are zeros, up to a whole vector.
        add_strided(scratch, gradient, dy, source + i * p.y_w, p.y_w, 2, np.float32(0.0))
        row = start + 2 * i * p.row
        dots_run(scratch, sums, scratch, gradient, scratch, row, p.row, 2 * p.y_w - 1)


@jit()
def _channels_grad(p, first, channels, images, dy, x, scratch, start, dw):
    """Sum the gradients of neighbouring channels; sums of a few images are added in float64, in order."""
    sums, count = start + 2 * p.padded, channels * 9
    totals = np.zeros(count, np.float64)
    for k in range(count * LANES):
        scratch[sums + k] = 0.0
    for image in range(images):
        for c in range(channels):
            plane = image * p.channels + first + c
            _plane_dots(p, plane, dy, x, scratch, start, sums + c * 9 * LANES)
        if (image + 1) % _SUMMED_IMAGES == 0 or image == images - 1:
            for t in range(count):
                totals[t] += sum_run(scratch, sums + t * LANES, LANES)
            for k in range(count * LANES):
                scratch[sums + k] = 0.0
    for t in range(count):
        dw[first * 9 + t] = totals[t]


@jit()
def _chunk_of_channels(chunk, chunks, images, numbers, dy, x, scratch, dw):
    p = _planes(numbers)
    first, last = p.channels * chunk // chunks, p.channels * (chunk + 1) // chunks
    for channel in range(first, last, _CHANNELS):
        own = min(_CHANNELS, last - channel)
        _channels_grad(p, channel, own, images, dy, x, scratch, chunk * p.scratch, dw)


@jit(parallel=True)
def _all_channels(chunks, images, numbers, dy, x, scratch, dw):
    for chunk in numba.prange(chunks):
        _chunk_of_channels(np.int64(chunk), chunks, images, numbers, dy, x, scratch, dw)


def _padded_floats(rows: int, row: int) -> int:
    """Return the floats of a padded plane, and what vectors may touch behind it."""
    return rows * row + 2 * row + 3 * LANES


def depthwise_planes(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: int,
    padding: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
    *,
    gradient: bool = False,
) -> None:
    """Compute a depthwise convolution of 3 x 3, or the gradient of its input, into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Images of `x_shape` (N, C, H, W), flat; for a gradient, that of the output.
    x_shape : tuple of int
        Their shape.
    w : ndarray of float32, 1-D
        Filters (C, 1, 3, 3), flat.
    bias : ndarray of float32, 1-D
        One value a channel, or of length 0.
    stride : int
        1 or 2.
    padding : tuple of int
        Rows and columns of zeros on each side, for a gradient at most 2.
    y : ndarray of float32, 1-D
        Result of `y_shape`, flat.
    y_shape : tuple of int
        Its shape.
    gradient : bool
        Whether `y` is the gradient of the input.
    """
    kind, segments = strip_kind(x_shape, y_shape, stride, padding, gradient)
    if segments:
        # At stride 1 the gradient is the convolution with the filters turned by 180 degrees.
        turned = w.reshape(-1, 9)[:, ::-1].reshape(-1) if gradient and stride == 1 else w
        strips_conv(x, x_shape, turned, bias, y, y_shape, kind, segments)
        return
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    if gradient:
        top, left, spread, rows, row, step = 2 - padding[0], 2 - padding[1], stride, y_h + 2, y_w + 2, 1
    else:
        top, left, spread, step = *padding, 1, stride
        rows, row = x_h + 2 * padding[0], x_w + 2 * padding[1]
    padded = _padded_floats(rows, row)
    scratch = 2 * padded
    numbers = np.array(
        Planes(channels, x_h, x_w, top, left, spread, row, y_h, y_w, step, int(gradient), padded, scratch),
        dtype=np.int64,
    )
    chunks = min(numba.get_num_threads(), images * channels)
    _all_planes(chunks, images * channels, numbers, x, w, bias, np.zeros(chunks * scratch, np.float32), y)


def depthwise_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of depthwise filters of 3 x 3 into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output, and images, of `y_shape` and `x_shape`, flat.
    y_shape, x_shape : tuple of int
        Their shapes.
    stride : int
        1 or 2.
    padding : tuple of int
        Rows and columns of zeros on each side.
    dw : ndarray of float32, 1-D
        Result (C, 1, 3, 3), flat.
    """
    kind, segments = strip_kind(x_shape, y_shape, stride, padding, gradient=False, sums=True)
    if segments:
        strips_weight_grad(dy, y_shape, x, x_shape, dw, kind, segments)
        return
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    row = x_w + 2 * padding[1]
    padded = _padded_floats(x_h + 2 * padding[0], row)
    scratch = 2 * padded + _CHANNELS * 9 * LANES
    numbers = np.array(
        Planes(channels, x_h, x_w, *padding, 1, row, y_h, y_w, stride, 0, padded, scratch), dtype=np.int64
    )
    chunks = min(numba.get_num_threads(), channels)
    _all_channels(chunks, images, numbers, dy, x, np.zeros(chunks * scratch, np.float32), dw)
