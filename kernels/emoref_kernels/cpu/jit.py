"""The one decorator for every compiled function of the CPU back end.

All compiled functions share four decisions, made here and nowhere else:

* ``error_model="numpy"``: a division by zero gives inf or nan, as in NumPy, and loops stay vectorisable;
* ``nogil=True``: other Python threads go on while a kernel runs;
* fast-math is off unless asked for, and then only flags that keep nan, inf and their comparisons intact;
* compiled code is cached on disk, unless the environment variable ``EMOREF_NUMBA_CACHE`` is ``0``.

Numba looks only at the file of the compiled function when it judges whether a cached copy is still
good. A kernel that calls a helper of another module would go on using the old helper after an edit.
:func:`jit` therefore adds a fingerprint of all modules of this package that the function's own module
imports, directly or indirectly, to what Numba compares.
"""

import ast
import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from emoref_kernels.errors import BackendError

__all__ = ["ALLOWED_FASTMATH", "jit"]

ALLOWED_FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})
"""Fast-math flags that no nan, inf or comparison depends on."""

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


def cache_enabled() -> bool:
    """Return whether compiled code is kept on disk (``EMOREF_NUMBA_CACHE``, 1 unless set).

    Raises
    ------
    BackendError
        If the variable is set to anything but ``0`` or ``1``.
    """
    value = os.environ.get("EMOREF_NUMBA_CACHE", "1")
    if value not in {"0", "1"}:
        raise BackendError(f"EMOREF_NUMBA_CACHE is {value!r}; set it to 0 (no cache) or 1 (cache on disk)")
    return value == "1"


def jit(
    *, parallel: bool = False, fastmath: bool | Iterable[str] = False, inline: str = "never"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a function with the project's settings.

    Parameters
    ----------
    parallel : bool
        Let ``numba.prange`` loops run on several threads.
    fastmath : False or iterable of str
        Subset of :data:`ALLOWED_FASTMATH`. Use it only where a test bounds the error.
    inline : {"never", "always"}
        ``"always"`` copies the function into its callers before type inference.

    Returns
    -------
    callable
        The decorator; what it returns is a Numba dispatcher.

    Raises
    ------
    BackendError
        If a fast-math flag outside the allowed set is asked for (``True`` asks for all of them), or if
        ``EMOREF_NUMBA_CACHE`` has a value other than 0 and 1.

    Notes
    -----
    If no folder for the cache can be written, Numba refuses to cache. The function is then compiled
    anew in each process; a warning goes to the log ``emoref_kernels.cpu.jit``, once for each module.

    Examples
    --------
    >>> import numpy as np
    >>> @jit()
    ... def double(x):
    ...     return 2.0 * x
    >>> double(21.0)
    42.0
    """
    options: dict[str, Any] = {
        "parallel": parallel,
        "fastmath": _checked_fastmath(fastmath),
        "inline": inline,
        "error_model": "numpy",
        "nogil": True,
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        # Code typed into an interpreter or a doctest has no file to which a cache could belong.
        if not cache_enabled() or not Path(function.__code__.co_filename).is_file():
            return numba.njit(**options)(function)
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _warn_uncached(function.__module__)
            return numba.njit(**options)(function)
        _stamp(compiled, function)
        return compiled

    return decorate


def _checked_fastmath(flags: bool | Iterable[str]) -> bool | set[str]:
    if flags is False:
        return False
    chosen = {"fast"} if flags is True else set(flags)
    refused = sorted(chosen - ALLOWED_FASTMATH)
    if refused:
        raise BackendError(
            f"fastmath {', '.join(refused)} is not allowed: it may drop nan and inf; "
            f"choose from {', '.join(sorted(ALLOWED_FASTMATH))}"
        )
    return chosen


@cache
def _warn_uncached(module: str) -> None:
    _log.warning(
        "%s: no folder for compiled code can be written, so it is compiled anew in each process; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        module,
    )


def _stamp(compiled: Any, function: Callable[..., Any]) -> None:
    """Make a cached copy stale when a module changes that the function's own module imports."""
    cache_file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    own_stamp = getattr(cache_file, "_source_stamp", None)
    if own_stamp is None:
        # NUMBA_DISABLE_JIT, or a Numba that keeps its stamp elsewhere: Numba's own rule applies.
        return
    fingerprint = _fingerprint(Path(function.__code__.co_filename).resolve())
    cache_file._source_stamp = (own_stamp, fingerprint)  # type: ignore[union-attr]


@cache
def _fingerprint(source: Path) -> str:
    """Hash the contents of a module and of all modules of this package that it imports."""
    digest = hashlib.blake2b(digest_size=16)
    seen: set[Path] = set()
    pending = [source]
    while pending:
        path = pending.pop()
        if path in seen:
            continue
        seen.add(path)
        pending.extend(sorted(_package_imports(path)))
    for path in sorted(seen):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _package_imports(path: Path) -> frozenset[Path]:
    """Return the files of ``emoref_kernels.cpu`` that one module names in its import statements."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            # One leading dot stands for the package of the module itself, two for the package above.
            folders = path.parts[len(_PACKAGE_ROOT.parts) : -node.level] if node.level else ()
            stem = ".".join((*folders, node.module) if node.module else folders)
            names = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("emoref_kernels.cpu."):
                candidate = _PACKAGE_ROOT.joinpath(*name.split(".")).with_suffix(".py")
                if candidate.is_file():
                    found.add(candidate)
    return frozenset(found)
