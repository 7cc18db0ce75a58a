"""Which software and which machine produced a result."""

import importlib.metadata
import os
import platform
from pathlib import Path

import emoref

_PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "h5py", "typer", "rich", "pydantic", "plotly")


def versions() -> dict[str, str]:
    """Return the versions of emoref, Python and the libraries that it computes with."""
    found = {"emoref": emoref.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str | int]:
    """Return processor, number of usable cores and operating system."""
    return {"processor": _processor(), "cores": usable_cores(), "system": platform.platform(terse=True)}


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
