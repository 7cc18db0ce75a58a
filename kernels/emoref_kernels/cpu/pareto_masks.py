"""Sets of up to 64 neighbours in a column of small integers, held as the bits of one integer.

Bit k of a mask stands for element ``at + k`` of the column. A comparison of 64 elements is a few vector
instructions and gives a mask; conditions are then combined by ``&`` and ``|``. LLVM's vectoriser does not
find this form in loops, so the functions write it out; they are portable, as LLVM cuts the vectors to the
width of the processor.

All 64 elements are read, whatever the mask: columns have room for whole blocks.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["BITS", "LAST", "WIDTH", "at_most", "least", "lowest_bit"]

BITS = 6
WIDTH = 1 << BITS
"""Elements that a mask is about."""

LAST = WIDTH - 1
"""The last of them: element k of a column is bit ``k & LAST`` of mask ``k >> BITS``."""

_MASK = ir.IntType(WIDTH)


def _block(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Load the elements that a mask is about."""
    array_type = signature.args[0]
    data = context.make_array(array_type)(context, builder, args[0]).data
    element = context.get_data_type(array_type.dtype)
    pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.VectorType(element, WIDTH).as_pointer())
    block = builder.load(pointer)
    block.align = element.width // 8
    return block


def _copies(builder: Any, value: Any, vector: Any) -> Any:
    """Return a vector of copies of a 64-bit integer, cut to the vector's elements."""
    element, undefined = vector.element, ir.Constant(vector, ir.Undefined)
    if element.width < WIDTH:
        value = builder.trunc(value, element)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, places)


@intrinsic
def _at_most(typingctx, column, at, bound):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _block(context, builder, signature, args)
        smaller = builder.icmp_signed("<=", block, _copies(builder, args[2], block.type))
        return builder.bitcast(smaller, _MASK)

    return types.int64(column, types.int64, types.int64), emit


@intrinsic
def _least(typingctx, column, at, mask, otherwise):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _block(context, builder, signature, args)
        chosen = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), WIDTH))
        block = builder.select(chosen, block, _copies(builder, args[3], block.type))
        element = block.type.element
        name = f"llvm.vector.reduce.smin.v{WIDTH}i{element.width}"
        function_type = ir.FunctionType(element, [block.type])
        smallest = builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [block])
        return smallest if element.width == WIDTH else builder.sext(smallest, _MASK)

    return types.int64(column, types.int64, types.int64, types.int64), emit


@intrinsic
def _lowest_bit(typingctx, mask):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


def _at_most_interpreted(column, at, bound):
    return np.packbits(column[at : at + WIDTH] <= bound, bitorder="little").view(np.int64)[0]


def _least_interpreted(column, at, mask, otherwise):
    chosen = np.unpackbits(np.array([mask], np.int64).view(np.uint8), bitorder="little").astype(np.bool_)
    return int(column[at : at + WIDTH][chosen].min(initial=otherwise))


def _lowest_bit_interpreted(mask):
    return (int(mask) & -int(mask)).bit_length() - 1


# Intrinsics exist in compiled code only; interpreted kernels use plain twins.
_settings: Any = numba.config
_INTERPRETED = bool(_settings.DISABLE_JIT)

at_most: Any = _at_most_interpreted if _INTERPRETED else _at_most
"""``at_most(column, at, bound)``: mask of the elements from `at` on that are not larger than `bound`.

`column` is a C-contiguous array of signed integers, (n,); `bound` must be a value of their type.
"""

least: Any = _least_interpreted if _INTERPRETED else _least
"""``least(column, at, mask, otherwise)``: the smallest of `otherwise` and the elements in `mask`."""

lowest_bit: Any = _lowest_bit_interpreted if _INTERPRETED else _lowest_bit
"""``lowest_bit(mask)``: place of the lowest bit of a mask that is not 0."""
