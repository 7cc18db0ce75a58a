"""Arrays that live on the device, and how the functions of the back end take and return them.

Every function takes NumPy arrays, arrays of the device, or both. With NumPy arrays alone it copies them to
the device and the result back, like any other back end. As soon as one argument is a :class:`DeviceArray`,
the results are such too, nothing is copied back, and the host does not wait.

An array belongs to the lane that it was made on (:mod:`emoref_kernels.cuda.lanes`). Used on another lane for
the first time, it lets that lane wait for what made it; and its memory is written again only after all lanes
that used it have come so far. So arrays may be read on any lane. To write an array on several is the caller's
affair.
"""

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cuda.jit import THREADS, kernel
from emoref_kernels.cuda.lanes import MAIN, Lane, current_lane
from emoref_kernels.cuda.memory import POOL
from emoref_kernels.cuda.provider import cuda

__all__ = [
    "DeviceArray",
    "HostOrDevice",
    "constant_table",
    "empty",
    "on_device",
    "returned",
    "upload",
]


class _Block:
    """A block of the pool that goes back to it when the last array on it is gone.

    Attributes
    ----------
    memory
        The flat array that kernels take.
    lane : Lane
        Where it was taken.
    ready
        The event that other lanes wait for; None for all that its lane has been given when they first ask.
    """

    def __init__(self, dtype: Any, size: int) -> None:
        self.lane, self.ready = current_lane(), None
        self._users: set[Lane] = set()
        self.memory = POOL.take(dtype, size)

    def use(self, lane: Lane) -> None:
        if lane is self.lane or lane in self._users:
            return
        if self.ready is None:
            lane.follow(self.lane)
        else:
            lane.wait(self.ready)
        self._users.add(lane)

    def __del__(self) -> None:
        memory = getattr(self, "memory", None)
        if memory is not None and not sys.is_finalizing():
            for lane in self._users:
                self.lane.follow(lane)
            POOL.give(memory, self.lane)


class _Flags:
    """What NumPy's flags say of an array of the device."""

    writeable = True
    c_contiguous = True


class DeviceArray:
    """An array on the device, C-contiguous; made by :func:`empty` and :func:`on_device`.

    It offers what the engine asks of an array between two operations. Values cannot be read one by one:
    ``numpy.asarray(array)`` waits for the device and copies all of them.

    Parameters
    ----------
    block : _Block
        Its memory, of at least as many values as the array has.
    shape : tuple of int
        Its shape.
    memory : optional
        A part of the block's memory; left out, from its beginning.

    Attributes
    ----------
    memory
        The flat array that kernels take; may be longer.
    dtype : numpy.dtype
        As of NumPy arrays.
    """

    flags = _Flags()
    on_device = True
    from_backend = True

    def __init__(self, block: _Block, shape: tuple[int, ...], memory: Any = None) -> None:
        self._block, self.shape = block, shape
        self.memory = block.memory if memory is None else memory
        self.dtype = np.dtype(block.memory.dtype)
        self.size = math.prod(shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def reshape(self, *shape: Any) -> "DeviceArray":
        """Return the same memory in another shape; one extent may be -1."""
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else tuple(shape)
        if -1 in wanted:
            known = math.prod(extent for extent in wanted if extent != -1)
            wanted = tuple(self.size // known if extent == -1 and known else extent for extent in wanted)
        if math.prod(wanted) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {wanted}")
        return DeviceArray(self._block, wanted, self.memory)

    def part(self, start: int, stop: int) -> "DeviceArray":
        """Return the entries `start` to `stop` along the first axis, in the same memory."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise ValueError(f"cannot take {start} to {stop} of {self.shape[0]}")
        length = math.prod(self.shape[1:])
        shape = (stop - start, *self.shape[1:])
        return DeviceArray(self._block, shape, self.memory[start * length : stop * length])

    def used_on(self, lane: Lane) -> None:
        """Take note that a lane reads the array from now on, and let it wait until the array is made."""
        if lane is not self._block.lane:
            self._block.use(lane)

    def finish(self) -> None:
        """Say that the array is made: other lanes need not wait for what its own lane is given later."""
        self._block.ready = self._block.lane.mark()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        host = np.empty(self.size, self.dtype)
        if self.size:
            lane = current_lane()
            self.used_on(lane)
            self.memory[: self.size].copy_to_host(host, stream=lane.stream)
            if lane is not MAIN:
                lane.synchronize()
        return host.reshape(self.shape).astype(dtype or self.dtype, copy=False)

    def assign(self, values: Any) -> None:
        """Copy values of the same shape into the array; they may be on the host or on the device."""
        if tuple(values.shape) != self.shape:
            raise ValueError(f"cannot copy {values.shape} into {self.shape}")
        if isinstance(values, DeviceArray):
            self._combine(1.0, values, 0.0, values)
        elif self.size:
            lane = current_lane()
            self.used_on(lane)
            flat = np.ascontiguousarray(values, dtype=self.dtype).reshape(-1)
            self.memory[: self.size].copy_to_device(flat, stream=lane.stream)

    def copy(self) -> "DeviceArray":
        """Return a copy on the device."""
        return self.combined(1.0, 0.0, self)

    def astype(self, dtype: Any) -> "DeviceArray":
        """Return the array itself; there are only the types that it was made with."""
        if np.dtype(dtype) != self.dtype:
            raise TypeError(f"an array of the device stays {self.dtype}")
        return self

    def combined(self, own: float, others: float, other: "DeviceArray") -> "DeviceArray":
        """Return ``own * self + others * other`` on the device; the shapes must be equal."""
        result = empty(self.shape)
        result._combine(own, self, others, other)
        return result

    def _combine(self, a: float, x: "DeviceArray", b: float, y: "DeviceArray") -> None:
        if not x.shape == y.shape == self.shape:
            raise ValueError(f"shapes {x.shape} and {y.shape} differ")
        _combine(-(-self.size // THREADS), THREADS, a, x, b, y, self, self.size)

    def take(self, indices: Any, axis: int) -> "DeviceArray":
        """Return the channels (axis 1, the only one that there is need for) with these numbers.

        The numbers may be an int64 array of the device.
        """
        if axis != 1:
            raise ValueError(f"axis is {axis}; an array of the device takes along axis 1")
        chosen = indices if isinstance(indices, DeviceArray) else constant_table(tuple(map(int, indices)))
        plane = math.prod(self.shape[2:])
        result = empty((self.shape[0], chosen.size, *self.shape[2:]))
        blocks, sizes = -(-result.size // THREADS), (result.size, self.shape[1], chosen.size, plane)
        _take(blocks, THREADS, self, chosen, result, *sizes)
        return result

    def zeros(self, shape: Sequence[int]) -> "DeviceArray":
        """Return zeros of another shape on the same device."""
        return empty(shape, zero=True)

    def __mul__(self, factor: float) -> "DeviceArray":
        return self.combined(factor, 0.0, self)

    __rmul__ = __mul__

    def __add__(self, other: "DeviceArray") -> "DeviceArray":
        return self.combined(1.0, 1.0, other)


HostOrDevice = NDArray[Any] | DeviceArray
"""What the functions of the back end take and return."""


@kernel("sfsffn")
def _combine(a, x, b, y, result, size):
    i = cuda.grid(1)
    if i < size:
        # A factor of 0 drops the term, so that it may hold anything.
        value = a * x[i]
        if b != np.float32(0):
            value += b * y[i]
        result[i] = value


@kernel("fifnnnn")
def _take(x, chosen, y, size, channels, taken, plane):
    i = cuda.grid(1)
    if i < size:
        row = i // plane
        y[i] = x[((row // taken) * channels + chosen[row % taken]) * plane + i % plane]


@kernel("fn")
def _clear(values, size):
    i = cuda.grid(1)
    if i < size:
        values[i] = np.float32(0)


def empty(shape: Sequence[int], dtype: Any = np.float32, *, zero: bool = False) -> DeviceArray:
    """Return a new array on the device, uninitialised unless `zero` (float32 only)."""
    extents = tuple(int(extent) for extent in shape)
    size = math.prod(extents)
    array = DeviceArray(_Block(dtype, size), extents)
    if zero:
        _clear(-(-size // THREADS), THREADS, array, size)
    return array


def on_device(values: Any) -> DeviceArray:
    """Return an array of the device with these values; one that is there already is returned as it is."""
    return values if isinstance(values, DeviceArray) else upload(values)


def upload(values: Any) -> DeviceArray:
    """Copy a NumPy array, of any type that kernels take, to the device."""
    array = empty(values.shape, values.dtype)
    array.assign(values)
    return array


def returned(result: DeviceArray, *arguments: Any) -> Any:
    """Return `result` as it is if an argument of the call is on the device, else as a NumPy array."""
    on_the_device = any(isinstance(argument, DeviceArray) for argument in arguments)
    return result if on_the_device else np.asarray(result)


class _Staging:
    """Memory of the host that the device reads by itself, so that a copy from it lets nobody wait."""

    def __init__(self, size: int) -> None:
        self._memory: NDArray[np.int64] | None = None
        self._size, self._used = size, 0

    def copy(self, values: tuple[int, ...], array: DeviceArray, lane: Lane) -> None:
        """Copy integers to the device, behind what a lane has been given."""
        if self._memory is None:
            self._memory = cuda.pinned_array(self._size, np.int64)
        if self._used + array.size > self._size:
            # Copies out of it may still be on their way.
            cuda.synchronize()
            self._used = 0
        part = self._memory[self._used : self._used + array.size]
        part[:] = values
        self._used += array.size
        array.memory[: array.size].copy_to_device(part, stream=lane.stream)


_STAGING = _Staging(1 << 17)
_LONGEST = 1 << 14


@lru_cache(maxsize=4096)
def constant_table(values: tuple[int, ...]) -> DeviceArray:
    """Return integers on the device; the same array for the same integers."""
    lane = current_lane()
    if lane is MAIN or not 0 < len(values) <= _LONGEST:
        return upload(np.array(values, np.int64))
    table = empty((len(values),), np.int64)
    _STAGING.copy(values, table, lane)
    table.finish()
    return table
