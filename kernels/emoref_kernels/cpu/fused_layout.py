"""Memory of fused inference: maps get places, weights are packed, and steps become rows of numbers.

A :class:`Layout` collects buffers and steps, in the order in which they run. :meth:`Layout.program` then

* cuts the steps into segments, each with its own number of images in a block: a few where maps are large, so
  that they stay in the second-level cache; many where weights are large, so that they are read less often.
  A step of Winograd's algorithm whose transformed filters are larger than a cache is a segment of its own,
  whose tiles the threads share;
* gives each buffer a place. Buffers that live within one segment lie in the memory of a thread and share
  places where their shapes are equal, so that halos, once zero, stay zero. Buffers that cross from one
  segment to another hold all images of a batch;
* writes the tables of pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_maps import OPERATIONS, Step
from emoref_kernels.cpu.fused_program import Joined, pack_columns, whole_vectors
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_strided import DEPTH_STEP
from emoref_kernels.cpu.winograd_cuts import row_floats, whole
from emoref_kernels.cpu.winograd_filters import transform_filters_into

__all__ = ["CAPACITY", "Buffer", "Layout", "LayoutStep", "Segment"]

CAPACITY = 128
"""Images for which buffers between segments have room; larger batches run in parts."""

_BLOCK_BYTES = 400_000
_MOST_IMAGES = 64
_GROWTH = 4  # a new segment begins where blocks can have so many times more images
_TILE_ROWS = 64  # rows of a product that share tiles, where an image has fewer pixels
_SMALL_FILTERS = 400_000  # transformed weights, in floats, up to which few tiles at a time are best
_FEW_TILES, _MANY_TILES = 24, 64
_SHARED_FILTERS = 4_000_000  # transformed weights, in floats, from which on threads share the tiles
_SHARED_TILES = 2_600_000  # floats of the tiles that they share, on both sides
_PATCH = 36 * LANES
_WIDEST = 3 * LANES

Array = NDArray[Any]


@dataclass(eq=False)
class Buffer:
    """One value of the network: maps, or features (maps of 1x1).

    Attributes
    ----------
    channels, height, width : int
        Extents.
    halo : int
        Zeros around each plane.
    padded : bool
        Whether pixels are padded to whole vectors.
    exclusive : bool
        Whether its place must not be shared, because its padding is never written.
    first, last : int
        Steps that write and last read it.
    shared, where : bool and int
        Whether it holds all images, and its place.
    """

    channels: int
    height: int = 1
    width: int = 1
    halo: int = 0
    padded: bool = True
    exclusive: bool = False
    first: int = -1
    last: int = -1
    shared: bool = False
    where: int = 0

    @property
    def stride(self) -> int:
        """Floats from one pixel to the next."""
        return -(-self.channels // LANES) * LANES if self.padded else self.channels

    @property
    def row(self) -> int:
        """Floats from one row to the next."""
        return (self.width + 2 * self.halo) * self.stride

    @property
    def image(self) -> int:
        """Floats from one image to the next."""
        return (self.height + 2 * self.halo) * self.row

    @property
    def origin(self) -> int:
        """Floats before the first pixel inside the halo."""
        return self.halo * (self.row + self.stride)

    @property
    def shape(self) -> tuple[int, ...]:
        """What buffers have in common that may share a place, one after the other."""
        return self.height, self.width, self.halo, self.stride

    def view(self, scratch: Array, count: int) -> Array:
        """Return the values of `count` images in shared memory as (count, channels, height, width)."""
        values = scratch[self.where : self.where + count * self.image]
        maps = values.reshape(count, self.height + 2 * self.halo, self.width + 2 * self.halo, self.stride)
        h = self.halo
        return maps[:, h : h + self.height, h : h + self.width, : self.channels].transpose(0, 3, 1, 2)


@dataclass(eq=False)
class LayoutStep:
    """One step before its numbers are known.

    Attributes
    ----------
    operation : str
        One of :data:`~emoref_kernels.cpu.fused_maps.OPERATIONS`, or ``"call"``.
    x, y : Buffer or None
        Argument and result.
    z : Buffer or None
        Residual.
    kernel, stride, padding : int
        Of a convolution or of pooling; of Winograd's algorithm, `stride` is m.
    w, scale, shift : array or None
        Weights (filters, channels, kernel, kernel), factors and summands.
    relu, pooled : bool
        What follows.
    offset : int
        First channel that "copy" writes.
    name : str
        Value that "load" reads, "store" writes, or "call" computes.
    call : callable or None
        For "call": arrays of all arguments to the result.
    sources : sequence of Buffer
        For "call": its arguments.
    """

    operation: str
    x: Buffer | None
    y: Buffer | None
    z: Buffer | None = None
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    w: Array | None = None
    scale: Array | None = None
    shift: Array | None = None
    relu: bool = False
    pooled: bool = False
    offset: int = 0
    name: str = ""
    call: Callable[..., Array] | None = None
    sources: Sequence[Buffer] = ()

    @property
    def reads(self) -> list[Buffer]:
        """The buffers that the step reads."""
        return [b for b in (self.x, self.z, *self.sources) if b is not None]

    def tiles(self) -> int:
        """Return how many tiles of Winograd's algorithm an image has."""
        assert self.x is not None
        return -(-self.x.height // self.stride) * -(-self.x.width // self.stride)

    def transformed_floats(self) -> int:
        """Return how many floats the transformed weights of Winograd's algorithm have."""
        assert self.w is not None
        return (self.stride + 2) ** 2 * self.w.shape[0] * self.w.shape[1]

    def tiles_at_once(self) -> int:
        """Return how many tiles go through the products together."""
        return _FEW_TILES if self.transformed_floats() <= _SMALL_FILTERS else _MANY_TILES

    def tile_floats(self) -> int:
        """Return the floats of one tile of Winograd's algorithm on both sides of the products."""
        assert self.x is not None
        assert self.w is not None
        width = whole(self.w.shape[0], LANES)
        return (self.stride + 2) ** 2 * (row_floats(self.x.stride) + row_floats(width))

    @property
    def phased(self) -> bool:
        """Whether threads share the tiles, phase by phase, because the weights are large."""
        return self.operation == "winograd" and self.transformed_floats() >= _SHARED_FILTERS

    def images(self) -> int:
        """Return how many images a block should have for this step: a power of two."""
        values = sum(b.image for b in (self.x, self.y) if b is not None)
        wanted = _MOST_IMAGES
        while wanted > 1 and 4 * values * wanted > _BLOCK_BYTES:
            wanted //= 2
        if self.operation == "winograd":
            while wanted < _MOST_IMAGES and wanted * self.tiles() < self.tiles_at_once():
                wanted *= 2
        elif self.operation == "convolve" and self.y is not None:
            while wanted < _MOST_IMAGES and wanted * self.y.height * self.y.width < _TILE_ROWS:
                wanted *= 2
        return wanted


@dataclass(eq=False)
class Segment:
    """Steps that run in one call, or one call of a function of whole arrays.

    Attributes
    ----------
    steps : list of LayoutStep
        In order.
    block, group : int
        Images of a block, and a number that must divide it.
    start : int
        Where the numbers of the steps begin in the tables.
    phased : bool
        Whether it is one step whose tiles the threads share.
    tiles : int
        Where these begin in the memory for all images.
    """

    steps: list[LayoutStep]
    block: int = _MOST_IMAGES
    group: int = 1
    start: int = 0
    phased: bool = False
    tiles: int = 0

    @property
    def is_call(self) -> bool:
        """Whether it is a call of a function."""
        return self.steps[0].operation == "call"

    def named(self, operation: str) -> str:
        """Return the value that the segment loads or stores, or an empty text."""
        return next((step.name for step in self.steps if step.operation == operation), "")


@dataclass(eq=False)
class Layout:
    """Buffers and steps of a network, and what they become.

    Attributes
    ----------
    steps : list of LayoutStep
        In order; append to it.
    segments, weights, tables, shared : list, arrays and int
        Filled in by :meth:`finish`: what runs, and the floats of the memory for all images.
    own : int
        Likewise: the floats of the memory of each thread.
    """

    steps: list[LayoutStep] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    weights: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    tables: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    shared: int = 0
    own: int = 0

    def finish(self) -> "Layout":
        """Cut, place and number everything."""
        for index, step in enumerate(self.steps):
            if step.y is not None:
                step.y.first = index if step.y.first < 0 else step.y.first
                step.y.last = max(step.y.last, index)
            for buffer in step.reads:
                buffer.last = index
        self.segments = _segments(self.steps)
        self._share()
        for segment in self.segments:
            if segment.phased:
                segment.tiles = self.shared
        self.shared += max((_tiles_floats(segment) for segment in self.segments if segment.phased), default=0)
        writer = _Writer()
        for segment in self.segments:
            if not segment.is_call:
                self.own = _place(segment, self.own)
                numbers = [writer.numbers(step, segment) for step in segment.steps]
                segment.start = writer.tables.add(np.array(numbers))
        self.weights, self.tables = writer.weights.array(), writer.tables.array()
        return self

    def _share(self) -> None:
        """Give the buffers that cross from one segment to another places for all images."""
        where_of: dict[Buffer, int] = {}
        for number, segment in enumerate(self.segments):
            for step in segment.steps:
                for buffer in [*step.reads, *([step.y] if step.y is not None else [])]:
                    crosses = where_of.setdefault(buffer, number) != number
                    if crosses or segment.is_call or segment.phased:
                        buffer.shared = True
        free: dict[tuple[int, ...], list[Buffer]] = {}
        for buffer in where_of:
            if not buffer.shared:
                continue
            past = free.setdefault(buffer.shape, [])
            over = next((b for b in past if b.last < buffer.first), None)
            if over is not None and not buffer.exclusive:
                past.remove(over)
                buffer.where = over.where
            else:
                buffer.where, self.shared = self.shared, self.shared + CAPACITY * buffer.image
            if not buffer.exclusive:
                past.append(buffer)


def _segments(steps: Sequence[LayoutStep]) -> list[Segment]:
    """Cut the steps where the number of images of a block should grow, around calls, and around phases."""
    segments: list[Segment] = []
    current = 0
    for step in steps:
        last = segments[-1] if segments else None
        wanted = step.images()
        one_only = step.operation in ("load", "store") and last is not None and last.named(step.operation)
        grown = wanted >= _GROWTH * current
        alone = step.operation == "call" or step.phased
        if last is None or last.is_call or last.phased or alone or one_only or grown:
            segments.append(Segment([step], phased=step.phased))
            current = wanted
            if step.phased:
                current = min(max(_SHARED_TILES // (step.tiles() * step.tile_floats()), 1), CAPACITY)
        else:
            last.steps.append(step)
            current = min(current, wanted)
        segments[-1].block = current
    return segments


def _place(segment: Segment, size: int) -> int:
    """Give the buffers of one segment places in the memory of a thread, from `size` on; return its end.

    Buffers of equal shapes take turns. Segments do not: what one writes would be in the other's halos.
    """
    free: dict[tuple[int, ...], list[int]] = {}
    ends: list[tuple[int, Buffer]] = []
    for index, step in enumerate(segment.steps):
        y = step.y
        if y is not None and not y.shared and not any(b is y for _, b in ends):
            if not y.exclusive and free.get(y.shape):
                y.where = free[y.shape].pop()
            else:
                y.where, size = size, size + segment.block * y.image
            ends.append((index, y))
        for _, buffer in ends:
            is_over = any(buffer is b for b in step.reads) and not any(
                buffer is b
                for later in segment.steps[index + 1 :]
                for b in (*later.reads, *([later.y] if later.y is not None else []))
            )
            if is_over and not buffer.exclusive:
                free.setdefault(buffer.shape, []).append(buffer.where)
    most = max((_winograd_floats(step, segment.block) for step in segment.steps), default=0)
    for step in segment.steps:
        step.offset = step.offset if step.operation == "copy" else size
    return size + most + LANES


def _tiles_of_block(step: LayoutStep, block: int) -> int:
    tiles = step.tiles() * block
    return whole(tiles if step.phased else min(step.tiles_at_once(), tiles), ROWS)


def _tiles_floats(segment: Segment) -> int:
    """Return the floats of the tiles that threads share."""
    (step,) = segment.steps
    return _tiles_of_block(step, segment.block) * step.tile_floats() + 2 * (step.stride + 2) ** 2 * LANES


def _winograd_floats(step: LayoutStep, block: int) -> int:
    """Return the floats that a thread needs for Winograd's algorithm."""
    if step.operation != "winograd":
        return 0
    return _PATCH + (0 if step.phased else _tiles_floats(Segment([step], block)))


class _Writer:
    """Packs weights and tables, each different one once, and writes the numbers of steps."""

    def __init__(self) -> None:
        self.weights, self.tables = Joined(np.float32), Joined(np.int64)
        self._known: dict[bytes, int] = {}
        self._ones, self._zeros = self.weights.add(np.ones(_WIDEST)), self.weights.add(np.zeros(_WIDEST))

    def _table(self, values: Array) -> int:
        key = np.ascontiguousarray(values, np.int64).tobytes()
        if key not in self._known:
            self._known[key] = self.tables.add(values)
        return self._known[key]

    def numbers(self, step: LayoutStep, segment: Segment) -> Step:
        """Return the numbers of a step."""
        x, y = step.x or step.y, step.y or step.x
        assert x is not None
        assert y is not None
        z = step.z or y
        values = dict.fromkeys(Step._fields, 0) | {
            "operation": OPERATIONS.index(step.operation),
            "x": x.where, "x_shared": int(x.shared), "x_image": x.image,
            "y": y.where, "y_shared": int(y.shared), "y_image": y.image,
            "z": z.where, "z_shared": int(z.shared), "z_image": z.image,
            "residual": int(step.z is not None),
            "channels": x.channels, "height": x.height, "width": x.width, "stride": x.stride, "row": x.row,
            "filters": y.channels, "y_height": y.height, "y_width": y.width, "y_stride": y.stride,
            "y_row": y.row, "x_first": x.origin, "y_first": y.origin, "z_first": z.origin,
            "relu": int(step.relu), "pooled": int(step.pooled), "kernel": step.kernel, "step": step.stride,
            "padding": step.padding, "z_row": z.row, "z_stride": z.stride, "ones": self._ones,
            "zeros": self._zeros,
        }  # fmt: skip
        if step.scale is not None and step.shift is not None:
            values["scale"] = self.weights.add(whole_vectors(step.scale))
            values["shift"] = self.weights.add(whole_vectors(step.shift))
        if step.operation == "copy":
            values["y_first"] += step.offset
        elif step.operation == "winograd":
            self._winograd(step, segment, values)
        elif step.operation in ("convolve", "depthwise"):
            self._pixels(step, segment, values, x, y, z)
            self._terms(step, values, x, y)
        return Step(**values)

    def _winograd(self, step: LayoutStep, segment: Segment, values: dict[str, int]) -> None:
        assert step.w is not None
        assert step.x is not None
        depth, u = _transformed(step.w, step.stride)
        values |= {
            "w": self.weights.add(u), "depth": depth, "block": _tiles_of_block(step, segment.block),
            "patch": step.offset, "scratch": segment.tiles if step.phased else step.offset + _PATCH,
            "x_first": step.x.origin - step.x.row - step.x.stride,
        }  # fmt: skip

    def _terms(self, step: LayoutStep, values: dict[str, int], x: Buffer, y: Buffer) -> None:
        """Write the weights, and where each term of a sum is."""
        w, kernel = step.w, step.kernel
        assert w is not None
        r, s = (grid.ravel() for grid in np.indices((kernel, kernel)))
        places = r * x.row + s * x.stride
        if step.operation == "depthwise":
            packed = np.zeros((kernel * kernel, y.stride), np.float32)
            packed[:, : y.channels] = w.reshape(y.channels, -1).T
            length, starts = 1, np.arange(kernel * kernel)
        else:
            packed = pack_columns(w.transpose(0, 2, 3, 1).reshape(len(w), -1))
            length, starts = x.channels, np.arange(kernel * kernel) * x.channels
            if x.stride == x.channels:
                length, starts, places = kernel * length, starts[::kernel], places[::kernel]
        values |= {
            "w": self.weights.add(packed), "x_runs": self._table(places), "w_runs": self._table(starts),
            "runs": len(places), "run_length": length,
        }  # fmt: skip

    def _pixels(
        self, step: LayoutStep, segment: Segment, values: dict[str, int], x: Buffer, y: Buffer, z: Buffer
    ) -> None:
        """Write where the pixels of a group of images are, windows of four together if they are pooled."""
        if step.pooled:
            i, j, a, b = (grid.ravel() for grid in np.indices((y.height, y.width, 2, 2)))
            rows, columns = 2 * i + a, 2 * j + b
        else:
            rows, columns = (grid.ravel() for grid in np.indices((y.height, y.width)))
        group = 1
        while group < segment.block and group * len(rows) < _TILE_ROWS:
            group *= 2
        segment.group = max(segment.group, group)
        own = np.indices((y.height, y.width)).reshape(2, -1)

        # The halo of x may be wider than the padding that this layer wants.
        x_origin = x.origin - step.padding * (x.row + x.stride)
        unit = 4 if step.pooled else 1
        x_rows = _filled(x, rows * step.stride, columns * step.stride, x_origin, group, unit)
        values |= {
            "group": group, "rows": len(x_rows), "x_rows": self._table(x_rows),
            "y_rows": self._table(_filled(y, own[0], own[1], y.origin, group, 1, 4 if step.pooled else 1)),
            "z_rows": self._table(_filled(z, rows, columns, z.origin, group, unit)) if step.z else 0,
        }  # fmt: skip


def _filled(
    buffer: Buffer, rows: Array, columns: Array, origin: int, group: int, unit: int, per_tile: int = 1
) -> Array:
    """Return the places of pixels of `group` images, the last `unit` ones repeated to fill a tile."""
    places = rows * buffer.row + columns * buffer.stride + origin
    every = (np.arange(group)[:, None] * buffer.image + places).ravel()
    missing = -len(every) % (ROWS // per_tile)
    return np.concatenate([every, np.tile(every[-unit:], missing // unit)])


def _transformed(w: Array, outputs: int) -> tuple[int, Array]:
    """Return the terms of a sum, and G g G^T of all filters, packed for the products."""
    filters, channels = w.shape[:2]
    depth, width = -(-channels // DEPTH_STEP) * DEPTH_STEP, -(-filters // LANES) * LANES
    step = depth * width + LANES
    u = np.empty((outputs + 2) ** 2 * step, np.float32)
    transform_filters_into(outputs, flat(w), channels * 9, 9, 0, filters, channels, depth, width, u, step)
    return depth, u
