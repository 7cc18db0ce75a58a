"""How a direct convolution of maps is cut: pixels of like sums, tiles of rows, and pieces of work.

Along each axis an output position sees some neighbouring taps of the kernel, and these lie on neighbouring
input positions. Forward, a position p sees tap q at the input p * stride - padding + q. The gradient of the
input turns this round: the taps that reach p are those with the remainder of p + padding modulo the stride,
in falling order, and they lie on neighbouring positions of the output's gradient. So both are one sum

    out[p] = sum over q of  in[source(p) + q] * w[tap q of the list of p]      first <= q < first + count

where taps beyond the edges are left out. Positions with the same list, first and count form a *class*; the
pixels of a row class and a column class differ only in where they lie. No map needs a halo, nothing is
multiplied by padding, and the gradient at a stride multiplies no zeros.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole

__all__ = ["Case", "Plan", "Segment", "Work", "make_plan"]

_PIECE_FLOATS = 128 * 1024
"""Floats that a piece of work should read and write, so that they stay in the second-level cache."""

_PIECE_ROWS = 8 * ROWS, 64 * ROWS
"""Least and most rows of a piece, about."""

_FULL_TILES = 0.9
"""Share of the rows of all tiles that should be used; images are joined for it."""

_STEP_ROWS = 3 * ROWS
"""Rows after which a piece may end: whole tiles of 8 rows and of 6."""


class Case(NamedTuple):
    """A convolution, seen from the map that is written.

    Attributes
    ----------
    images, height, width, stride : int
        Of the map that is written; floats from one pixel to the next.
    in_height, in_width, in_channels, in_stride : int
        Of the map that is read.
    kernel, step, padding : tuple of int
        Of the convolution, rows and columns.
    gradient : bool
        Whether the gradient of the input is written.
    """

    images: int
    height: int
    width: int
    stride: int
    in_height: int
    in_width: int
    in_channels: int
    in_stride: int
    kernel: tuple[int, int]
    step: tuple[int, int]
    padding: tuple[int, int]
    gradient: bool


class Segment(NamedTuple):
    """Rows of one class.

    Each number but the extents is a place in the tables. Where a class ends, ROWS - 1 more rows repeat its
    last pixel, so that a tile of any height may begin anywhere.
    """

    y_rows: int
    x_rows: int
    rows: int
    x_runs: int
    w_runs: int
    runs: int
    run_length: int


class Work(NamedTuple):
    """What the kernel needs to know beside its arrays."""

    groups: int  # of images that share tiles; the last one may be smaller
    x_group: int  # floats from one group to the next
    y_group: int
    columns: int  # vectors of a pixel that is written
    terms: int  # rows of the packed weights
    pieces: int  # of a whole group,
    last_pieces: int  # and of the last one
    first_piece: int  # where in the tables the first segments of the pieces begin,
    last_piece: int  # for both kinds of group,
    segments: int  # and the segments


class Plan(NamedTuple):
    """A cut.

    Attributes
    ----------
    work : Work
        Numbers.
    tables : ndarray of int64, 1-D
        Places of rows and runs, segments and pieces.
    taps : ndarray of int64, shape (R, S)
        Place of each tap in the packed weights, in blocks of as many terms as there are channels.
    """

    work: Work
    tables: NDArray[np.int64]
    taps: NDArray[np.int64]


class _Axis(NamedTuple):
    """One axis: for each position its list of taps, the first one in it, their number, and the source."""

    keys: NDArray[np.int64]  # (positions, 3): list, first, count
    sources: NDArray[np.int64]
    lengths: list[int]  # of the lists
    ranks: list[tuple[int, int]]  # list and place in it of each tap


class _Class(NamedTuple):
    """Pixels of an image whose sums have the same terms."""

    x_places: NDArray[np.int64]
    y_places: NDArray[np.int64]
    x_runs: list[int]
    w_runs: list[int]
    run_length: int


def _axis(case: Case, axis: int) -> _Axis:
    extent, inputs = ((case.height, case.in_height), (case.width, case.in_width))[axis]
    kernel, step, padding = case.kernel[axis], case.step[axis], case.padding[axis]
    positions = np.arange(extent, dtype=np.int64)
    if case.gradient:
        lists = (positions + padding) % step
        lengths = [len(range(rest, kernel, step)) for rest in range(step)]
        counts = np.array(lengths, dtype=np.int64)[lists]
        sources = (positions + padding) // step - (counts - 1)
        ranks = [(tap % step, lengths[tap % step] - 1 - tap // step) for tap in range(kernel)]
    else:
        lists, lengths = np.zeros_like(positions), [kernel]
        counts, sources = np.full_like(positions, kernel), positions * step - padding
        ranks = [(0, tap) for tap in range(kernel)]
    first = np.maximum(-sources, 0)
    count = np.maximum(np.minimum(counts, inputs - sources) - first, 0)
    keys = np.stack([lists, first, count], axis=1)
    keys[count == 0] = 0
    return _Axis(keys, sources + first, lengths, ranks)


def _tap_blocks(rows: _Axis, columns: _Axis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the taps of each pair of lists begin, and the place of each tap."""
    sizes = np.array([[a * b for b in columns.lengths] for a in rows.lengths], dtype=np.int64)
    firsts = (np.cumsum(sizes.reshape(-1)) - sizes.reshape(-1)).reshape(sizes.shape)
    taps = [[firsts[a, b] + i * columns.lengths[b] + j for b, j in columns.ranks] for a, i in rows.ranks]
    return firsts, np.array(taps, dtype=np.int64)


def _classes(case: Case, rows: _Axis, columns: _Axis, firsts: NDArray[np.int64]) -> list[_Class]:
    """Return the classes of pixels of one image; the largest comes first."""
    found = []
    x_row, depth = case.in_width * case.in_stride, case.in_channels
    for key_i in np.unique(rows.keys, axis=0):
        i = np.flatnonzero((rows.keys == key_i).all(axis=1))
        list_i, first_i, count_i = (int(number) for number in key_i)
        for key_j in np.unique(columns.keys, axis=0):
            j = np.flatnonzero((columns.keys == key_j).all(axis=1))
            list_j, first_j, count_j = (int(number) for number in key_j)
            y_places = (i[:, None] * case.width + j) * case.stride
            if not count_i or not count_j:
                found.append(_Class(np.zeros_like(y_places).reshape(-1), y_places.reshape(-1), [], [], 0))
                continue
            x_places = rows.sources[i][:, None] * x_row + columns.sources[j] * case.in_stride
            # Neighbouring taps are one run, unless padding lies between their channels.
            joined = depth == case.in_stride
            runs = [(a, b) for a in range(count_i) for b in range(1 if joined else count_j)]
            block, length = int(firsts[list_i, list_j]), columns.lengths[list_j]
            w_runs = [(block + (first_i + a) * length + first_j + b) * depth for a, b in runs]
            x_runs = [a * x_row + b * case.in_stride for a, b in runs]
            run_length = depth * (count_j if joined else 1)
            found.append(_Class(x_places.reshape(-1), y_places.reshape(-1), x_runs, w_runs, run_length))
    return sorted(found, key=lambda one: -one.y_places.size)


def _group_images(case: Case, classes: list[_Class], piece_rows: int, threads: int) -> int:
    """Return how many images share tiles."""
    pixels = case.height * case.width
    most = max(case.images // threads, 1)
    if len(classes) == 1:
        return min(max(piece_rows // pixels, 1), most)
    for images in range(1, ROWS + 1):
        tiles = sum(ceil_div(images * one.y_places.size, ROWS) for one in classes)
        if images * pixels >= _FULL_TILES * tiles * ROWS:
            break
    return min(whole(max(piece_rows // pixels, 1), images), whole(most, images), case.images)


class _Tables:
    """Collects the tables of a plan."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._size = 0

    def add(self, values: Any) -> int:
        """Append numbers and return where they begin."""
        part, start = np.asarray(values, dtype=np.int64).reshape(-1), self._size
        self._parts.append(part)
        self._size += part.size
        return start

    def joined(self) -> NDArray[np.int64]:
        """Return all of them."""
        return np.concatenate(self._parts)


def _place_rows(tables: _Tables, case: Case, one: _Class, images: int) -> tuple[int, int, int]:
    """Write the places of a class for some images; return where, and their number."""
    x_image, y_image = case.in_height * case.in_width * case.in_stride, case.height * case.width * case.stride
    number = np.arange(images, dtype=np.int64)[:, None]
    x_places = (number * x_image + one.x_places).reshape(-1)
    y_places = (number * y_image + one.y_places).reshape(-1)
    # A last tile that is not full writes the last pixel more than once, with the same bits.
    y_rows, x_rows = (tables.add(np.pad(one, (0, ROWS - 1), mode="edge")) for one in (y_places, x_places))
    return y_rows, x_rows, x_places.size


def _pieces(segments: list[Segment], piece_rows: int) -> list[list[Segment]]:
    """Cut segments into pieces of about `piece_rows` rows."""
    pieces: list[list[Segment]] = [[]]
    room = piece_rows
    for segment in segments:
        while segment.rows:
            if room <= 0:
                pieces.append([])
                room = piece_rows
            rows = min(segment.rows, whole(room, _STEP_ROWS))
            pieces[-1].append(segment._replace(rows=rows))
            room -= rows
            segment = segment._replace(
                y_rows=segment.y_rows + rows, x_rows=segment.x_rows + rows, rows=segment.rows - rows
            )
    return pieces


@lru_cache(maxsize=64)
def make_plan(case: Case, threads: int) -> Plan:
    """Cut a convolution.

    No result depends on the cut: each is one sum whose order the case alone decides.

    Parameters
    ----------
    case : Case
        The convolution; at least one image.
    threads : int
        Threads that should have work.

    Returns
    -------
    Plan
        The same object for the same case: its arrays are not to be written.
    """
    rows, columns = _axis(case, 0), _axis(case, 1)
    firsts, taps = _tap_blocks(rows, columns)
    classes = _classes(case, rows, columns, firsts)
    x_image, y_image = case.in_height * case.in_width * case.in_stride, case.height * case.width * case.stride
    share = (x_image + y_image) // (case.height * case.width)
    piece_rows = min(max(_PIECE_FLOATS // share, _PIECE_ROWS[0]), _PIECE_ROWS[1])
    piece_rows = whole(piece_rows, _STEP_ROWS)
    group = _group_images(case, classes, piece_rows, threads)
    last = case.images % group or group
    tables = _Tables()
    runs = [(tables.add(one.x_runs), tables.add(one.w_runs)) for one in classes]
    pieces: dict[int, list[list[Segment]]] = {}
    for images in dict.fromkeys((group, last)):
        segments = [
            Segment(*_place_rows(tables, case, one, images), *places, len(one.x_runs), one.run_length)
            for one, places in zip(classes, runs, strict=True)
        ]
        pieces[images] = _pieces(segments, piece_rows)
    segment_list: list[Segment] = []
    starts: dict[int, int] = {}
    for images, cut in pieces.items():
        starts[images] = tables.add(len(segment_list) + np.cumsum([0, *(len(piece) for piece in cut)]))
        segment_list += [segment for piece in cut for segment in piece]
    work = Work(
        ceil_div(case.images, group), group * x_image, group * y_image, ceil_div(case.stride, LANES),
        int(taps.size) * case.in_channels, len(pieces[group]), len(pieces[last]), starts[group], starts[last],
        tables.add(segment_list),
    )  # fmt: skip
    return Plan(work, tables.joined(), taps)
