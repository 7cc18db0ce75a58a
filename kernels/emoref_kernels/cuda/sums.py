"""Sums along all axes but the channels, and along planes: bias gradients and global pooling.

A value is owned by one block; its threads walk in steps of the block and are added pairwise.
"""

import numpy as np

from emoref_kernels.cuda.array import DeviceArray, empty
from emoref_kernels.cuda.jit import THREADS, kernel, shared_floats
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.reduce import block_sum

__all__ = ["plane_sums", "row_sums"]

_ZERO = np.float32(0)
_partial = shared_floats(THREADS)


@kernel("ffnnn")
def _row_sums(x, sums, rows, channels, plane):
    partial = _partial()
    thread, channel = np.int64(cuda.threadIdx.x), np.int64(cuda.blockIdx.x)
    total = _ZERO
    for i in range(thread, rows * plane, THREADS):
        total += x[((i // plane) * channels + channel) * plane + i % plane]
    partial[thread] = total
    total = block_sum(partial, thread)
    if thread == 0:
        sums[channel] = total


@kernel("ffns")
def _plane_sums(x, sums, plane, factor):
    partial = _partial()
    thread, start = np.int64(cuda.threadIdx.x), np.int64(cuda.blockIdx.x) * plane
    total = _ZERO
    for i in range(thread, plane, THREADS):
        total += x[start + i]
    partial[thread] = total
    total = block_sum(partial, thread)
    if thread == 0:
        sums[cuda.blockIdx.x] = total * factor


def row_sums(x: DeviceArray, rows: int, channels: int, plane: int) -> DeviceArray:
    """Sum (rows, channels, plane) over rows and planes; returns (channels,)."""
    sums = empty((channels,))
    _row_sums(channels, THREADS, x, sums, rows, channels, plane)
    return sums


def plane_sums(x: DeviceArray, planes: int, plane: int, factor: float) -> DeviceArray:
    """Sum (planes, plane) along the planes, times `factor`; returns (planes,)."""
    sums = empty((planes,))
    _plane_sums(planes, THREADS, x, sums, plane, factor)
    return sums
