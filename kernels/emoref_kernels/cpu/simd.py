"""Register-blocked multiplication: the innermost loop of every convolution and linear layer.

One tile of the result, :data:`ROWS` rows of one to three vectors of :data:`LANES` floats, stays in vector
registers while the reduction index k runs::

    C[m, j] (+)= sum over k of A[k, m] * B[k, j]      m < ROWS, j < vectors * LANES

LLVM's own vectoriser keeps such accumulators in memory, which costs a factor of four or more; the
:func:`numba.extending.intrinsic` functions below therefore write out the vector instructions themselves.

Each element is a chain of multiply-adds in increasing k, started from zero or from the stored value. It
depends neither on the place of its row and column in the tile nor on the width of the tile, and storing
and reloading a float32 changes nothing. So a result is bit for bit the same however the work is cut into
tiles and blocks, and :func:`fma` gives loops without tiles the same bits too.
"""

from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit

__all__ = [
    "LANES",
    "ROWS",
    "TILE",
    "VECTORS",
    "fma",
    "multiply_panels",
    "multiply_tile",
    "multiply_tile_loops",
]

_settings: Any = numba.config


def enabled_features() -> frozenset[str]:
    """Return the processor features that Numba compiles for, as LLVM names them.

    ``NUMBA_CPU_FEATURES`` (a list such as ``+avx2,-avx512f``) overrides what the processor has; together
    with ``NUMBA_CPU_NAME`` it stands alone, because the other processor's features are not known here.
    """
    host = {name[1:] for name in get_host_cpu_features().split(",") if name.startswith("+")}
    setting = _settings.CPU_FEATURES
    if setting is None:
        return frozenset(host)
    features = host if _settings.CPU_NAME is None else set()
    for item in setting.split(","):
        if item.startswith("+"):
            features.add(item[1:])
        elif item.startswith("-"):
            features.discard(item[1:])
    return frozenset(features)


def tile_geometry(features: frozenset[str], arm: bool) -> tuple[int, int, int, bool]:
    """Choose the tile for a processor.

    Parameters
    ----------
    features : frozenset of str
        Names as LLVM gives them.
    arm : bool
        Whether the target is AArch64, which always has fused multiply-add and 32 vector registers.

    Returns
    -------
    lanes, rows, vectors : int
        Floats in a vector, rows of a tile, and most vectors in a row of it. rows * vectors accumulators,
        the vectors of B and one broadcast value of A fill the registers: 28 of 32, or 16 of 16.
    fused : bool
        Whether multiply and add are one instruction with one rounding.
    """
    if arm:
        return 4, 8, 3, True
    if {"avx512f", "fma"} <= features:
        return 16, 8, 3, True
    if {"avx2", "fma"} <= features:
        return 8, 4, 3, True
    return 4, 4, 2, "fma" in features


LANES, ROWS, VECTORS, _FUSED = tile_geometry(
    enabled_features(), binding.get_process_triple().startswith(("aarch64", "arm64"))
)
TILE = VECTORS * LANES
"""Columns of the widest tile."""

_FLOAT = ir.FloatType()
INT64 = ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def multiply_add(builder: Any, a: Any, b: Any, addend: Any) -> Any:
    """Emit a * b + addend for scalars or vectors."""
    if not _FUSED:
        return builder.fadd(builder.fmul(a, b), addend)
    suffix = f"v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "f32"
    function_type = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fma.{suffix}")
    return builder.call(function, [a, b, addend])


def integer(value: int) -> Any:
    """Emit a 64-bit integer that is known at compile time."""
    return ir.Constant(INT64, value)


def broadcast(builder: Any, value: Any, lanes: int) -> Any:
    """Emit a vector of `lanes` copies of a float."""
    undefined = ir.Constant(ir.VectorType(_FLOAT, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def _load_vector(builder: Any, pointer: Any, index: int) -> Any:
    """Load vector number `index` from a pointer to floats; floats are aligned to 4 bytes, no more."""
    place = builder.gep(pointer, [integer(index * LANES)])
    load = builder.load(builder.bitcast(place, _VECTOR.as_pointer()))
    load.align = 4
    return load


def _store_vector(builder: Any, value: Any, pointer: Any, index: int) -> None:
    place = builder.gep(pointer, [integer(index * LANES)])
    store = builder.store(value, builder.bitcast(place, _VECTOR.as_pointer()))
    store.align = 4


def _emit_tile(rows: int, vectors: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the code of one tile; the arguments are those of :func:`multiply_tile_loops` but the last two."""

    def data(position: int) -> Any:
        array_type = signature.args[position]
        return context.make_array(array_type)(context, builder, args[position]).data

    c_start, c_stride, a_start, b_start, k_start, k_count, accumulate = (
        args[i] for i in (1, 2, 4, 6, 8, 9, 10)
    )
    entry = builder.function
    a_pointer = builder.gep(data(3), [a_start])
    b_pointer = builder.gep(data(5), [b_start])
    offset_pointer = builder.gep(data(7), [k_start])
    row_pointers = [builder.gep(data(0), [c_start])]
    for _ in range(1, rows):
        row_pointers.append(builder.gep(row_pointers[-1], [c_stride]))
    cells = [(row, vector) for row in range(rows) for vector in range(vectors)]

    load_block = entry.append_basic_block("tile.load")
    start_block = entry.append_basic_block("tile.start")
    loop_block = entry.append_basic_block("tile.loop")
    store_block = entry.append_basic_block("tile.store")

    from_block = builder.block
    zero = integer(0)
    builder.cbranch(builder.icmp_signed("!=", accumulate, zero), load_block, start_block)

    builder.position_at_end(load_block)
    stored = [_load_vector(builder, row_pointers[row], vector) for row, vector in cells]
    builder.branch(start_block)

    builder.position_at_end(start_block)
    initial = []
    for value in stored:
        phi = builder.phi(_VECTOR)
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), from_block)
        phi.add_incoming(value, load_block)
        initial.append(phi)
    builder.cbranch(builder.icmp_signed(">", k_count, zero), loop_block, store_block)

    builder.position_at_end(loop_block)
    k = builder.phi(INT64)
    sums = [builder.phi(_VECTOR) for _ in cells]
    b_row = builder.gep(b_pointer, [builder.load(builder.gep(offset_pointer, [k]))])
    a_row = builder.gep(a_pointer, [builder.mul(k, integer(rows))])
    b_values = [_load_vector(builder, b_row, vector) for vector in range(vectors)]
    updated = []
    for row in range(rows):
        a_value = broadcast(builder, builder.load(builder.gep(a_row, [integer(row)])), LANES)
        for vector in range(vectors):
            updated.append(multiply_add(builder, a_value, b_values[vector], sums[row * vectors + vector]))
    next_k = builder.add(k, integer(1))
    k.add_incoming(zero, start_block)
    k.add_incoming(next_k, loop_block)
    for phi, before, after in zip(sums, initial, updated, strict=True):
        phi.add_incoming(before, start_block)
        phi.add_incoming(after, loop_block)
    builder.cbranch(builder.icmp_signed("<", next_k, k_count), loop_block, store_block)

    builder.position_at_end(store_block)
    results = [builder.phi(_VECTOR) for _ in cells]
    for (row, vector), phi, before, after in zip(cells, results, initial, updated, strict=True):
        phi.add_incoming(before, start_block)
        phi.add_incoming(after, loop_block)
        _store_vector(builder, phi, row_pointers[row], vector)
    return context.get_dummy_value()


_FLOATS = types.Array(types.float32, 1, "C")
_OFFSETS = types.Array(types.int64, 1, "C")
_TILE_SIGNATURE = types.void(
    _FLOATS,
    types.int64,
    types.int64,
    _FLOATS,
    types.int64,
    _FLOATS,
    types.int64,
    _OFFSETS,
    *[types.int64] * 3,
)


@intrinsic
def _tile_1(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, ROWS, 1)


@intrinsic
def _tile_2(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, ROWS, 2)


@intrinsic
def _tile_3(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, ROWS, 3)


@intrinsic
def _row_1(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, 1, 1)


@intrinsic
def _row_2(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, 1, 2)


@intrinsic
def _row_3(typingctx, c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate):
    return _TILE_SIGNATURE, partial(_emit_tile, 1, 3)


@intrinsic
def _fused(typingctx, a, b, addend):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return multiply_add(builder, *args)

    return types.float32(types.float32, types.float32, types.float32), emit


def _fma_interpreted(a, b, addend):
    return np.float32(float(a) * float(b) + float(addend))


@jit(inline="always")
def _fma_compiled(a, b, addend):
    return _fused(a, b, addend)


# Intrinsics exist in compiled code only; interpreted kernels use plain twins.
INTERPRETED = bool(_settings.DISABLE_JIT)
fma: Any = _fma_interpreted if INTERPRETED else _fma_compiled
"""``fma(a, b, addend)`` is a * b + addend of float32 values, rounded as :func:`multiply_tile` rounds."""


@jit()
def multiply_tile_loops(
    c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate, rows, vectors
):
    """Multiply one tile in plain loops: the meaning of :func:`multiply_tile`.

    Parameters
    ----------
    c : ndarray of float32, 1-D
        Holds the result: row m begins at ``c_start + m * c_stride``.
    c_start, c_stride : int
        Place of row 0, and distance of the rows.
    a : ndarray of float32, 1-D
        A packed by `rows`: A[k, m] is ``a[a_start + k * rows + m]``.
    a_start : int
        Place of A[0, 0].
    b : ndarray of float32, 1-D
        B[k, j] is ``b[b_start + b_offsets[k_start + k] + j]``.
    b_start : int
        Place added to every offset.
    b_offsets : ndarray of int64, 1-D
        Offset of each row of B. Rows may overlap: a convolution's rows are shifted views of one image.
    k_start, k_count : int
        First entry of `b_offsets`, and number of terms.
    accumulate : int
        0 starts each sum from zero, 1 from what `c` holds.
    rows : int
        Height of the tile: :data:`ROWS`, or 1.
    vectors : int
        Width of the tile in vectors, 1 to :data:`VECTORS`.
    """
    for m in range(rows):
        for j in range(vectors * LANES):
            place = c_start + m * c_stride + j
            total = c[place] if accumulate else np.float32(0.0)
            for k in range(k_count):
                b_value = b[b_start + b_offsets[k_start + k] + j]
                total = fma(a[a_start + k * rows + m], b_value, total)
            c[place] = total


@jit()
def multiply_tile(
    c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate, rows, vectors
):
    """Multiply one tile in vector registers; :func:`multiply_tile_loops` says what each argument is.

    Nothing checks the places: all rows and all vectors * LANES columns are read and written.
    """
    if rows == 1:
        if vectors == 1:
            _row_1(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)
        elif vectors == 2:
            _row_2(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)
        else:
            _row_3(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)
    elif vectors == 1:
        _tile_1(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)
    elif vectors == 2:
        _tile_2(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)
    else:
        _tile_3(c, c_start, c_stride, a, a_start, b, b_start, b_offsets, k_start, k_count, accumulate)


@jit()
def multiply_panels(
    c, c_start, c_stride, a, a_start, a_panel, panels, b, b_start, b_offsets, k_start, k_count, accumulate,
    rows, vectors,
):  # fmt: skip
    """Multiply a stack of tiles: `panels` times `rows` rows of C, with the same columns of B.

    Panel p of A begins at ``a_start + p * a_panel``, and panel p of C begins `rows` rows below panel p - 1.
    The other arguments are those of :func:`multiply_tile_loops`.
    """
    for panel in range(panels):
        c_place = c_start + panel * rows * c_stride
        a_place = a_start + panel * a_panel
        multiply_tile(
            c,
            c_place,
            c_stride,
            a,
            a_place,
            b,
            b_start,
            b_offsets,
            k_start,
            k_count,
            accumulate,
            rows,
            vectors,
        )


if INTERPRETED:
    multiply_tile = multiply_tile_loops
