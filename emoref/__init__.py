"""emoref: a reference for evolutionary multi-objective compression of convolutional networks.

The engine (``nn``, ``emo``, ``data``, ``networks``, ``compress``, ``search``) needs numpy, numba, scipy and
h5py alone. Sub-packages are imported when first used, so ``import emoref`` itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_SUBMODULES = (
    "compress",
    "data",
    "emo",
    "errors",
    "networks",
    "nn",
    "report",
    "runs",
    "search",
    "systems",
    "verify",
)

if TYPE_CHECKING:
    from emoref import compress, data, emo, errors, networks, nn, report, runs, search, systems, verify

__all__ = [
    "__version__",
    "compress",
    "data",
    "emo",
    "errors",
    "networks",
    "nn",
    "report",
    "runs",
    "search",
    "systems",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"emoref.{name}")
    raise AttributeError(f"module 'emoref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
