"""Parts of the evaluation of many slimmed candidates of one network, beside its layers.

Images are picked from those on the device, filters and channels from the weights of the unpruned network, and
wrong predictions are counted where the logits are: nothing comes to the host in between.
"""

import math

import numpy as np

from emoref_kernels.cuda.array import DeviceArray, empty
from emoref_kernels.cuda.jit import THREADS, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = ["add_wrong", "cut_weight", "take_rows"]


@kernel("fifnn")
def _take_rows(x, rows, y, size, length):
    i = cuda.grid(1)
    if i < size:
        y[i] = x[rows[i // length] * length + i % length]


@kernel("fifnnnnnn")
def _cut(w, lists, small, first_row, rows, first_column, columns, w_columns, plane):
    # Without a list of columns (first_column < 0) all stay.
    i = cuda.grid(1)
    if i < rows * columns * plane:
        place, rest = i % plane, i // plane
        column, row = rest % columns, lists[first_row + rest // columns]
        if first_column >= 0:
            column = lists[first_column + column]
        small[i] = w[(row * w_columns + column) * plane + place]


@kernel("fiinnnn")
def _count_wrong(logits, labels, counts, place, first_label, rows, classes):
    row = cuda.grid(1)
    wrong = np.int32(0)
    if row < rows:
        start, winner = row * classes, np.int64(0)
        largest = logits[start]
        is_nan = largest != largest
        for k in range(1, classes):
            value = logits[start + k]
            if value > largest:
                largest, winner = value, np.int64(k)
            if value != value:
                is_nan = True
        if is_nan or winner != labels[first_label + row]:
            wrong = np.int32(1)
    total = cuda.syncthreads_count(wrong)
    # Integers: the order in which blocks add them does not matter.
    if cuda.threadIdx.x == 0 and total > 0:
        cuda.atomic.add(counts, place, np.int64(total))


def _blocks(threads: int) -> int:
    return -(-threads // THREADS)


def take_rows(x: DeviceArray, rows: DeviceArray) -> DeviceArray:
    """Return the entries of `x` along the first axis with these numbers.

    Parameters
    ----------
    x
        float32 (N, ...).
    rows
        int64 (n,), each below N.
    """
    y, length = empty((rows.size, *x.shape[1:])), math.prod(x.shape[1:])
    _take_rows(_blocks(y.size), THREADS, x, rows, y, y.size, length)
    return y


def cut_weight(
    w: DeviceArray, lists: DeviceArray, rows: tuple[int, int], columns: tuple[int, int] | None
) -> DeviceArray:
    """Return some rows, and of these some columns, of a parameter.

    Parameters
    ----------
    w
        float32 (R, ...), or (R, C, ...) if columns are given.
    lists
        int64: numbers of rows and of columns, one list behind the other.
    rows
        Where the list of rows begins, and its length.
    columns
        The same of the columns; None for all.

    Returns
    -------
    DeviceArray
        (rows, ...), or (rows, columns, ...).
    """
    if columns is None:
        shape, how = (rows[1], *w.shape[1:]), (-1, 1, 1, math.prod(w.shape[1:]))
    else:
        shape = (rows[1], columns[1], *w.shape[2:])
        how = (*columns, w.shape[1], math.prod(w.shape[2:]))
    small = empty(shape)
    _cut(_blocks(small.size), THREADS, w, lists, small, *rows, *how)
    return small


def add_wrong(
    logits: DeviceArray, labels: DeviceArray, first_label: int, counts: DeviceArray, place: int
) -> None:
    """Add the wrong predictions of a batch to a count on the device.

    The rule is that of :func:`emoref.nn.evaluate`: the class is the first of the largest logits, and a row
    that holds a NaN is wrong.

    Parameters
    ----------
    logits
        float32 (n, classes).
    labels
        int64: the classes of these and of other images.
    first_label
        Where the batch's labels begin.
    counts
        int64; one of them is changed.
    place
        Which one.
    """
    rows, classes = logits.shape
    _count_wrong(_blocks(rows), THREADS, logits, labels, counts, place, first_label, rows, classes)
