"""The sliding product behind the convolution and its input gradient.

For every image, output row i and output column j::

    y[f, i, j] = bias[f] + sum over c, t of
                 w[f, c, t] * x[c, i * stride_h + tap_h[t], j * stride_w + tap_w[t]]

with zeros outside x. A convolution has one tap (r - padding, s - padding) for each weight of its kernel. Its
input gradient is the same product over the output's gradient, once for each remainder of the input's
coordinates modulo the stride; for that, `Plan` says where in the result the values go.

An item of work is a band of output rows of one image (or a block of small images) and a range of filters.
Its input is copied into scratch memory: zeros around it, and one plane for each remainder of row and column
modulo the stride, so that at any stride the values under one tap are neighbours. Then tiles of columns are
multiplied:

* "direct": the columns are the positions of a scratch plane in storage order. Each tap is then a shifted
  view of the scratch memory, and the few columns that lie between two rows of output are dropped;
* "gathered", for small maps, where those columns would be many: the values under one tap, of several images,
  are copied next to each other first.

Both add the same products in the same order (channel, then tap), so the bits of a value depend on neither
the way, nor the item, nor the other images and filters, nor the threads.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.gemm import BLOCK
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.plane_tiles import row_tiles, vector_tables
from emoref_kernels.cpu.runs import add_run, add_strided, copy_run, copy_strided, gather_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, multiply_panels
from emoref_kernels.cpu.simd_planes import halve_run
from emoref_kernels.cpu.weight_panels import tile_height
from emoref_kernels.cpu.winograd_cuts import ceil_div

__all__ = ["Place", "correlate"]

_SCRATCH_FLOATS = 96 * 1024
"""Most floats of padded input in an item, where one row allows it: 384 KB, so that it stays in L2."""

_DIRECT_BLOCK = 256
"""Terms of the sum for one pass over the filters when the taps overlap and need less cache."""


class Place(NamedTuple):
    """Which positions of a larger plane a result fills.

    Row i and column j of a result of `height` by `width` go to row ``first_h + i * step_h`` and column
    ``first_w + j * step_w`` of the plane of `plane_h` by `plane_w`.
    """

    height: int
    width: int
    plane_h: int
    plane_w: int
    first_h: int = 0
    first_w: int = 0
    step_h: int = 1
    step_w: int = 1


class Plan(NamedTuple):
    """How the work on one product is cut; every number is an extent, an offset or a count."""

    images: int
    groups: int
    channels: int  # of one group
    x_h: int
    x_w: int
    stride_h: int
    stride_w: int
    top: int  # first row and column that any tap reads, for output (0, 0)
    left: int
    phases_h: int  # scratch planes of a channel: remainders of the row,
    phases_w: int  # and of the column, that the taps meet
    filters: int  # of one group
    tile_rows: int  # filters of a tile: ROWS, or 1 where there are few
    panels: int
    depth: int
    block_images: int
    band: int  # output rows of an item
    bands: int
    panel_items: int  # parts into which the filters of a group are cut
    scratch_h: int
    scratch_w: int
    scratch_plane: int  # floats of one plane
    scratch_image: int  # floats of one image
    direct: int  # 0: values are gathered; 1: columns are positions of a plane; 2: vectors lie within rows


@jit()
def _fill_planes(plan, x, image, group, first_row, rows, scratch, start):
    """Copy one image's input rows from `first_row` on into `rows` rows of each of its scratch planes.

    Columns beyond the edges of x stay as they are: zero, and never written, in any item.
    """
    for c in range(plan.channels):
        x_plane = ((image * plan.groups + group) * plan.channels + c) * plan.x_h
        for phase_h in range(plan.phases_h):
            for phase_w in range(plan.phases_w):
                plane = (c * plan.phases_h + phase_h) * plan.phases_w + phase_w
                plane = start + plane * plan.scratch_plane
                column = plan.left + phase_w
                first = 0 if column >= 0 else (plan.stride_w - 1 - column) // plan.stride_w
                last = (plan.x_w - 1 - column) // plan.stride_w + 1
                count = max(min(last, plan.scratch_w) - first, 0)
                for i in range(rows):
                    target = plane + i * plan.scratch_w
                    row = first_row + phase_h + i * plan.stride_h
                    source = (x_plane + row) * plan.x_w + column + first * plan.stride_w
                    if row < 0 or row >= plan.x_h:
                        for j in range(plan.scratch_w):
                            scratch[target + j] = 0.0
                    elif plan.stride_w == 1:
                        copy_run(scratch, target + first, x, source, count)
                    elif plan.stride_w == 2:
                        halve_run(scratch, target + first, x, source, count)
                    else:
                        copy_strided(scratch, target + first, x, source, count, plan.stride_w)


@jit()
def _term_offsets(plan, tap_h, tap_w):
    """Return, for each term of the sum, its distance in the scratch memory from the output's position.

    Behind them come the distances of the rows of a gathered block.
    """
    taps = tap_h.size
    offsets = np.empty(plan.depth + BLOCK, np.int64)
    for c in range(plan.channels):
        for t in range(taps):
            shift_h, phase_h = divmod(tap_h[t] - plan.top, plan.stride_h)
            shift_w, phase_w = divmod(tap_w[t] - plan.left, plan.stride_w)
            plane = (c * plan.phases_h + phase_h) * plan.phases_w + phase_w
            offsets[c * taps + t] = plane * plan.scratch_plane + shift_h * plan.scratch_w + shift_w
    for row in range(BLOCK):
        offsets[plan.depth + row] = row * TILE
    return offsets


@jit()
def _columns(plan, place, filters):
    """Tabulate the columns of an item.

    Returns the scratch position of each, its result position (-1: dropped), and how many columns from it
    on lie ``step_w`` apart in the result, or are dropped too.
    """
    width = plan.scratch_w if plan.direct else place.width
    count = plan.block_images * plan.band * width
    source, target = np.empty(count, np.int64), np.empty(count, np.int64)
    column = 0
    for image in range(plan.block_images):
        for i in range(plan.band):
            for j in range(width):
                source[column] = image * plan.scratch_image + i * plan.scratch_w + j
                row = image * filters * place.plane_h + i * place.step_h
                target[column] = row * place.plane_w + j * place.step_w if j < place.width else -1
                column += 1
    runs = np.ones(count, np.int64)
    for column in range(count - 2, -1, -1):
        dropped = target[column] < 0
        if target[column + 1] == (-1 if dropped else target[column] + place.step_w):
            runs[column] = runs[column + 1] + 1
    return source, target, runs


@jit()
def _gather(scratch, terms, k, k_count, source, column, columns, start):
    """Copy the values of `columns` columns under `k_count` terms into rows of TILE from `start` on."""
    width = (columns + LANES - 1) // LANES * LANES
    for row in range(k_count):
        place = start + row * TILE
        gather_run(scratch, place, scratch, terms[k + row], columns, source, column)
        for j in range(columns, width):
            scratch[place + j] = 0.0


@jit()
def _store(tile, filters, bias, first_filter, target, runs, column, columns, y, start, plane, step):
    """Add the bias and write a tile to its places, run by run of places that are `step` apart."""
    first = 0
    while first < columns:
        place = target[column + first]
        count = min(runs[column + first], columns - first)
        if place >= 0:
            for f in range(filters):
                addend = bias[first_filter + f] if bias.size else np.float32(0.0)
                if step == 1:
                    add_run(y, start + f * plane + place, tile, f * TILE + first, count, addend)
                else:
                    add_strided(y, start + f * plane + place, tile, f * TILE + first, count, step, addend)
        first += count


@jit()
def _correlate_item(
    item, plan, place, x, packed, bias, terms, source, target, runs, y, scratch, gathered, tile
):
    """Compute the filters of one item in all its columns.

    `source` is what :func:`_columns` tabulates, or :func:`~emoref_kernels.cpu.plane_tiles.vector_tables`.
    """
    keep_apart()
    item, part = divmod(item, plan.panel_items)
    item, group = divmod(item, plan.groups)
    block, band = divmod(item, plan.bands)
    image, i = block * plan.block_images, band * plan.band
    images = min(plan.block_images, plan.images - image)
    rows = min(plan.band, place.height - i)
    scratch_rows = plan.scratch_h - plan.band + rows
    for n in range(images):
        first_row = i * plan.stride_h + plan.top
        _fill_planes(plan, x, image + n, group, first_row, scratch_rows, scratch, n * plan.scratch_image)
    first_panel = plan.panels * part // plan.panel_items
    panels = plan.panels * (part + 1) // plan.panel_items - first_panel
    filters = min(panels * plan.tile_rows, plan.filters - first_panel * plan.tile_rows)
    first_filter = group * plan.filters + first_panel * plan.tile_rows
    all_filters = plan.groups * plan.filters
    plane = place.plane_h * place.plane_w
    a_panel = plan.depth * plan.tile_rows
    a_start = (group * plan.panels + first_panel) * a_panel
    y_start = (image * all_filters + first_filter) * plane
    y_start += (place.first_h + i * place.step_h) * place.plane_w + place.first_w
    if plan.direct == 2:
        vectors, first_row = rows * place.width // LANES, (group * plan.panels + first_panel) * ROWS
        row_tiles(
            plan, source, target.size, vectors, packed, a_start, panels, filters, scratch, bias, first_row,
            y, y_start, plane, tile, _DIRECT_BLOCK,
        )  # fmt: skip
        return
    if plan.direct:
        columns, step = (rows - 1) * plan.scratch_w + place.width, _DIRECT_BLOCK
    else:
        columns, step = images * rows * place.width, BLOCK
    for column in range(0, columns, TILE):
        own = min(TILE, columns - column)
        vectors = (own + LANES - 1) // LANES
        for k in range(0, plan.depth, step):
            count = min(step, plan.depth - k)
            a_place = a_start + k * plan.tile_rows
            more = 1 if k else 0
            if not plan.direct:
                _gather(scratch, terms, k, count, source, column, own, gathered)
            # Only numbers differ: choosing one of two arrays would count a reference, an atomic operation.
            multiply_panels(
                tile, 0, TILE, packed, a_place, a_panel, panels, scratch, column if plan.direct else gathered,
                terms, k if plan.direct else plan.depth, count, more, plan.tile_rows, vectors,
            )  # fmt: skip
        _store(tile, filters, bias, first_filter, target, runs, column, own, y, y_start, plane, place.step_w)


@jit(inline="always")
def _plan(n):
    """Return the plan that an array begins with; all workers take arrays alone."""
    return Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13],
        n[14], n[15], n[16], n[17], n[18], n[19], n[20], n[21], n[22], n[23],
    )  # fmt: skip


@jit(inline="always")
def _place(n):
    """Return the place that follows the plan."""
    return Place(n[24], n[25], n[26], n[27], n[28], n[29], n[30], n[31])


@jit()
def _correlate_chunk(chunk, chunks, n, tables, x, packed, bias, y, scratch):
    """Compute every chunks-th item; they share scratch memory, so that pages are touched once."""
    keep_apart()
    plan, place, sizes = _plan(n), _place(n), n[32:]
    items, gathered, size, tile_size = sizes[0], sizes[1], sizes[2], sizes[3]
    terms, sources, targets = sizes[4], sizes[5], sizes[6]
    # Slices are made here, once: each would be counted by an atomic operation.
    source = tables[terms : terms + sources]
    target = tables[terms + sources : terms + sources + targets]
    runs = tables[terms + sources + targets :]
    start = chunk * (size + tile_size)
    own, tile = scratch[start : start + size], scratch[start + size : start + size + tile_size]
    for item in range(chunk, items, chunks):
        _correlate_item(
            item, plan, place, x, packed, bias, tables, source, target, runs, y, own, gathered, tile
        )


def _correlate(
    plan: Plan,
    place: Place,
    threads: int,
    x: NDArray[Any],
    packed: NDArray[Any],
    bias: NDArray[Any],
    tap_h: NDArray[np.int64],
    tap_w: NDArray[np.int64],
    y: NDArray[Any],
) -> None:
    terms = _term_offsets(plan, tap_h, tap_w)
    source, target, runs = _columns(plan, place, plan.groups * plan.filters)
    if plan.direct == 2:
        source, vectors = vector_tables(plan, place, terms)
        target = target[:vectors]
    items = ceil_div(plan.images, plan.block_images) * plan.bands * plan.groups * plan.panel_items
    chunks = min(items, threads)
    gathered = plan.block_images * plan.scratch_image + TILE
    size = gathered + (0 if plan.direct else BLOCK * TILE)
    tile_size = plan.panels * plan.tile_rows * TILE
    sizes = items, gathered, size, tile_size, terms.size, source.size, target.size
    numbers = np.array((*plan, *place, *sizes), np.int64)
    tables = np.concatenate((terms, source, target, runs))
    scratch = np.zeros(chunks * (size + tile_size), np.float32)
    share(_correlate_chunk, chunks, (numbers, tables), (x, packed, bias, y, scratch))


def make_plan(
    x_shape: tuple[int, int, int, int],
    groups: int,
    filters: int,
    stride: tuple[int, int],
    tap_h: NDArray[np.int64],
    tap_w: NDArray[np.int64],
    place: Place,
    threads: int,
) -> Plan:
    """Cut a product into items; the cut changes the time, never a bit of the result.

    Parameters
    ----------
    x_shape : tuple of int
        (N, C, H, W) of the input.
    groups, filters : int
        Number of groups, and filters of each.
    stride : tuple of int
        Rows and columns from one output to the next.
    tap_h, tap_w : ndarray of int64
        Row and column of each tap, for output (0, 0).
    place : Place
        Size and place of the result.
    threads : int
        Number of threads that the items should keep busy.

    Returns
    -------
    Plan
        The cut.
    """
    images, all_channels, x_h, x_w = x_shape
    channels = all_channels // groups
    top, left = int(tap_h.min()), int(tap_w.min())
    span_h, span_w = int(tap_h.max()) - top + 1, int(tap_w.max()) - left + 1
    phases_h, phases_w = min(span_h, stride[0]), min(span_w, stride[1])
    halo = (span_h - 1) // stride[0]
    scratch_w = place.width + (span_w - 1) // stride[1]
    scratch_row = channels * phases_h * phases_w * scratch_w
    tile_rows = int(tile_height(filters))
    panels = ceil_div(filters, tile_rows)
    depth = channels * tap_h.size
    pixels = place.height * place.width

    # One step of the sum takes about half a cycle for each vector and filter; gathering a value takes 1.
    panel_cycles = panels * tile_rows / 2
    direct_cycles = ceil_div((place.height - 1) * scratch_w + place.width, LANES) * panel_cycles
    direct = int(direct_cycles <= pixels * (panel_cycles / LANES + 1))
    if place.width % LANES == 0 and place.step_w == 1 and tile_rows == ROWS:
        direct = 2

    rows_allowed = max(_SCRATCH_FLOATS // scratch_row - halo, 1)
    wanted = ceil_div(4 * threads, images * groups)
    least = max(ceil_div(place.height, wanted), ceil_div(2 * TILE, place.width))
    band = min(place.height, rows_allowed, least)
    bands = ceil_div(place.height, band)
    block_images = 1
    if bands == 1 and not direct:
        block_images = _block_images(images, groups, pixels, (band + halo) * scratch_row, threads)
    scratch_plane = (band + halo) * scratch_w
    if direct == 2:
        # An odd number of vectors spreads the planes over the sets of the cache.
        scratch_plane = (ceil_div(scratch_plane, LANES) | 1) * LANES
    items = ceil_div(images, block_images) * bands * groups
    panel_items = min(panels, ceil_div(threads, items))
    return Plan(
        images, groups, channels, x_h, x_w, *stride, top, left, phases_h, phases_w, filters, tile_rows,
        panels, depth, block_images, band, bands, panel_items, band + halo, scratch_w, scratch_plane,
        channels * phases_h * phases_w * scratch_plane, direct,
    )  # fmt: skip


def _block_images(images: int, groups: int, pixels: int, scratch_image: int, threads: int) -> int:
    """Choose how many small images share a tile: whole tiles of columns, and work for all threads."""
    unit = ceil_div(TILE, pixels)
    most = min(
        _SCRATCH_FLOATS // scratch_image, ceil_div(4 * TILE, pixels), ceil_div(images * groups, 4 * threads)
    )
    return min(max(most // unit, 1) * unit, ceil_div(images, threads))


def correlate(
    x: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    packed: NDArray[Any],
    groups: int,
    filters: int,
    bias: NDArray[Any],
    stride: tuple[int, int],
    tap_h: NDArray[np.int64],
    tap_w: NDArray[np.int64],
    place: Place,
    y: NDArray[Any],
) -> None:
    """Compute the product of this module's heading into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Input of shape `x_shape` (N, C, H, W), N at least 1, flat.
    x_shape : tuple of int
        Its shape.
    packed : ndarray of float32, 1-D
        Weights from :func:`~emoref_kernels.cpu.weight_panels.pack_weights`, the taps in the order of
        `tap_h` and `tap_w`.
    groups, filters : int
        Number of groups, and filters of each.
    bias : ndarray of float32, 1-D
        One value for each filter of all groups, or of length 0.
    stride : tuple of int
        Rows and columns of the input from one output to the next.
    tap_h, tap_w : ndarray of int64
        Row and column of each tap, for output (0, 0); may be negative.
    place : Place
        Size of the result, and its place in the planes of `y`.
    y : ndarray of float32, 1-D
        Planes of groups * filters channels for each image; the result's places are written.
    """
    threads = numba.get_num_threads()
    plan = make_plan(x_shape, groups, filters, stride, tap_h, tap_w, place, threads)
    if plan.direct == 2:
        rows = np.zeros((groups, plan.panels * ROWS), np.float32)
        if bias.size:
            rows[:, :filters] = bias.reshape(groups, filters)
        bias = rows.reshape(-1)
    _correlate(plan, place, threads, x, packed, bias, tap_h, tap_w, y)
