"""Sums of products of vectors of channels: what a depthwise convolution of channels-last maps consists of.

Lanes are channels, each with a filter of its own, so that pixels meet taps vector by vector and nothing is
shuffled. What matters is that a pixel is loaded once and used for all that needs it:

* :data:`column_sums` computes a row of results under 3 x 3 taps. The nine vectors of the filters stay in
  registers while the row goes by, and :data:`COLUMNS` neighbouring results share the pixels between them.
* :data:`tap_sums` is its counterpart for the gradient of the filters: there, nine sums stay in registers.
* :data:`window_sum` is a rectangle of products, for other kernels and for what is left at edges.

A row of a map is far from the next one where there are many channels, too far for the processor to foresee
what is read next. The first two therefore ask for the next row while they treat one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, fma, integer, multiply_add

__all__ = ["COLUMNS", "LOOPS", "SPREAD", "TAPS", "Row", "Window", "column_sums", "tap_sums", "window_sum"]

COLUMNS = 4
"""Results of a row that are treated together."""

TAPS = 3
"""Rows and columns of the taps of :data:`column_sums` and :data:`tap_sums`."""

SPREAD = 0
"""The kind of a row whose results lie twice as close as its pixels: see :class:`Row`."""

_WINDOW_VECTORS = 4
"""Vectors of a window that are summed side by side."""

_BIT_LANES = ir.VectorType(ir.IntType(32), LANES)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class Row(NamedTuple):
    """A row of results y, the pixels x under the taps, and the taps' values w; places count floats.

    Result q meets three columns of pixels, or two or one. Its `kind` says which:

    * 1 and 2: pixel ``kind * q + s`` lies under column s of the taps;
    * SPREAD: pixel q / 2 lies under column 0 if q is even; if q is odd, pixels (q - 1) / 2 and (q + 1) / 2
      lie under columns 1 and 2.

    Attributes
    ----------
    y_start, y_col, y_row : int
        Place of the first result, and distance of columns and rows.
    x_start, x_col, x_row : int
        Place of the pixel under the first column and the first row of taps, whether it exists or not.
    w_start, w_tap : int
        Place of the first tap's vector, and distance of the taps, which lie in the order of their rows. A
        tenth vector is added to every result of :data:`column_sums`.
    columns : int
        Results: at least COLUMNS; even for SPREAD, a multiple of COLUMNS for :data:`tap_sums`.
    row_first, row_last : int
        Range of the rows of taps under which there are pixels; it may be wider than all rows.
    first, last : int
        Not 0: the first, or last, column of pixels exists; else it counts as zeros.
    lanes : int
        Channels, in whole vectors.
    """

    y_start: int
    y_col: int
    y_row: int
    x_start: int
    x_col: int
    x_row: int
    w_start: int
    w_tap: int
    columns: int
    row_first: int
    row_last: int
    first: int
    last: int
    lanes: int


class Window(NamedTuple):
    """A rectangle of products that are added to z, into y; places count floats.

    Attributes
    ----------
    y_start, z_start : int
        Places of the result and of what is added.
    x_start, x_col, x_row : int
        Place of the first pixel, and distance of columns and rows.
    w_start, w_col, w_row : int
        The same for the other factor.
    rows, cols : int
        Extents; if one is 0, y is z.
    lanes : int
        Channels: any number below LANES, or whole vectors.
    """

    y_start: int
    z_start: int
    x_start: int
    x_col: int
    x_row: int
    w_start: int
    w_col: int
    w_row: int
    rows: int
    cols: int
    lanes: int


# ----------------------------------------------------------------------------------------- instructions


def _at(builder: Any, pointer: Any, step: Any, times: Any) -> Any:
    """Return the pointer that is `times` steps further."""
    return builder.gep(pointer, [builder.mul(step, integer(times) if isinstance(times, int) else times)])


def _fields(builder: Any, value: Any, kind: Any) -> Any:
    return kind(*(builder.extract_value(value, i) for i in range(len(kind._fields))))


@contextmanager
def _loop(builder: Any, first: Any, last: Any, step: int) -> Iterator[Any]:
    """Emit a loop that LLVM does not unroll: its body is long enough, and would be compiled many times."""
    with cgutils.for_range_slice(builder, first, last, integer(step)) as (index, _):
        yield index
        latch = builder.block
    module = builder.module
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    own = ir.MDValue(module, [disable], name=str(len(module.metadata)))
    # What is said about a loop begins with a reference to itself.
    own.operands = (own, disable)
    latch.terminator.set_metadata("llvm.loop", own)


def _prefetch(builder: Any, pointer: Any, written: bool) -> None:
    """Emit the hint that a line will be read, or written, soon; it may lie outside of all arrays."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0i8")
    flags = [ir.Constant(number, value) for value in (int(written), 3, 1)]
    builder.call(function, [builder.bitcast(pointer, byte), *flags])


def _add_products(builder: Any, slot: Any, a: Any, b: Any) -> None:
    builder.store(multiply_add(builder, a, b, builder.load(slot)), slot)


def _met(kind: int, result: int) -> list[tuple[int, int]]:
    """Return the pixels that a result meets, each with the column of its tap."""
    if kind != SPREAD:
        return [(result * kind + s, s) for s in range(TAPS)]
    pixel = result // 2
    return [(pixel, 1), (pixel + 1, 2)] if result % 2 else [(pixel, 0)]


class _Block:
    """COLUMNS results of a row, from `column` on: what they read."""

    def __init__(self, builder: Any, kind: int, row: Row, column: Any) -> None:
        self.builder, self.kind, self.row = builder, kind, row
        self.met = [_met(kind, q) for q in range(COLUMNS)]
        self.width = max(pixel for met in self.met for pixel, _ in met) + 1
        shift = builder.ashr(column, integer(1)) if kind == SPREAD else builder.mul(column, integer(kind))
        self.shift = builder.mul(shift, row.x_col)
        zero, final = integer(0), builder.sub(row.columns, integer(COLUMNS))
        exists = (
            builder.or_(builder.icmp_signed("!=", row.first, zero), builder.icmp_signed(">", column, zero)),
            builder.or_(builder.icmp_signed("!=", row.last, zero), builder.icmp_signed("<", column, final)),
        )
        # Where an outermost pixel does not exist, its neighbour is read instead, and no bit of it is kept.
        self.edges = [
            (builder.select(flag, *(builder.mul(row.x_col, integer(k)) for k in places)), self._mask(flag))
            for flag, places in zip(exists, ((0, 1), (self.width - 1, self.width - 2)), strict=True)
        ]

    def _mask(self, flag: Any) -> Any:
        undefined = ir.Constant(_BIT_LANES, ir.Undefined)
        bits = self.builder.sext(flag, ir.IntType(32))
        first = self.builder.insert_element(undefined, bits, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(_BIT_LANES, [0] * LANES))

    def _line(self, x: Any, r: int) -> Any:
        return self.builder.gep(_at(self.builder, x, self.row.x_row, r), [self.shift])

    def pixels(self, x: Any, r: int) -> list[Any]:
        """Load the pixels under row r of the taps; `x` points to the row's first pixel."""
        builder, line = self.builder, self._line(x, r)
        ends = []
        for offset, mask in self.edges:
            bits = builder.bitcast(load_lanes(builder, builder.gep(line, [offset])), _BIT_LANES)
            ends.append(builder.bitcast(builder.and_(bits, mask), _VECTOR))
        inner = [load_lanes(builder, _at(builder, line, self.row.x_col, k)) for k in range(1, self.width - 1)]
        return [ends[0], *inner, ends[1]]

    def prefetch(self, x: Any, y: Any, written: bool) -> None:
        """Ask for what the next row of results reads first here, and for its results."""
        builder, row = self.builder, self.row
        lines, pixels = (1, COLUMNS // 2) if self.kind == SPREAD else (self.kind, COLUMNS * self.kind)
        below = TAPS - 1 if self.kind == SPREAD else TAPS
        for r in range(below, below + lines):
            for k in range(pixels):
                _prefetch(builder, _at(builder, self._line(x, r), row.x_col, k), False)
        for q in range(COLUMNS):
            _prefetch(builder, _at(builder, builder.gep(y, [row.y_row]), row.y_col, q), written)


def _rows_that_exist(builder: Any, row: Row) -> list[Any]:
    return [
        builder.and_(
            builder.icmp_signed("<=", row.row_first, integer(r)),
            builder.icmp_signed(">", row.row_last, integer(r)),
        )
        for r in range(TAPS)
    ]


def _emit_columns(kind: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`column_sums` for one kind of rows; the arguments are y, x, w and the row."""
    row = _fields(builder, args[3], Row)
    target, source, taps = (
        place_of(context, builder, signature, args, i, start)
        for i, start in enumerate((row.y_start, row.x_start, row.w_start))
    )
    exists = _rows_that_exist(builder, row)
    final = builder.sub(row.columns, integer(COLUMNS))
    end = builder.add(row.columns, integer(COLUMNS - 1))
    with _loop(builder, integer(0), row.lanes, LANES) as lane:
        y, x, w = (builder.gep(pointer, [lane]) for pointer in (target, source, taps))
        factors = [load_lanes(builder, _at(builder, w, row.w_tap, t)) for t in range(TAPS**2 + 1)]
        with _loop(builder, integer(0), end, COLUMNS) as index:
            # What is left after whole blocks is done by one that overlaps the one before.
            column = builder.select(builder.icmp_signed("<", index, final), index, final)
            block = _Block(builder, kind, row, column)
            slots = [cgutils.alloca_once_value(builder, factors[-1]) for _ in range(COLUMNS)]
            for r in range(TAPS):
                with builder.if_then(exists[r]):
                    pixels = block.pixels(x, r)
                    for met, slot in zip(block.met, slots, strict=True):
                        for pixel, s in met:
                            _add_products(builder, slot, pixels[pixel], factors[r * TAPS + s])
            place = _at(builder, y, row.y_col, column)
            block.prefetch(x, place, written=True)
            for q, slot in enumerate(slots):
                store_lanes(builder, builder.load(slot), _at(builder, place, row.y_col, q))
    return context.get_dummy_value()


def _emit_taps(kind: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`tap_sums` for one kind of rows; the arguments are dy, x, the sums and the row."""
    row = _fields(builder, args[3], Row)
    gradient, source, totals = (
        place_of(context, builder, signature, args, i, start)
        for i, start in enumerate((row.y_start, row.x_start, row.w_start))
    )
    exists = _rows_that_exist(builder, row)
    with _loop(builder, integer(0), row.lanes, LANES) as lane:
        y, x, w = (builder.gep(pointer, [lane]) for pointer in (gradient, source, totals))
        kept = [_at(builder, w, row.w_tap, t) for t in range(TAPS**2)]
        slots = [cgutils.alloca_once_value(builder, load_lanes(builder, pointer)) for pointer in kept]
        with _loop(builder, integer(0), row.columns, COLUMNS) as column:
            block = _Block(builder, kind, row, column)
            place = _at(builder, y, row.y_col, column)
            values = [load_lanes(builder, _at(builder, place, row.y_col, q)) for q in range(COLUMNS)]
            block.prefetch(x, place, written=False)
            for r in range(TAPS):
                with builder.if_then(exists[r]):
                    pixels = block.pixels(x, r)
                    for met, value in zip(block.met, values, strict=True):
                        for pixel, s in met:
                            _add_products(builder, slots[r * TAPS + s], value, pixels[pixel])
        for slot, pointer in zip(slots, kept, strict=True):
            store_lanes(builder, builder.load(slot), pointer)
    return context.get_dummy_value()


def _emit_window(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`window_sum`; the arguments are y, z, x, w and the window."""
    window = _fields(builder, args[4], Window)
    starts = window.y_start, window.z_start, window.x_start, window.w_start
    y, z, x, w = (place_of(context, builder, signature, args, i, start) for i, start in enumerate(starts))

    def emit_lanes(start: Any, vectors: int, load: Any, store: Any) -> None:
        lanes = [builder.add(start, integer(v * LANES)) for v in range(vectors)]
        slots = [cgutils.alloca_once_value(builder, load(builder, builder.gep(z, [own]))) for own in lanes]
        with _loop(builder, integer(0), window.rows, 1) as row:
            x_line, w_line = _at(builder, x, window.x_row, row), _at(builder, w, window.w_row, row)
            with _loop(builder, integer(0), window.cols, 1) as col:
                pixel = _at(builder, x_line, window.x_col, col)
                factor = _at(builder, w_line, window.w_col, col)
                for own, slot in zip(lanes, slots, strict=True):
                    a, b = (load(builder, builder.gep(pointer, [own])) for pointer in (pixel, factor))
                    _add_products(builder, slot, a, b)
        for own, slot in zip(lanes, slots, strict=True):
            store(builder, builder.load(slot), builder.gep(y, [own]))

    start = integer(0)
    for vectors in (_WINDOW_VECTORS, 1):
        end = builder.and_(window.lanes, integer(-vectors * LANES))
        with _loop(builder, start, end, vectors * LANES) as lane:
            emit_lanes(lane, vectors, load_lanes, store_lanes)
        start = end
    with _loop(builder, start, window.lanes, 1) as lane:
        emit_lanes(lane, 1, ir.IRBuilder.load, ir.IRBuilder.store)
    return context.get_dummy_value()


@intrinsic
def _columns_1(typingctx, y, x, w, row):
    return types.void(y, x, w, row), partial(_emit_columns, 1)


@intrinsic
def _columns_2(typingctx, y, x, w, row):
    return types.void(y, x, w, row), partial(_emit_columns, 2)


@intrinsic
def _columns_spread(typingctx, y, x, w, row):
    return types.void(y, x, w, row), partial(_emit_columns, SPREAD)


@intrinsic
def _taps_1(typingctx, dy, x, sums, row):
    return types.void(dy, x, sums, row), partial(_emit_taps, 1)


@intrinsic
def _taps_2(typingctx, dy, x, sums, row):
    return types.void(dy, x, sums, row), partial(_emit_taps, 2)


@intrinsic
def _window(typingctx, y, z, x, w, window):
    return types.void(y, z, x, w, window), _emit_window


# ----------------------------------------------------------------------------------------- their meaning


@jit()
def _pixel_met(kind, result, tap, width, row):
    """Return the pixel of a row that a result meets under one column of taps, or -1."""
    if kind == SPREAD:
        pixel = result // 2 + tap // 2
        if (tap > 0) != (result % 2 == 1):
            return -1
    else:
        pixel = result * kind + tap
    if (pixel == 0 and row.first == 0) or (pixel == width - 1 and row.last == 0):
        return -1
    return pixel


@jit()
def _width(kind, columns):
    """Return the pixels of a row under `columns` results."""
    return columns // 2 + 1 if kind == SPREAD else (columns - 1) * kind + TAPS


@jit()
def _column_loops(y, x, w, row, kind):
    width = _width(kind, row.columns)
    for k in range(row.lanes):
        for q in range(row.columns):
            total = w[row.w_start + TAPS**2 * row.w_tap + k]
            for r in range(max(row.row_first, 0), min(row.row_last, TAPS)):
                for s in range(TAPS):
                    pixel = _pixel_met(kind, q, s, width, row)
                    if pixel >= 0:
                        value = x[row.x_start + r * row.x_row + pixel * row.x_col + k]
                        total = fma(value, w[row.w_start + (r * TAPS + s) * row.w_tap + k], total)
            y[row.y_start + q * row.y_col + k] = total


@jit()
def _tap_loops(dy, x, sums, row, kind):
    width = _width(kind, row.columns)
    for k in range(row.lanes):
        for q in range(row.columns):
            value = dy[row.y_start + q * row.y_col + k]
            for r in range(max(row.row_first, 0), min(row.row_last, TAPS)):
                for s in range(TAPS):
                    pixel = _pixel_met(kind, q, s, width, row)
                    if pixel >= 0:
                        place = row.w_start + (r * TAPS + s) * row.w_tap + k
                        pixel = row.x_start + r * row.x_row + pixel * row.x_col + k
                        sums[place] = fma(value, x[pixel], sums[place])


@jit()
def _window_loops(y, z, x, w, window):
    for k in range(window.lanes):
        total = z[window.z_start + k]
        for r in range(window.rows):
            for s in range(window.cols):
                pixel = x[window.x_start + r * window.x_row + s * window.x_col + k]
                total = fma(pixel, w[window.w_start + r * window.w_row + s * window.w_col + k], total)
        y[window.y_start + k] = total


@jit(inline="always")
def _columns_compiled(y, x, w, row, kind):
    if kind == 1:
        _columns_1(y, x, w, row)
    elif kind == 2:
        _columns_2(y, x, w, row)
    else:
        _columns_spread(y, x, w, row)


@jit(inline="always")
def _taps_compiled(dy, x, sums, row, kind):
    if kind == 1:
        _taps_1(dy, x, sums, row)
    else:
        _taps_2(dy, x, sums, row)


LOOPS = {"column_sums": _column_loops, "tap_sums": _tap_loops, "window_sum": _window_loops}
"""The plain-loop twin of each vector loop: its meaning."""

column_sums: Any = _column_loops if INTERPRETED else _columns_compiled
"""``column_sums(y, x, w, row, kind)`` computes a :class:`Row` of results y of a kind.

Result q is the tenth vector of w plus the products of the pixels that it meets and the taps' vectors: a
chain of multiply-adds in the order of the taps. Pixels that do not exist may add a zero to it.
"""

tap_sums: Any = _tap_loops if INTERPRETED else _taps_compiled
"""``tap_sums(dy, x, sums, row, kind)`` adds the products of a :class:`Row` to nine vectors of sums.

The sum of tap (r, s) gets the products of each dy and the pixel that it meets under this tap, in the order of
the row. The kind is 1 or 2.
"""

window_sum: Any = _window_loops if INTERPRETED else _window
"""``window_sum(y, z, x, w, window)`` adds the products of a :class:`Window` to z, in order of the rows."""
