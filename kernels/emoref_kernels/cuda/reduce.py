"""Sums in a fixed order: parts of a result, and rows or planes of an array, block by block.

No kernel adds with atomics: which block comes first would decide the last bits.
"""

from typing import Any

import numba

from emoref_kernels.cuda.array import DeviceArray
from emoref_kernels.cuda.jit import THREADS, device, kernel
from emoref_kernels.cuda.provider import block, cuda

__all__ = ["add_parts", "block_sum"]


@device
def block_sum(values, thread):
    """Sum a block's shared values, one a thread, pairwise; every thread gets the sum."""
    block.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            values[thread] += values[thread + half]
        block.syncthreads()
        half //= 2
    total = values[0]
    block.syncthreads()
    return total


@kernel("fffnnnnnn")
def _add_parts(pieces, bias, y, parts, size, filters, plane, biased, keep):
    i = cuda.grid(1)
    if i < size:
        total = numba.float32(0.0)
        for part in range(parts):
            total += pieces[part * size + i]
        if biased != 0:
            total += bias[(i // plane) % filters]
        if keep != 0:
            total += y[i]
        y[i] = total


def add_parts(
    pieces: DeviceArray,
    bias: DeviceArray | None,
    y: DeviceArray,
    filters: int,
    plane: int,
    keep: bool = False,
) -> None:
    """Write the sum of `pieces` (parts, *y.shape), in their order, and the bias of each plane into `y`.

    Parameters
    ----------
    pieces
        What is summed.
    bias
        One value a filter, or None.
    y
        Result; with `keep`, what is there is added.
    filters, plane
        Filters, and values of a plane, for the bias.
    keep
        Whether `y` already holds something.
    """
    given: Any = y if bias is None else bias
    blocks = -(-y.size // THREADS)
    _add_parts(
        blocks, THREADS, pieces, given, y, pieces.shape[0], y.size, filters, plane, bias is not None, keep
    )
