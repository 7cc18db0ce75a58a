"""Where a back end keeps its arrays, and what happens when the memory of a GPU runs out.

The functions of the cuda back end take and return arrays of the device as well as NumPy's
(:mod:`emoref_kernels.cuda.array`), and those of the layout "channels-last" maps
(:mod:`emoref_kernels.cpu.maps`). Everything that runs networks converts images once, puts parameters on the
device, works with what comes out, and fetches only what a caller shall see: arrays come back as they went in.
For every other back end the functions here do nothing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoref.errors import BackendError
from emoref_kernels.errors import DeviceMemoryError

__all__ = ["HalvedBatches", "fetched", "is_device", "is_on_device", "placed", "resident"]

Array = NDArray[Any]
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


def is_device(backend: Any) -> bool:
    """Return whether a loaded back end computes on a device with a memory of its own."""
    return getattr(backend, "name", "") == "cuda"


def is_on_device(array: Any) -> bool:
    """Return whether an array lies in a device's memory."""
    return bool(getattr(array, "on_device", False))


def placed(array: Any, backend: Any) -> Any:
    """Return an array as the back end computes with it: on its device, as maps, or the array itself."""
    if getattr(backend, "layout", "") == "channels-last" and array.ndim == 4:
        from emoref_kernels.cpu.maps import as_maps

        return as_maps(array)
    if not is_device(backend):
        return array
    from emoref_kernels.cuda.array import on_device

    return on_device(array)


def resident(values: Mapping[str, Any], backend: Any) -> Mapping[str, Any]:
    """Return arrays by name where the back end computes; `values` itself where nothing moves."""
    if not is_device(backend) or all(is_on_device(value) for value in values.values()):
        return values
    return {name: placed(value, backend) for name, value in values.items()}


def fetched(values: Mapping[str, Any]) -> dict[str, Array]:
    """Return arrays by name as NumPy arrays; maps and those of a device are copied."""
    return {name: np.asarray(value) for name, value in values.items()}


class HalvedBatches:
    """Batches that are halved, and tried again, when the device's memory runs out.

    What was found to fit is kept for the next batch. A warning goes to the log at each halving.

    Parameters
    ----------
    what : str, default "image"
        What a batch is made of.

    Attributes
    ----------
    size : int or None
        The most images at a time that were found to fit; None before memory ran out.
    """

    def __init__(self, what: str = "image") -> None:
        self.size: int | None = None
        self._what = what

    def run(
        self, count: int, work: Callable[[slice], Result], spare: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[slice, Result]]:
        """Yield the results of `work` on the parts of a batch, with the parts.

        Parameters
        ----------
        count
            Images of the batch.
        work
            Computes a part; may raise DeviceMemoryError.
        spare
            Called when not even a single one fits. Gives up something else that takes memory, and returns
            whether there was such a thing, so that the one is tried again.

        Raises
        ------
        BackendError
            If memory runs out for a single image, and there is nothing else to give up.
        """
        start = 0
        while start < count:
            part = slice(start, min(count, start + (self.size or count)))
            try:
                result = work(part)
            except DeviceMemoryError as error:
                self._halve(part.stop - part.start, error, spare)
                continue
            yield part, result
            start = part.stop

    def _halve(self, count: int, error: DeviceMemoryError, spare: Callable[[], bool]) -> None:
        if count <= 1:
            if spare():
                return
            raise BackendError(
                f"{error}; not even one {self._what} at a time fits. Use --backend cpu"
            ) from None
        self.size = count // 2
        # As a text: whoever keeps the record would keep the error, and with it all arrays of its frames.
        text = "%s; going on with %d %ss at a time instead of %d"
        _log.warning(text, str(error), self.size, self._what, count)
