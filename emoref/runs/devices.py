"""Which device a run computes on: read from the command line, checked before a run folder is made."""

import os

from emoref.errors import BackendError
from emoref_kernels import load_backend

__all__ = ["check_backend", "device_rows", "split_backend"]


def split_backend(backend: str) -> str:
    """Return the name of a back end given as ``cuda:1``, and make 1 the device of this process.

    The number does not belong to an experiment, so it goes into the environment variable
    ``EMOREF_CUDA_DEVICE``, which workers inherit, and not into the configuration.

    Parameters
    ----------
    backend : str
        What ``--backend`` says.

    Raises
    ------
    BackendError
        If what follows the colon is no number.
    """
    name, colon, number = backend.partition(":")
    if name != "cuda" or not colon:
        return backend
    if not number.isdigit():
        raise BackendError(f"--backend {backend}: after the colon comes the number of a device, from 0")
    os.environ["EMOREF_CUDA_DEVICE"] = number
    return name


def check_backend(name: str) -> None:
    """Raise BackendError if this machine cannot run a back end: no driver, no such or too old a device.

    Parameters
    ----------
    name : str
        As :func:`emoref_kernels.load_backend` takes it.
    """
    if name.partition(":")[0] == "cuda":
        load_backend(name)


def device_rows() -> dict[str, str]:
    """Return what ``emoref info`` shows of CUDA: what compiles, driver and devices, or what is missing."""
    from emoref_kernels.cuda import provider

    rows = {"CUDA compiler": provider.provider_name()}
    lacking = provider.missing()
    if lacking is not None:
        return {**rows, "CUDA device": f"none: {lacking}"}
    for index in range(provider.device_count()):
        info = provider.device_info(index)
        rows["CUDA driver"] = f"CUDA {info.driver}"
        rows[f"CUDA device {index}"] = (
            f"{info.name}, capability {'.'.join(map(str, info.capability))}, "
            f"{info.memory_bytes / 2**30:.0f} GiB, {info.multiprocessors} multiprocessors"
        )
    return rows
