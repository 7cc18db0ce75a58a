"""Planes to pixels with their channels side by side, and back, by squares of LANES by LANES values."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_strided
from emoref_kernels.cpu.simd import INTERPRETED, LANES

__all__ = ["LOOPS", "pixels_of_planes", "planes_of_pixels", "transpose_square"]

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO = np.float32(0)


@intrinsic
def _transpose_square(typingctx, out, out_start, out_stride, x, x_start, x_stride):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def place(position: int) -> Any:
            array = context.make_array(signature.args[position])(context, builder, args[position])
            return builder.gep(array.data, [args[position + 1]])

        target, source, rows = place(0), place(3), []
        for _ in range(LANES):
            rows.append(builder.load(builder.bitcast(source, _VECTOR.as_pointer()), align=4))
            source = builder.gep(source, [args[5]])
        # Interleaving row i with row i + LANES / 2, log2(LANES) times, transposes a square of LANES.
        half = LANES // 2
        masks = []
        for first in (0, half):
            lanes = [lane for k in range(half) for lane in (first + k, LANES + first + k)]
            masks.append(ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes))
        for _ in range(LANES.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in masks
            ]
        for row in rows:
            builder.store(row, builder.bitcast(target, _VECTOR.as_pointer()), align=4)
            target = builder.gep(target, [args[2]])
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int64, x, types.int64, types.int64), emit


@jit()
def _square_loops(out, out_start, out_stride, x, x_start, x_stride):
    for i in range(LANES):
        for j in range(LANES):
            out[out_start + j * out_stride + i] = x[x_start + i * x_stride + j]


LOOPS = {"transpose_square": _square_loops}
"""The plain-loop twin of the vector code: its meaning."""

transpose_square: Any = _square_loops if INTERPRETED else _transpose_square
"""``transpose_square(out, out_start, out_stride, x, x_start, x_stride)`` transposes LANES by LANES values."""


@jit()
def pixels_of_planes(planes, start, channels, plane, pixels, target, stride):
    """Write the planes of one image as pixels; what is left of a pixel behind its channels is zero.

    Parameters
    ----------
    planes : ndarray of float32, 1-D
        Channel c begins at ``start + c * plane``.
    start, channels, plane : int
        Place of the first plane, their number, and the values of each.
    pixels : ndarray of float32, 1-D
        Pixel p begins at ``target + p * stride``.
    target, stride : int
        Place of the first pixel, and distance of the pixels.
    """
    whole, end = channels // LANES * LANES, plane // LANES * LANES
    for p in range(0, end, LANES):
        for c in range(0, whole, LANES):
            place = target + p * stride + c
            transpose_square(pixels, place, stride, planes, start + c * plane + p, plane)
    for p in range(end, plane):
        copy_strided(pixels, target + p * stride, planes, start + p, whole, plane)
    for c in range(whole, channels):
        add_strided(pixels, target + c, planes, start + c * plane, plane, stride, _ZERO)
    for c in range(channels, stride):
        for p in range(plane):
            pixels[target + p * stride + c] = _ZERO


@jit()
def planes_of_pixels(pixels, start, stride, planes, target, channels, plane):
    """Write the pixels of one image as planes: the inverse of :func:`pixels_of_planes`.

    Parameters
    ----------
    pixels : ndarray of float32, 1-D
        Pixel p begins at ``start + p * stride``.
    start, stride : int
        Place of the first pixel, and distance of the pixels.
    planes : ndarray of float32, 1-D
        Channel c begins at ``target + c * plane``.
    target, channels, plane : int
        Place of the first plane, their number, and the values of each.
    """
    whole, end = channels // LANES * LANES, plane // LANES * LANES
    for c in range(0, whole, LANES):
        for p in range(0, end, LANES):
            place = target + c * plane + p
            transpose_square(planes, place, plane, pixels, start + p * stride + c, stride)
    for p in range(end, plane):
        add_strided(planes, target + p, pixels, start + p * stride, whole, plane, _ZERO)
    for c in range(whole, channels):
        copy_strided(planes, target + c * plane, pixels, start + c, plane, stride)
