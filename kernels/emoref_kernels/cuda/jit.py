"""The one decorator for every kernel: compiled at its first launch, and known to the checks without a GPU.

A kernel states its arguments as a text, one letter each, so that it can also be compiled to PTX where there
is no device: ``f`` an array of float32, ``d`` of float64, ``i`` of int64, ``b`` of bool, all flat and
C-contiguous; ``n`` an int64, ``s`` a float32 and ``x`` a float64 number.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from emoref_kernels.cuda.lanes import Lane, current_lane
from emoref_kernels.cuda.provider import SIMULATED, block, cuda, intrinsic

__all__ = ["KERNELS", "THREADS", "Kernel", "device", "kernel", "load4", "shared_floats"]

THREADS = 16 if SIMULATED else 256
"""Threads of a block in kernels that work value by value or reduce."""

_SHARED_MEMORY = 3
"""Number of the address space."""

_LETTERS = frozenset("fdibnsx")

_MOST_LAUNCHERS = 4096


class Kernel:
    """One kernel; calling it launches it.

    Parameters
    ----------
    function : callable
        The Python function.
    name : str
        Its name in reports.
    arguments : str
        One letter an argument, see the module.
    hot : bool
        Whether most of a training's time goes into it, so that no register may spill.

    Attributes
    ----------
    launches : int
        How often it was launched in this process.
    """

    def __init__(self, function: Callable[..., None], name: str, arguments: str, hot: bool) -> None:
        if not set(arguments) <= _LETTERS:
            raise ValueError(f"kernel {name}: arguments {arguments!r} hold an unknown letter")
        self.function, self.name, self.arguments, self.hot = function, name, arguments, hot
        self.launches = 0
        self._compiled = cuda.jit(function)
        self._launchers: dict[tuple[tuple[int, ...], int, Lane], Any] = {}

    def __call__(self, blocks: int | tuple[int, ...], threads: int, *values: Any) -> None:
        """Launch `blocks` of `threads` threads each on the current lane; returns at once.

        Nothing happens without blocks.
        """
        if len(values) != len(self.arguments):
            raise ValueError(f"kernel {self.name} takes {len(self.arguments)} arguments, got {len(values)}")
        counts = blocks if isinstance(blocks, tuple) else (blocks,)
        if min(counts) < 1:
            return
        self.launches += 1
        lane = current_lane()
        given = [
            _CASTS[letter](value) if letter in _CASTS else _memory(value, lane)
            for letter, value in zip(self.arguments, values, strict=True)
        ]
        self._launcher(counts, threads, lane)(*given)

    def _launcher(self, counts: tuple[int, ...], threads: int, lane: Lane) -> Any:
        """Return what launches so many blocks on a lane.

        The provider makes it anew unless it is among the last 128 of all kernels together, and a training
        step has more of them than that; making one takes longer than the launch.
        """
        if SIMULATED:
            # The simulator has one for all, which remembers how it was configured last.
            return self._compiled[counts, threads, lane.stream]
        found = self._launchers.get((counts, threads, lane))
        if found is None:
            if len(self._launchers) >= _MOST_LAUNCHERS:
                self._launchers.clear()
            found = self._launchers[counts, threads, lane] = self._compiled[counts, threads, lane.stream]
        return found


def _memory(value: Any, lane: Lane) -> Any:
    """Return what a kernel takes for an array, which learns on which lane it is used."""
    if not hasattr(value, "memory"):
        return value
    value.used_on(lane)
    return value.memory


_CASTS: dict[str, Callable[[Any], Any]] = {"n": int, "s": np.float32, "x": float}

KERNELS: dict[str, Kernel] = {}
"""Every kernel of the package whose module was imported, by name."""


def kernel(arguments: str, *, name: str = "", hot: bool = False) -> Callable[[Callable[..., None]], Kernel]:
    """Return a decorator that makes a function a kernel and enters it into :data:`KERNELS`.

    Parameters
    ----------
    arguments
        One letter an argument, see the module.
    name
        Its name; that of the function, without underscores in front, if empty.
    hot
        Whether it must not spill registers.
    """

    def decorate(function: Callable[..., None]) -> Kernel:
        own = name or function.__name__.lstrip("_")
        if own in KERNELS:
            raise ValueError(f"there is a kernel {own!r} already")
        KERNELS[own] = Kernel(function, own, arguments, hot)
        return KERNELS[own]

    return decorate


def device(function: Callable[..., Any]) -> Any:
    """Return `function` as one that kernels call; it must name CUDA as `provider.block`."""
    return function if SIMULATED else cuda.jit(device=True)(function)


if SIMULATED:

    def load4(array: Any, index: int) -> tuple[Any, Any, Any, Any]:
        """Return four neighbouring values, from `index` on, a multiple of 4."""
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    def shared_floats(size: int) -> Callable[[], Any]:
        """Return a function that gives the block's own `size` float32 values; one call in a kernel."""
        return lambda: block.shared.array(size, numba.float32)

else:

    @intrinsic
    def load4(typing_context, array, index):
        """Load four neighbouring float32 values at once (16 bytes), from `index` on, a multiple of 4.

        The array must start at a multiple of 16 bytes, as that of :func:`shared_floats` does. Numba has no
        loads wider than one value of its own.
        """
        signature = types.UniTuple(types.float32, 4)(array, types.int64)

        def generate(context, builder, signature, values):
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            start = builder.gep(data, [values[1]], inbounds=True)
            vector = ir.VectorType(ir.FloatType(), 4)
            start = builder.bitcast(start, ir.PointerType(vector, addrspace=start.type.addrspace))
            loaded = builder.load(start, align=16)
            places = (ir.Constant(ir.IntType(32), place) for place in range(4))
            parts = [builder.extract_element(loaded, place) for place in places]
            return context.make_tuple(builder, signature.return_type, parts)

        return signature, generate

    def shared_floats(size: int) -> Callable[[], Any]:
        """Return a function that gives the block's own `size` float32 values, aligned to 16 bytes."""

        @intrinsic
        def allocate(typing_context):
            array_type = types.Array(types.float32, 1, "C")

            def generate(context, builder, signature, values):
                module, block = builder.module, ir.ArrayType(ir.FloatType(), size)
                name = module.get_unique_name("emoref_shared")
                memory = ir.GlobalVariable(module, block, name, addrspace=_SHARED_MEMORY)
                memory.linkage, memory.align = "internal", 16
                memory.initializer = ir.Constant(block, ir.Undefined)
                data = builder.addrspacecast(memory, ir.PointerType(block))
                array = context.make_array(array_type)(context, builder)
                array.data = builder.bitcast(data, ir.PointerType(ir.FloatType()))
                array.shape = ir.Constant(array.shape.type, [size])
                array.strides = ir.Constant(array.strides.type, [4])
                array.itemsize = context.get_constant(types.intp, 4)
                array.nitems = context.get_constant(types.intp, size)
                array.meminfo = ir.Constant(array.meminfo.type, None)
                array.parent = ir.Constant(array.parent.type, None)
                return array._getvalue()

            return array_type(), generate

        return allocate
