"""The one place of the project that imports CUDA: which provider it is, which driver and which device.

Two packages provide the same compiler: ``numba-cuda``, which takes the place of ``numba.cuda`` where it is
installed, and Numba's own, older ``numba.cuda``. With ``NUMBA_ENABLE_CUDASIM=1`` either is replaced by a
simulator that runs kernels in Python, one block at a time, one thread of the operating system for each
thread of the block; :data:`SIMULATED` then says so, and kernels use blocks of 16 threads.
"""

import importlib
import importlib.util
import os
import sys
from functools import cache
from typing import Any, NamedTuple

from emoref_kernels.errors import BackendError

__all__ = [
    "LEAST_CAPABILITY",
    "SIMULATED",
    "DeviceInfo",
    "block",
    "cuda",
    "device_info",
    "intrinsic",
    "provider_name",
    "require_device",
    "selected_device",
]

LEAST_CAPABILITY = (7, 5)
"""Oldest compute capability that the compilers of CUDA 13 still know."""


def _import_cuda() -> Any:
    # A folder given by PYTHONPATH or pip's --target runs no .pth file, which is how numba-cuda puts itself
    # in the place of numba.cuda.
    if "numba.cuda" not in sys.modules and importlib.util.find_spec("_numba_cuda_redirector"):
        importlib.import_module("_numba_cuda_redirector")
    # Small layers leave a device half idle, which a warning at every first launch would not change.
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    module = importlib.import_module("numba.cuda")
    for settings in ("numba.core.config", "numba.cuda.core.config"):
        if settings in sys.modules:
            sys.modules[settings].CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]
    return module


cuda = _import_cuda()

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
"""Whether kernels run on the simulator."""


class _RunningKernel:
    """The simulator's stand-in for CUDA inside a kernel, whichever kernel is running."""

    def __getattr__(self, name: str) -> Any:
        simulator = importlib.import_module("numba.cuda.simulator.kernel")
        return getattr(simulator._get_kernel_context(), name)


block: Any = _RunningKernel() if SIMULATED else cuda
"""CUDA as functions use it that kernels of other modules call.

The simulator puts its stand-in into the globals of a kernel's own module only.
"""


def intrinsic(function: Any) -> Any:
    """Return `function` as an intrinsic of the compiler: code given as instructions."""
    return importlib.import_module("numba.cuda.extending").intrinsic(function)


class DeviceInfo(NamedTuple):
    """What ``emoref info`` shows of a device.

    Attributes
    ----------
    number : int
        Its number, from 0.
    name : str
        What the driver calls it.
    capability : tuple of int
        Compute capability (major, minor).
    memory_bytes : int
        Memory in all.
    multiprocessors : int
        Number of multiprocessors.
    driver : str
        Version of CUDA that the driver supports.
    """

    number: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    multiprocessors: int
    driver: str


def provider_name() -> str:
    """Return which package compiles: ``"numba-cuda <version>"``, ``"numba <version>"`` or the simulator."""
    if SIMULATED:
        return "simulator"
    if getattr(cuda, "implementation", "Built-in") == "Built-in":
        return f"numba {importlib.import_module('numba').__version__}"
    return f"numba-cuda {getattr(importlib.import_module('numba_cuda'), '__version__', '')}".strip()


def missing() -> str | None:
    """Say what is missing for kernels to run; None if nothing is."""
    if SIMULATED:
        return None
    reason: Any = None
    try:
        # A provider may also raise what it lacks.
        if cuda.is_available():
            return None
        reason = cuda.cuda_error() if hasattr(cuda, "cuda_error") else None
    except Exception as error:
        reason = error
    # A driver that began without complaint leaves the compiler as what is missing.
    if reason is None or "nvvm" in str(reason).lower():
        return (
            "the CUDA compiler library (NVVM) was not found; install it with: "
            "pip install 'numba-cuda[cu13]', or name the folder of a CUDA toolkit in CUDA_HOME"
        )
    if _driver_library():
        first_line = next(iter(str(reason).strip().splitlines()), type(reason).__name__)
        return f"there is a CUDA driver but no usable device ({first_line})"
    return "no CUDA driver was found (libcuda); it comes with NVIDIA's graphics driver"


def _driver_library() -> bool:
    """Return whether the driver's library can be loaded."""
    import ctypes

    for name in (os.environ.get("NUMBA_CUDA_DRIVER", ""), "libcuda.so.1", "libcuda.so", "nvcuda.dll"):
        try:
            if name:
                ctypes.CDLL(name)
                return True
        except OSError:
            continue
    return False


def device_count() -> int:
    """Return how many devices the driver shows; 0 without driver."""
    return 0 if missing() else len(cuda.gpus)


def device_info(index: int = 0) -> DeviceInfo:
    """Return what the driver says of a device.

    Raises
    ------
    BackendError
        If there is no driver, or no device of that number.
    """
    _check_index(index)
    if SIMULATED:
        return DeviceInfo(0, "simulator", (9, 0), 0, 1, "none")
    device = cuda.gpus[index]
    with device:
        total = int(cuda.current_context().get_memory_info()[1])
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    driver = importlib.import_module("numba.cuda.cudadrv.driver").driver.get_version()
    capability = (int(device.compute_capability[0]), int(device.compute_capability[1]))
    return DeviceInfo(
        index, name, capability, total, int(device.MULTIPROCESSOR_COUNT), f"{driver[0]}.{driver[1]}"
    )


def _check_index(index: int) -> None:
    lacking = missing()
    if lacking is not None:
        raise BackendError(f'back end "cuda" cannot run: {lacking}. Use --backend cpu')
    count = device_count()
    if not 0 <= index < count:
        have = "device 0" if count == 1 else f"devices 0 to {count - 1}"
        raise BackendError(f'back end "cuda": there is no device {index}; this machine has {have}')


_selected: list[int] = []


def selected_device() -> int | None:
    """Return the number of the device in use; None before the first use."""
    return _selected[0] if _selected else None


def require_device(index: int | None = None) -> DeviceInfo:
    """Choose the device that this process computes on, and check that it can.

    Parameters
    ----------
    index
        Its number; None for the one in use, at first what ``EMOREF_CUDA_DEVICE`` says, else 0.

    Returns
    -------
    DeviceInfo
        The device.

    Raises
    ------
    BackendError
        If there is no driver or no such device, if the device is too old, or if this process already
        computes on another.
    """
    if index is None:
        index = _selected[0] if _selected else _index_from_environment()
    info = _checked_device(index)
    if _selected and _selected[0] != index:
        raise BackendError(
            f'back end "cuda": this process computes on device {_selected[0]} already; '
            f"start another for device {index}"
        )
    if not _selected:
        if not SIMULATED:
            cuda.select_device(index)
        _selected.append(index)
    return info


def _index_from_environment() -> int:
    value = os.environ.get("EMOREF_CUDA_DEVICE", "0")
    if not value.isdigit():
        raise BackendError(f"EMOREF_CUDA_DEVICE is {value!r}; set it to the number of a device, from 0")
    return int(value)


@cache
def _checked_device(index: int) -> DeviceInfo:
    info = device_info(index)
    if info.capability < LEAST_CAPABILITY:
        found, wanted = (".".join(map(str, version)) for version in (info.capability, LEAST_CAPABILITY))
        raise BackendError(
            f'back end "cuda": device {index} ({info.name}) has compute capability {found}; '
            f"at least {wanted} is needed. Use --backend cpu"
        )
    return info
