"""One parallel loop that runs the parts of many kernels.

Numba compiles a parallel loop several times over, with everything that it calls: as a function on its own, as
what the threads call, and as part of its caller. For a kernel of some hundred lines this took more than ten
seconds. So the loop here does not know what it calls. A *worker* is compiled once, as an ordinary function,
and handed over as the address of its code; all workers take the same arguments.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED

__all__ = ["keep_apart", "share"]

_INTS, _FLOATS = types.Array(types.int64, 1, "C"), types.Array(types.float32, 1, "C")
_INT_ARRAYS, _FLOAT_ARRAYS = 2, 5
_SIGNATURE = types.void(types.int64, types.int64, *[_INTS] * _INT_ARRAYS, *[_FLOATS] * _FLOAT_ARRAYS)
_NO_INTS, _NO_FLOATS = np.zeros(0, np.int64), np.zeros(0, np.float32)


@intrinsic
def _call(typingctx, address, part, parts, i, j, a, b, c, d, e):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[1:]
        pointer = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        worker = builder.inttoptr(args[0], pointer)
        context.call_conv.call_function(builder, worker, types.none, kinds, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, i, j, a, b, c, d, e), emit


@intrinsic
def _keep_apart(typingctx):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), emit


def _do_nothing() -> None:
    """Stand for :data:`keep_apart` where nothing is compiled."""


keep_apart: Any = _do_nothing if INTERPRETED else _keep_apart
"""``keep_apart()`` in a compiled function prevents copies of its code in its callers.

One of them is there for every function: what Numba makes so that Python can call it. So a large function
that is called seldom compiles in half of the time.
"""


@jit(parallel=True)
def _run(address, parts, i, j, a, b, c, d, e):
    for part in numba.prange(parts):
        _call(address, np.int64(part), parts, i, j, a, b, c, d, e)


@cache
def _address(worker: Any) -> int:
    """Return where the compiled code of a worker lies; it stays there as long as the worker lives."""
    worker.compile(_SIGNATURE)
    compiled = worker.overloads[_SIGNATURE.args]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def share(worker: Any, parts: int, ints: tuple[NDArray[Any], ...], floats: tuple[NDArray[Any], ...]) -> None:
    """Call a worker for each of some parts; the threads share them.

    Parameters
    ----------
    worker : callable
        Compiled by :func:`~emoref_kernels.cpu.jit.jit`; a function of the part, the number of parts, 2 arrays
        of int64 and 5 of float32, 1-D and C-contiguous, that raises nothing and returns None.
    parts : int
        Number of parts.
    ints, floats : tuple of ndarray
        Its arrays, or the first of them; it gets empty ones for the others.

    Examples
    --------
    >>> import numpy as np
    >>> from emoref_kernels.cpu.jit import jit
    >>> @jit()
    ... def number(part, parts, i, j, a, b, c, d, e):
    ...     a[part] = 10 * part + parts
    >>> values = np.zeros(3, np.float32)
    >>> share(number, 3, (), (values,))
    >>> values
    array([ 3., 13., 23.], dtype=float32)
    """
    no_ints, no_floats = _INT_ARRAYS - len(ints), _FLOAT_ARRAYS - len(floats)
    arrays = (*ints, *[_NO_INTS] * no_ints, *floats, *[_NO_FLOATS] * no_floats)
    if INTERPRETED:
        for part in range(parts):
            worker(part, parts, *arrays)
    else:
        _run(_address(worker), parts, *arrays)
