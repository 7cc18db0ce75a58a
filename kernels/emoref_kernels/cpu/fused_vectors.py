"""Steps on one vector of LANES channels: what follows a layer, and pooling.

Written out for the same reason as in :mod:`~emoref_kernels.cpu.runs`; each has a twin in plain loops.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import at_least, larger_of, load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, broadcast, fma, multiply_add

__all__ = ["finish_vector", "finish_vector_loops", "merge_vector", "merge_vector_loops"]


@intrinsic
def _finish(typingctx, y, y_start, x, x_start, z, z_start, w, scale, shift, residual, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = partial(place_of, context, builder, signature, args)
        value = multiply_add(
            builder,
            load_lanes(builder, data(2, args[3])),
            load_lanes(builder, data(6, args[7])),
            load_lanes(builder, data(6, args[8])),
        )
        before = builder.block
        with builder.if_then(builder.icmp_signed("!=", args[9], ir.Constant(args[9].type, 0))):
            total = builder.fadd(value, load_lanes(builder, data(4, args[5])))
            inside = builder.block
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phi.add_incoming(total, inside)
        floor = broadcast(builder, args[10], LANES)
        store_lanes(builder, at_least(builder, phi, floor), data(0, args[1]))
        return context.get_dummy_value()

    return types.void(y, y_start, x, x_start, z, z_start, w, scale, shift, residual, floor), emit


def _emit_merge(larger: bool, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = partial(place_of, context, builder, signature, args)
    target = data(0, args[1])
    old, new = load_lanes(builder, target), load_lanes(builder, data(2, args[3]))
    store_lanes(builder, larger_of(builder, old, new) if larger else builder.fadd(old, new), target)
    return context.get_dummy_value()


@intrinsic
def _merge_larger(typingctx, y, y_start, x, x_start):
    return types.void(y, y_start, x, x_start), partial(_emit_merge, True)


@intrinsic
def _merge_sum(typingctx, y, y_start, x, x_start):
    return types.void(y, y_start, x, x_start), partial(_emit_merge, False)


@jit()
def finish_vector_loops(y, y_start, x, x_start, z, z_start, w, scale, shift, residual, floor):
    """Compute y = max(x * scale + shift (+ z), floor) in plain loops: the meaning of :func:`finish_vector`.

    Parameters
    ----------
    y, x, z : ndarray of float32, 1-D
        Result, argument, and what is added if `residual` is not 0: LANES values from each start on.
    w : ndarray of float32, 1-D
        Holds the factors from `scale` on, and the summands from `shift` on.
    floor : float32
        0 for ReLU, minus infinity for none; a NaN goes through.
    """
    for j in range(LANES):
        value = fma(x[x_start + j], w[scale + j], w[shift + j])
        if residual:
            value = value + z[z_start + j]
        y[y_start + j] = floor if value < floor else value


@jit()
def merge_vector_loops(y, y_start, x, x_start, larger):
    """Replace LANES values of `y` by the larger of the two (a NaN wins), or by their sum, in plain loops."""
    for j in range(LANES):
        old, new = y[y_start + j], x[x_start + j]
        if larger:
            y[y_start + j] = new if (new > old) | (new != new) else old
        else:
            y[y_start + j] = old + new


@jit(inline="always")
def _merge_compiled(y, y_start, x, x_start, larger):
    if larger:
        _merge_larger(y, y_start, x, x_start)
    else:
        _merge_sum(y, y_start, x, x_start)


finish_vector: Any = finish_vector_loops if INTERPRETED else _finish
"""Affine map, residual and ReLU of one vector; see :func:`finish_vector_loops`."""

merge_vector: Any = merge_vector_loops if INTERPRETED else _merge_compiled
"""``merge_vector(y, y_start, x, x_start, larger)``: maximum or sum of two vectors, into the first."""

MINUS_INF = np.float32(-np.inf)
ZERO = np.float32(0.0)
