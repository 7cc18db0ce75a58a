"""Tiles whose lanes are pixels: a few filters at the four places of a pooling window, and sums of channels.

:mod:`~emoref_kernels.cpu.fused_planes` says how maps are sorted for them.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import (
    at_least,
    emit_sums,
    larger_of,
    larger_value,
    load_lanes,
    place_of,
    store_lanes,
)
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add

__all__ = ["PHASE_ROWS", "add_channels", "add_channels_loops", "phase_tile", "phase_tile_loops"]

PHASE_ROWS = 5 if ROWS == 8 else 2
"""Filters of a phase tile: four vectors each, and 20 of 32 registers (8 of 16) hold sums."""

_FLOATS = types.Array(types.float32, 1, "C")
_INTS = types.Array(types.int64, 1, "C")
_ZERO_VECTOR = ir.Constant(ir.VectorType(ir.FloatType(), LANES), [0.0] * LANES)


@intrinsic
def _phase(
    typingctx, z, z_start, z_row, z_phase, w, w_base, u, u_start, right, tables, w_rows, u_runs, below, runs,
    run_length,
):  # fmt: skip
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = partial(place_of, context, builder, signature, args)
        base, table = data(4, args[5]), data(9, args[10])
        rows = [
            builder.gep(base, [builder.load(builder.gep(table, [integer(m)]))]) for m in range(PHASE_ROWS)
        ]
        maps, right, u_runs, below = data(6, args[7]), args[8], data(9, args[11]), data(9, args[12])

        def start_run(run: Any) -> tuple[Any, Any, list[Any]]:
            down = builder.load(builder.gep(below, [run]))
            places = [integer(0), right, down, builder.add(right, down)]
            start = builder.gep(maps, [builder.load(builder.gep(u_runs, [run]))])
            return builder.mul(run, args[14]), start, places

        sums = emit_sums(builder, rows, start_run, args[13], args[14], right, False, 4)
        target = data(0, args[1])
        for m in range(PHASE_ROWS):
            place = target
            for v in range(4):
                store_lanes(builder, sums[4 * m + v], place)
                place = builder.gep(place, [args[3]])
            target = builder.gep(target, [args[2]])
        return context.get_dummy_value()

    integers = [types.int64] * 5
    signature = types.void(
        _FLOATS, *integers[:3], _FLOATS, types.int64, _FLOATS, *integers[:2], _INTS, *integers
    )
    return signature, emit


@intrinsic
def _add_channels(typingctx, y, y_start, z, z_start, z_phase, places, first, count, scale, shift, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = partial(place_of, context, builder, signature, args)
        z, table = data(2, args[3]), data(5, args[6])
        totals = [cgutils.alloca_once_value(builder, _ZERO_VECTOR) for _ in range(4)]
        with cgutils.for_range(builder, args[7]) as loop:
            place = builder.gep(z, [builder.load(builder.gep(table, [loop.index]))])
            for total in totals:
                builder.store(builder.fadd(builder.load(total), load_lanes(builder, place)), total)
                place = builder.gep(place, [args[4]])
        scale, shift, floor = (broadcast(builder, args[i], LANES) for i in (8, 9, 10))
        values = [
            at_least(builder, multiply_add(builder, builder.load(total), scale, shift), floor)
            for total in totals
        ]
        best = values[0]
        for value in values[1:]:
            best = larger_of(builder, best, value)
        store_lanes(builder, best, data(0, args[1]))
        return context.get_dummy_value()

    signature = types.void(
        _FLOATS, types.int64, _FLOATS, *[types.int64] * 2, _INTS, *[types.int64] * 2, *[types.float32] * 3
    )
    return signature, emit


@jit()
def phase_tile_loops(
    z, z_start, z_row, z_phase, w, w_base, u, u_start, right, tables, w_rows, u_runs, below, runs, run_length
):
    """Compute PHASE_ROWS filters at four phases in plain loops: the meaning of :func:`phase_tile`.

    Parameters
    ----------
    z : ndarray of float32, 1-D
        Result: filter m, phase v is LANES floats from ``z_start + m * z_row + v * z_phase`` on.
    w : ndarray of float32, 1-D
        Filter m begins at ``w_base + tables[w_rows + m]``; its taps are neighbours.
    u : ndarray of float32, 1-D
        The maps. Row r of the kernel reads from ``u_start + tables[u_runs + r]`` on, and its columns are
        `right` apart; so are the two phases of a row, while those of the next row are ``tables[below + r]``
        behind.
    tables : ndarray of int64, 1-D
        Places of filters and of the rows of the kernel.
    runs, run_length : int
        Rows and columns of the kernel.
    """
    for m in range(PHASE_ROWS):
        for v in range(4):
            for j in range(LANES):
                total = np.float32(0.0)
                for r in range(runs):
                    start = u_start + tables[u_runs + r] + v % 2 * right + v // 2 * tables[below + r]
                    for k in range(run_length):
                        weight = w[w_base + tables[w_rows + m] + r * run_length + k]
                        total = fma(weight, u[start + k * right + j], total)
                z[z_start + m * z_row + v * z_phase + j] = total


@jit()
def add_channels_loops(y, y_start, z, z_start, z_phase, places, first, count, scale, shift, floor):
    """Add maps of channels and pool them in plain loops: the meaning of :func:`add_channels`.

    Parameters
    ----------
    y : ndarray of float32, 1-D
        LANES values from `y_start` on are written: the largest of the four phases.
    z : ndarray of float32, 1-D
        Phase v of channel i is LANES floats from ``z_start + places[first + i] + v * z_phase`` on.
    places : ndarray of int64, 1-D
        Where the maps of the channels begin.
    first, count : int
        First entry and number of channels, which are added in this order.
    scale, shift, floor : float32
        Each sum becomes ``max(sum * scale + shift, floor)``.
    """
    for j in range(LANES):
        best = np.float32(0.0)
        for v in range(4):
            total = np.float32(0.0)
            for i in range(count):
                total = total + z[z_start + places[first + i] + v * z_phase + j]
            value = fma(total, scale, shift)
            value = floor if value < floor else value
            best = value if v == 0 else larger_value(best, value)
        y[y_start + j] = best


# As in :mod:`~emoref_kernels.cpu.runs`, kernels call the intrinsics themselves.
phase_tile: Any = phase_tile_loops if INTERPRETED else _phase
"""Partial sums of one channel for a few filters at all four places of a pooling window."""

add_channels: Any = add_channels_loops if INTERPRETED else _add_channels
"""The sum of chosen channels' partial sums, mapped, rectified and pooled."""
