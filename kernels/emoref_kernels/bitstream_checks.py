"""Checks of the bit-stream kernels' arguments, made once for every back end."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.errors import DtypeError, ShapeError

MAX_WIDTH = 32
"""Bits of the widest field."""

MAX_CODE_LENGTH = 31
"""Bits of the longest code word."""


def check_buffer(data: NDArray[Any], position: int, bits: int) -> None:
    """Raise unless `data` is a byte array with room for `bits` bits from bit `position` on."""
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 1:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DtypeError(f"data is {found}; a bit stream is a one-dimensional array of uint8")
    if position < 0 or position + bits > 8 * data.size:
        raise ShapeError(
            f"bits {position} to {position + bits} do not lie in a stream of {8 * data.size} bits"
        )


def check_width(width: int) -> None:
    """Raise ShapeError unless a field can have this width."""
    if not 0 <= width <= MAX_WIDTH:
        raise ShapeError(f"width is {width}; a field has 0 to {MAX_WIDTH} bits")


def check_values(values: NDArray[Any], width: int) -> None:
    """Raise unless `values` are one-dimensional uint32 that fit into fields of `width` bits."""
    check_indices("values", values, 1 << width)


def check_indices(name: str, values: NDArray[Any], end: int) -> None:
    """Raise unless `values`, called `name`, are one-dimensional uint32 below `end`."""
    if not isinstance(values, np.ndarray) or values.dtype != np.uint32 or values.ndim != 1:
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise DtypeError(f"{name} is {found}; it must be a one-dimensional array of uint32")
    if values.size and int(values.max()) >= end:
        raise ShapeError(f"{name} holds {values.max()}; it must be below {end}")


def check_code_table(codes: NDArray[Any], lengths: NDArray[Any]) -> None:
    """Raise unless `codes` (uint32) and `lengths` (int64) describe one code word for each symbol."""
    check_indices("codes", codes, 1 << MAX_CODE_LENGTH)
    if lengths.dtype != np.int64 or lengths.shape != codes.shape:
        raise ShapeError(f"lengths is {lengths.dtype} {lengths.shape}; it must be int64 {codes.shape}")
    if codes.size and (lengths.min() < 0 or lengths.max() > MAX_CODE_LENGTH):
        raise ShapeError(f"lengths must lie in 0 to {MAX_CODE_LENGTH}")


def check_length_counts(length_counts: NDArray[Any]) -> None:
    """Raise unless `length_counts` says how many code words have 0, 1, ... bits, in a way that can be."""
    if length_counts.dtype != np.int64 or length_counts.shape != (MAX_CODE_LENGTH + 1,):
        raise ShapeError(
            f"length_counts is {length_counts.dtype} {length_counts.shape}; "
            f"it must be int64 ({MAX_CODE_LENGTH + 1},)"
        )
    used = sum(int(count) << (MAX_CODE_LENGTH - bits) for bits, count in enumerate(length_counts))
    if length_counts[0] or length_counts.min() < 0 or used > 1 << MAX_CODE_LENGTH:
        raise ShapeError("length_counts are those of no prefix code")


def check_counts(counts: NDArray[Any]) -> None:
    """Raise unless `counts` are one-dimensional int64, none negative."""
    if not isinstance(counts, np.ndarray) or counts.dtype != np.int64 or counts.ndim != 1:
        found = f"{counts.dtype} {counts.shape}" if isinstance(counts, np.ndarray) else type(counts).__name__
        raise DtypeError(f"counts is {found}; it must be a one-dimensional array of int64")
    if counts.size and counts.min() < 0:
        raise ShapeError(f"counts holds {counts.min()}; nothing can occur less than 0 times")
