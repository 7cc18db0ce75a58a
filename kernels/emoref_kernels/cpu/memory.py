"""Keeping freed memory for the next arrays of the same size.

A training step makes and drops the same large arrays again and again. The C library returns large blocks to
the operating system at once, and each new one costs a page fault for every 4 KB that is touched: a tenth of a
step's time and more. :func:`keep_freed_memory` tells glibc to keep them.
"""

import ctypes
import logging
import os
import sys
from functools import cache

from emoref_kernels.errors import BackendError

__all__ = ["keep_freed_memory"]

_log = logging.getLogger(__name__)

# Numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK_BYTES = 32 * 2**20
_KEPT_BYTES = 2**30


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed blocks of up to 32 MiB, for the whole process.

    Called when the back end is loaded; the environment variable ``EMOREF_KEEP_MEMORY=0`` prevents it. The
    memory is the peak of what was in use before, so the peak does not grow by it.

    Returns
    -------
    bool
        Whether it was done: only under glibc, and unless it is prevented.

    Raises
    ------
    BackendError
        If the variable is set to anything but ``0`` or ``1``.
    """
    value = os.environ.get("EMOREF_KEEP_MEMORY", "1")
    if value not in {"0", "1"}:
        raise BackendError(f"EMOREF_KEEP_MEMORY is {value!r}; set it to 0 (freed memory is given back) or 1")
    if value == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        _log.info("freed memory is not kept: the C library has no mallopt")
        return False
    sizes = ((_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, size) == 1 for name, size in sizes)
