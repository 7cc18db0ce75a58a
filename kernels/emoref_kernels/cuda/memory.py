"""Memory of the device, taken once and used again: blocks by type and size, no allocation in a settled loop.

An allocation makes the host wait for the device, and a training step makes hundreds of arrays, the same ones
every time. A block whose array is gone is therefore kept and handed out again, to the lane that it came from
(:mod:`emoref_kernels.cuda.lanes`). When memory runs out, all blocks that are not in use are given back to the
driver before anybody is told.
"""

from typing import Any

import numpy as np

from emoref_kernels.cuda.lanes import MAIN, Lane, current_lane
from emoref_kernels.cuda.provider import cuda, require_device
from emoref_kernels.errors import DeviceMemoryError

__all__ = ["POOL", "MemoryPool"]


class MemoryPool:
    """Blocks of the device's memory that are in use or kept for the next one.

    Attributes
    ----------
    limit_bytes : int or None
        Refuse to hold more than this; None for what the device has.
    held_bytes, used_bytes, peak_bytes : int
        What is held in all, what of it is in use, and the most that was in use at any time.
    allocations : int
        How often the driver was asked.
    """

    def __init__(self) -> None:
        self.limit_bytes: int | None = None
        self.held_bytes = self.used_bytes = self.peak_bytes = self.allocations = 0
        self._free: dict[tuple[Lane, str, int], list[Any]] = {}

    def take(self, dtype: Any, size: int) -> Any:
        """Return a flat array on the device of at least `size` values, uninitialised, for the current lane.

        Raises
        ------
        DeviceMemoryError
            If there is not enough memory, even without what is kept.
        """
        dtype = np.dtype(dtype)
        capacity = _rounded(size)
        kept = self._free.get((current_lane(), dtype.char, capacity))
        if kept:
            block = kept.pop()
        else:
            block = self._allocate(dtype, capacity)
        self.used_bytes += capacity * dtype.itemsize
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        return block

    def give(self, block: Any, lane: Lane = MAIN) -> None:
        """Take a block of a lane back. Kernels launched there later run later: it may be written at once."""
        dtype = np.dtype(block.dtype)
        self.used_bytes -= block.size * dtype.itemsize
        self._free.setdefault((lane, dtype.char, block.size), []).append(block)

    def available_bytes(self) -> float:
        """Return how much memory could be taken: what the driver has free, and what is kept unused."""
        require_device()
        free = float(cuda.current_context().get_memory_info()[0]) + self.held_bytes - self.used_bytes
        return free if self.limit_bytes is None else min(free, float(self.limit_bytes - self.used_bytes))

    def trim(self) -> None:
        """Give everything that is not in use back to the driver."""
        if not self._free:
            return
        # Kernels of any lane may still be at work on a block that nobody holds any more.
        cuda.synchronize()
        for (_, char, capacity), blocks in self._free.items():
            self.held_bytes -= len(blocks) * capacity * np.dtype(char).itemsize
        self._free.clear()
        # The driver gets memory back in groups; the context has a list of its own, of streams and modules.
        context = cuda.current_context()
        for owner in (getattr(context, "memory_manager", None), context):
            deallocations = getattr(owner, "deallocations", None)
            if deallocations is not None:
                deallocations.clear()

    def _allocate(self, dtype: np.dtype[Any], capacity: int) -> Any:
        require_device()
        wanted = capacity * dtype.itemsize
        for attempt in range(2):
            if self.limit_bytes is None or self.held_bytes + wanted <= self.limit_bytes:
                try:
                    block = cuda.device_array(capacity, dtype)
                except Exception as error:
                    if "OUT_OF_MEMORY" not in str(error).upper().replace(" ", "_"):
                        raise
                else:
                    self.held_bytes += wanted
                    self.allocations += 1
                    return block
            if attempt == 0:
                self.trim()
        raise DeviceMemoryError(
            f"the device's memory does not suffice: {wanted / 2**20:,.1f} MiB more were wanted, "
            f"{self.used_bytes / 2**20:,.1f} MiB are in use"
        )


def _rounded(size: int) -> int:
    """Round up to one of eight steps between powers of two, so that like sizes share blocks."""
    size = max(int(size), 32)
    step = 1 << max(size.bit_length() - 4, 5)
    return -(-size // step) * step


POOL = MemoryPool()
"""The pool of this process."""
