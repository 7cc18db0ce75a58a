"""Vector loops of depthwise convolutions on planes whose rows fill vectors.

What lies beside a pixel is read where it lies, or comes from a shift of its vector; no plane is copied
between zeros. All are for 3 x 3 taps with one row and one column of zeros around. A vector holds neighbouring
results of a row; where a row is a half or a quarter of a vector, the same row of two or four neighbouring
channels. Two rows of results are computed together, from the rows of pixels that both need:

* :data:`plane_results` computes the results of one plane, or of the planes side by side;
* :data:`plane_sums` is its counterpart for the gradient of the filters: nine vectors of sums.

A row of pixels that does not exist is read from a few zeros.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, fma, integer, multiply_add

__all__ = [
    "LEAST_SEGMENT",
    "LOOPS",
    "SPREAD",
    "ZEROS",
    "Strip",
    "plane_results",
    "plane_sums",
    "segments_of",
]

SPREAD = 0
"""The kind of results that lie twice as close as the pixels: those of a gradient at stride 2."""

LEAST_SEGMENT = 4
"""Shortest row that is put beside others."""

ZEROS = 4 * LANES
"""Zeros that must lie in memory from `zeros` on."""

_TAPS = 3
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
_NO_VALUES = ir.Constant(_VECTOR, [0.0] * LANES)


class Strip(NamedTuple):
    """Planes side by side: places, distances and extents.

    Attributes
    ----------
    y_start, y_row, y_plane : int
        Place of the first result, and distance of rows and of planes.
    x_start, x_row, x_plane : int
        The same for the pixels.
    w_start : int
        Place of the vectors of the nine taps, and of the vector that is added to a result, the same value in
        all lanes of a segment; or of the nine vectors of sums.
    zeros : int
        Place of ZEROS zeros in the array of the taps.
    rows : int
        Rows of results, at least 2; for SPREAD half of them.
    x_rows : int
        Rows of pixels.
    columns : int
        Results of a row, for SPREAD half of them: LANES or more for one plane, else a segment.
    """

    y_start: int
    y_row: int
    y_plane: int
    x_start: int
    x_row: int
    x_plane: int
    w_start: int
    zeros: int
    rows: int
    x_rows: int
    columns: int


def segments_of(columns: int) -> int:
    """Return how many planes lie side by side where a row has so many columns, or 0 if it does not fit."""
    if columns >= LANES:
        return 1
    return LANES // columns if columns >= LEAST_SEGMENT and LANES % columns == 0 else 0


# ------------------------------------------------------------------------------------------ instructions


def _shuffle(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _load(builder: Any, pointer: Any, width: int = LANES) -> Any:
    kind = ir.VectorType(_FLOAT, width).as_pointer()
    return builder.load(builder.bitcast(pointer, kind), align=4)


def _load_where(builder: Any, pointer: Any, mask: Any) -> Any:
    """Load a vector, with zeros where the mask is not set; nothing is read there."""
    kind = _VECTOR.as_pointer()
    function_type = ir.FunctionType(_VECTOR, [kind, ir.IntType(32), _MASK, _VECTOR])
    name = f"llvm.masked.load.v{LANES}f32.p0"
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(
        function, [builder.bitcast(pointer, kind), ir.Constant(ir.IntType(32), 4), mask, _NO_VALUES]
    )


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def _joined(builder: Any, pieces: list[Any]) -> list[Any]:
    """Join pieces of vectors to whole ones."""
    while pieces[0].type.count < LANES:
        lanes = list(range(2 * pieces[0].type.count))
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [_shuffle(builder, first, second, lanes) for first, second in pairs]
    return pieces


def _pieces(builder: Any, pointer: Any, plane: Any, segments: int, vectors: int) -> list[tuple[Any, int]]:
    """Return the places, and widths, of the parts of `vectors` vectors: equal ones of each segment."""
    width = min(LANES * vectors // segments, LANES)
    places = []
    for _ in range(segments):
        places += [builder.gep(pointer, [integer(i * width)]) for i in range(max(vectors // segments, 1))]
        pointer = builder.gep(pointer, [plane])
    return [(place, width) for place in places]


def _load_row(builder: Any, pointer: Any, plane: Any, segments: int, vectors: int = 1) -> list[Any]:
    found = _pieces(builder, pointer, plane, segments, vectors)
    return _joined(builder, [_load(builder, place, width) for place, width in found])


def _store_row(builder: Any, values: list[Any], pointer: Any, plane: Any, segments: int) -> None:
    first = 0
    for place, width in _pieces(builder, pointer, plane, segments, len(values)):
        value, lane = values[first // LANES], first % LANES
        _store(builder, _shuffle(builder, value, value, list(range(lane, lane + width))), place)
        first += width


@contextmanager
def _loop(builder: Any, end: Any, step: int) -> Iterator[Any]:
    with cgutils.for_range_slice(builder, integer(0), end, integer(step)) as (index, _):
        yield index


class _Planes:
    """The pixels of the planes side by side."""

    def __init__(self, builder: Any, kind: int, segments: int, strip: Strip, x: Any, zeros: Any) -> None:
        self.builder, self.kind, self.segments, self.strip = builder, kind, segments, strip
        self.x, self.zeros = x, zeros
        self.first = self.last = None

    def start(self, column: Any) -> None:
        """Turn to the vectors of results from a column on."""
        builder = self.builder
        self.column = builder.mul(column, integer(2)) if self.kind == 2 else column
        if self.segments == 1:
            end = builder.sub(self.strip.columns, integer(LANES))
            self.first = self._all_but(builder.icmp_signed("!=", column, integer(0)), 0)
            self.last = self._all_but(builder.icmp_signed("!=", column, end), LANES - 1)

    def _all_but(self, flag: Any, lane: int) -> Any:
        """Return a mask of all lanes, but of one only if a flag is set."""
        everything = ir.Constant(_MASK, [1] * LANES)
        return self.builder.insert_element(everything, flag, ir.Constant(ir.IntType(32), lane))

    def _beside(self, value: Any, pointer: Any, by: int, mask: Any) -> Any:
        """Return the pixels one column away, those of `value` shifted where all are in it; or zeros."""
        builder = self.builder
        if mask is None:
            width = LANES // self.segments
            lanes = [i + by if 0 <= i % width + by < width else LANES for i in range(LANES)]
            return _shuffle(builder, value, _NO_VALUES, lanes)
        place = builder.gep(pointer, [integer(by)])
        loaded = _load_where(builder, place, mask)
        if self.kind == 2:
            more = _load(builder, builder.gep(place, [integer(LANES)]))
            return _shuffle(builder, loaded, more, list(range(0, 2 * LANES, 2)))
        return loaded

    def row(self, number: Any) -> tuple[Any, ...]:
        """Return the pixels of a row under each column of taps; for SPREAD those and the next ones."""
        builder, strip = self.builder, self.strip
        exists = builder.icmp_unsigned("<", number, strip.x_rows)
        place = builder.add(builder.mul(number, strip.x_row), self.column)
        pointer = builder.select(exists, builder.gep(self.x, [place]), self.zeros)
        plane = builder.select(exists, strip.x_plane, integer(0))
        if self.kind == 2:
            low, high = _load_row(builder, pointer, plane, self.segments, 2)
            even = _shuffle(builder, low, high, list(range(0, 2 * LANES, 2)))
            odd = _shuffle(builder, low, high, list(range(1, 2 * LANES, 2)))
            return self._beside(odd, pointer, -1, self.first), even, odd
        middle = _load_row(builder, pointer, plane, self.segments)[0]
        right = self._beside(middle, pointer, 1, self.last)
        if self.kind == SPREAD:
            return middle, right
        return self._beside(middle, pointer, -1, self.first), middle, right

    def rows(self, first: Any) -> list[tuple[Any, ...]]:
        """Return the rows of pixels that two rows of results need, or for SPREAD one row of them."""
        if self.kind == SPREAD:
            offsets, place = range(2), first
        else:
            offsets, place = range(self.kind + _TAPS), self.builder.mul(first, integer(self.kind))
            place = self.builder.sub(place, integer(1))
        return [self.row(self.builder.add(place, integer(offset))) for offset in offsets]


def _sum(builder: Any, products: list[tuple[Any, Any]], addend: Any) -> Any:
    total = _NO_VALUES
    for a, b in products:
        total = multiply_add(builder, a, b, total)
    return builder.fadd(total, addend)


def _spread_results(builder: Any, rows: list[tuple[Any, ...]], w: list[Any]) -> list[list[Any]]:
    """Return two rows of results: each pixel hands on what it got to the taps it came from."""
    (here, right), (below, right_below) = rows
    even = [(here, w[4])], [(here, w[5]), (right, w[3])]
    odd = (
        [(here, w[7]), (below, w[1])],
        [(here, w[8]), (right, w[6]), (below, w[2]), (right_below, w[0])],
    )
    found = []
    for results in (even, odd):
        first, second = (_sum(builder, products, w[9]) for products in results)
        halves = (range(LANES // 2), range(LANES // 2, LANES))
        found.append(
            [_shuffle(builder, first, second, [i for k in half for i in (k, LANES + k)]) for half in halves]
        )
    return found


def _pointers(context: Any, builder: Any, signature: Any, args: Any, places: tuple[Any, ...]) -> list[Any]:
    data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(3)]
    return [builder.gep(data[min(i, 2)], [place]) for i, place in enumerate(places)]


def _vectors(builder: Any, pointer: Any, count: int) -> list[Any]:
    return [builder.gep(pointer, [integer(t * LANES)]) for t in range(count)]


@contextmanager
def _columns(builder: Any, strip: Strip, segments: int) -> Iterator[Any]:
    """Loop over the vectors of a row; what is left is done by one that overlaps the one before."""
    if segments > 1:
        yield integer(0)
        return
    final = builder.sub(strip.columns, integer(LANES))
    with _loop(builder, strip.columns, LANES) as index:
        yield builder.select(builder.icmp_signed("<", index, final), index, final)


def _emit_results(kind: int, segments: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`plane_results`; the arguments are y, x, w and the strip."""
    strip = Strip(*(builder.extract_value(args[3], i) for i in range(len(Strip._fields))))
    places = strip.y_start, strip.x_start, strip.w_start, strip.zeros
    y, x, w, zeros = _pointers(context, builder, signature, args, places)
    factors = [_load(builder, place) for place in _vectors(builder, w, _TAPS**2 + 1)]
    zeros = builder.gep(zeros, [integer(LANES)])
    planes = _Planes(builder, kind, segments, strip, x, zeros)
    with _columns(builder, strip, segments) as column:
        planes.start(column)
        target = builder.gep(y, [builder.mul(column, integer(2)) if kind == SPREAD else column])
        with _loop(builder, strip.rows, 1 if kind == SPREAD else 2) as index:
            if kind == SPREAD:
                row, first = index, builder.mul(index, integer(2))
                results = _spread_results(builder, planes.rows(row), factors)
            else:
                final = builder.sub(strip.rows, integer(2))
                row = first = builder.select(builder.icmp_signed("<", index, final), index, final)
                pixels, results = planes.rows(row), []
                for t in (0, kind):
                    met = [value for r in range(_TAPS) for value in pixels[t + r]]
                    results.append([_sum(builder, list(zip(factors, met, strict=False)), factors[-1])])
            place = builder.gep(target, [builder.mul(first, strip.y_row)])
            for values in results:
                _store_row(builder, values, place, strip.y_plane, segments)
                place = builder.gep(place, [strip.y_row])
    return context.get_dummy_value()


def _emit_sums(kind: int, segments: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit :data:`plane_sums`; the arguments are dy, x, the sums and the strip."""
    strip = Strip(*(builder.extract_value(args[3], i) for i in range(len(Strip._fields))))
    places = strip.y_start, strip.x_start, strip.w_start, strip.zeros
    y, x, sums, zeros = _pointers(context, builder, signature, args, places)
    kept = _vectors(builder, sums, _TAPS**2)
    slots = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in kept]
    zeros = builder.gep(zeros, [integer(LANES)])
    planes = _Planes(builder, kind, segments, strip, x, zeros)
    final = builder.sub(strip.rows, integer(2))
    with _columns(builder, strip, segments) as column:
        planes.start(column)
        source = builder.gep(y, [column])
        with _loop(builder, strip.rows, 2) as index:
            whole = builder.icmp_signed("<=", index, final)
            row = builder.select(whole, index, final)
            place = builder.gep(source, [builder.mul(row, strip.y_row)])
            pixels = planes.rows(row)
            # Where a pair overlaps the one before, its first row has been counted.
            first = builder.select(whole, place, zeros), builder.select(whole, strip.y_plane, integer(0))
            second = builder.gep(place, [strip.y_row]), strip.y_plane
            for t, (pointer, plane) in ((0, first), (kind, second)):
                value = _load_row(builder, pointer, plane, segments)[0]
                met = [pixel for r in range(_TAPS) for pixel in pixels[t + r]]
                for slot, pixel in zip(slots, met, strict=True):
                    builder.store(multiply_add(builder, value, pixel, builder.load(slot)), slot)
    for slot, place in zip(slots, kept, strict=True):
        _store(builder, builder.load(slot), place)
    return context.get_dummy_value()


@intrinsic(prefer_literal=True)
def _results(typingctx, y, x, w, strip, kind, segments):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_results(kind.literal_value, segments.literal_value, context, builder, signature, args)

    return types.void(y, x, w, strip, kind, segments), emit


@intrinsic(prefer_literal=True)
def _sums(typingctx, dy, x, sums, strip, kind, segments):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_sums(kind.literal_value, segments.literal_value, context, builder, signature, args)

    return types.void(dy, x, sums, strip, kind, segments), emit


# ----------------------------------------------------------------------------------------- their meaning


@jit()
def _pixel(x, w, strip, segment, row, column, width):
    """Return a pixel; one that does not exist is zero."""
    if 0 <= row < strip.x_rows and 0 <= column < width:
        return x[strip.x_start + segment * strip.x_plane + row * strip.x_row + column]
    return w[strip.zeros]


@jit()
def _result_loops(y, x, w, strip, kind, segments):
    step = 2 if kind == SPREAD else 1
    width = strip.columns * 2 if kind == 2 else strip.columns
    for segment in range(segments):
        lane = strip.w_start + segment * (LANES // segments)
        for i in range(strip.rows * step):
            for j in range(strip.columns * step):
                total = np.float32(0.0)
                for t in range(_TAPS**2):
                    if kind != SPREAD:
                        row, column = i * kind + t // _TAPS - 1, j * kind + t % _TAPS - 1
                        value = _pixel(x, w, strip, segment, row, column, width)
                        total = fma(w[lane + t * LANES], value, total)
                        continue
                    # The chain begins with the pixel itself, whose taps are the last ones.
                    r, s = 2 - t // _TAPS, 2 - t % _TAPS
                    if (i + 1 - r) % 2 == 0 and (j + 1 - s) % 2 == 0:
                        value = _pixel(x, w, strip, segment, (i + 1 - r) // 2, (j + 1 - s) // 2, width)
                        total = fma(value, w[lane + (r * _TAPS + s) * LANES], total)
                place = strip.y_start + segment * strip.y_plane + i * strip.y_row + j
                y[place] = total + w[lane + _TAPS**2 * LANES]


@jit()
def _sum_loops(dy, x, sums, strip, kind, segments):
    lanes = LANES // segments
    for segment in range(segments):
        # In the order of the vectors: column by column of them, and down the rows.
        for start in range(0, strip.columns, LANES):
            for i in range(strip.rows):
                for j in range(start, min(start + LANES, strip.columns)):
                    value = dy[strip.y_start + segment * strip.y_plane + i * strip.y_row + j]
                    for t in range(_TAPS**2):
                        row, column = i * kind + t // _TAPS - 1, j * kind + t % _TAPS - 1
                        width = strip.columns * kind
                        place = strip.w_start + t * LANES + segment * lanes + j - start
                        pixel = _pixel(x, sums, strip, segment, row, column, width)
                        sums[place] = fma(value, pixel, sums[place])


@jit(inline="always")
def _results_compiled(y, x, w, strip, kind, segments):
    if kind == 1:
        if segments == 1:
            _results(y, x, w, strip, 1, 1)
        elif segments == 2:
            _results(y, x, w, strip, 1, 2)
        else:
            _results(y, x, w, strip, 1, 4)
    elif kind == 2:
        if segments == 1:
            _results(y, x, w, strip, 2, 1)
        elif segments == 2:
            _results(y, x, w, strip, 2, 2)
        else:
            _results(y, x, w, strip, 2, 4)
    elif segments == 1:
        _results(y, x, w, strip, 0, 1)
    elif segments == 2:
        _results(y, x, w, strip, 0, 2)
    else:
        _results(y, x, w, strip, 0, 4)


@jit(inline="always")
def _sums_compiled(dy, x, sums, strip, kind, segments):
    if kind == 1:
        if segments == 1:
            _sums(dy, x, sums, strip, 1, 1)
        elif segments == 2:
            _sums(dy, x, sums, strip, 1, 2)
        else:
            _sums(dy, x, sums, strip, 1, 4)
    elif segments == 1:
        _sums(dy, x, sums, strip, 2, 1)
    elif segments == 2:
        _sums(dy, x, sums, strip, 2, 2)
    else:
        _sums(dy, x, sums, strip, 2, 4)


LOOPS = {"plane_results": _result_loops, "plane_sums": _sum_loops}
"""The plain-loop twin of each vector loop: its meaning."""

plane_results: Any = _result_loops if INTERPRETED else _results_compiled
"""``plane_results(y, x, w, strip, kind, segments)`` computes the results of planes side by side.

The kind is the stride, 1 or 2, or SPREAD: the gradient of the input at stride 2, where y has twice the rows
and columns of x. Each result is a chain of multiply-adds over the taps, falling for SPREAD, plus the tenth
vector of w.
"""

plane_sums: Any = _sum_loops if INTERPRETED else _sums_compiled
"""``plane_sums(dy, x, sums, strip, kind, segments)`` adds the products of planes to nine vectors of sums.

Lane l of the vector of a tap gets those of the results whose place in their vector is l. The kind is 1 or 2;
a row is a segment, or whole vectors.
"""
