"""Networks of the LeNet kind in one pass: convolution, 2x2 max pooling, ..., then linear layers.

Maps are planes here, one a channel, and the lanes of a vector are the pixels *after* pooling. A pooling
window covers four results of the convolution, its *phases* (0, 0), (0, 1), (1, 0), (1, 1). Pixel (2 i + u,
2 j + v) of the padded input, for fixed u and v, is what tap (u - a, v - b) of phase (a, b) needs for all
windows (i, j) at once. :func:`phase_maps` sorts a plane so that these are neighbours, and a pooling window
is then the largest of four vectors.

The order of the sum is what makes a population cheap to evaluate. First the taps of each channel are added,
which gives one *partial sum* a channel and filter; then the partial sums, in the order of the channels. A
candidate that keeps only some channels adds only theirs, and gets, bit for bit, the result of the network
that has no other channels.

The kernels take few arrays: `weights` (all weights, factors and summands), `tables` (all whole numbers),
`scratch` (everything in between), and places in them. Numba then compiles them in seconds.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from emoref_kernels.cpu.fused_phases import PHASE_ROWS, add_channels, phase_tile
from emoref_kernels.cpu.fused_tile import Tile, dense_tile
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run, gather_run
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS

__all__ = [
    "BLOCK_IMAGES",
    "DenseLayer",
    "PhaseStage",
    "Planes",
    "dense_layer",
    "load_layer",
    "load_stage",
    "phase_maps",
    "phase_partials",
    "phase_scratch",
    "pool_channels",
    "run_planes",
    "run_stage",
]

BLOCK_IMAGES = 64
"""Images that go through the linear layers together."""

MINUS_INF = np.float32(-np.inf)
ZERO = np.float32(0.0)


class PhaseStage(NamedTuple):
    """A convolution of stride 1, an affine map, perhaps ReLU, and 2x2 max pooling.

    Attributes
    ----------
    channels, height, width : int
        Of the input.
    filters, kernel, padding : int
        Of the convolution.
    rows, columns : int
        Of the result, after pooling.
    w : int
        Where the weights (filters, channels, kernel, kernel) begin.
    scale, shift : int
        Where the filters' factors and summands begin.
    relu : int
        Not 0: negative results become 0.
    tables : int
        Where the numbers of :func:`~emoref_kernels.cpu.fused_program.phase_tables` begin.
    """

    channels: int
    height: int
    width: int
    filters: int
    kernel: int
    padding: int
    rows: int
    columns: int
    w: int
    scale: int
    shift: int
    relu: int
    tables: int


class DenseLayer(NamedTuple):
    """A linear layer, an affine map and perhaps ReLU.

    Attributes
    ----------
    inputs, units : int
        Its sizes.
    w : int
        Where its weights begin, packed by :func:`~emoref_kernels.cpu.fused_program.pack_columns`.
    scale, shift : int
        Where the units' factors and summands begin, each padded to whole vectors.
    relu : int
        Not 0: negative results become 0.
    x_rows, y_rows : int
        Where in the tables the places of the images' inputs and outputs begin.
    x_runs, w_runs, runs, run_length : int
        Which inputs are read; see :class:`~emoref_kernels.cpu.fused_tile.Tile`.
    """

    inputs: int
    units: int
    w: int
    scale: int
    shift: int
    relu: int
    x_rows: int
    y_rows: int
    x_runs: int
    w_runs: int
    runs: int
    run_length: int


class Planes(NamedTuple):
    """A whole network.

    Attributes
    ----------
    size, classes : int
        Floats of an image and of a result.
    stages, stage_count, layers, layer_count : int
        Where the numbers of the stages and of the linear layers begin in the tables, and how many there are.
    counting, places : int
        Where 0, 1, 2, ... begin in the tables, and the places of as many channels' partial sums.
    plane, row : int
        Floats of the largest map, and of the longest row of features.
    """

    size: int
    classes: int
    stages: int
    stage_count: int
    layers: int
    layer_count: int
    counting: int
    places: int
    plane: int
    row: int


@jit()
def _maps_size(stage):
    """Return the floats of one channel's phase maps."""
    return 2 * (stage.kernel + 1) * (stage.rows + stage.kernel // 2) * stage.columns


@jit()
def phase_scratch(stage):
    """Return how many floats a stage needs: padded plane, phase maps, partial sums, one vector."""
    plane = (stage.height + 2 * stage.padding) * (stage.width + 2 * stage.padding)
    maps = stage.channels * _maps_size(stage) + 2 * LANES
    return plane + maps + PHASE_ROWS * stage.channels * 4 * LANES + LANES


@jit()
def phase_maps(stage, x, x_start, tables, scratch, start):
    """Sort the planes of one image into phase maps, from `start` on in `scratch`."""
    width = stage.width + 2 * stage.padding
    plane = (stage.height + 2 * stage.padding) * width
    size = _maps_size(stage)
    table = stage.tables + 2 * stage.kernel + stage.filters + PHASE_ROWS
    for c in range(stage.channels):
        source = x_start + c * stage.height * stage.width
        target = start + plane + c * size
        if stage.padding == 0:
            gather_run(scratch, target, x, source, size, tables, table)
            continue
        if c == 0:
            scratch[start : start + plane] = ZERO
        for i in range(stage.height):
            place = start + (i + stage.padding) * width + stage.padding
            copy_run(scratch, place, x, source + i * stage.width, stage.width)
        gather_run(scratch, target, scratch, start, size, tables, table)


@jit()
def phase_partials(stage, weights, rows, channels, count, first, tables, scratch, start):
    """Compute the partial sums of PHASE_ROWS filters and some channels, for LANES windows from `first` on.

    `rows` and `channels` are where the filters' places and the channels begin in the tables. Returns where
    in `scratch` the sums begin: filter by filter, channel by channel of the list, phase by phase.
    """
    kernel = stage.kernel
    plane = (stage.height + 2 * stage.padding) * (stage.width + 2 * stage.padding)
    size = _maps_size(stage)
    right = (stage.rows + kernel // 2) * stage.columns
    z = start + plane + stage.channels * size + 2 * LANES
    for i in range(count):
        c = tables[channels + i]
        phase_tile(
            scratch, z + i * 4 * LANES, count * 4 * LANES, LANES, weights, stage.w + c * kernel**2,
            scratch, start + plane + c * size + first, right, tables, rows, stage.tables,
            stage.tables + kernel, kernel, kernel,
        )  # fmt: skip
    return z


@jit()
def pool_channels(stage, f, z, places, count, weights, tables, scratch, spare, first, y_start):
    """Add the partial sums of one filter's channels and write its LANES pooled windows from `first` on."""
    floor = ZERO if stage.relu else MINUS_INF
    scale, shift = weights[stage.scale + f], weights[stage.shift + f]
    pixels = stage.rows * stage.columns
    whole = pixels - first >= LANES
    place = y_start + first if whole else spare
    add_channels(scratch, place, scratch, z, LANES, tables, places, count, scale, shift, floor)
    if not whole:
        copy_run(scratch, y_start + first, scratch, spare, pixels - first)


@jit()
def run_stage(stage, x, x_start, y_start, weights, counting, places, tables, scratch, start):
    """Compute one stage for one image, from `x` into `scratch`, with all its channels and filters.

    `counting` and `places` are those of :class:`Planes`; the stage's own scratch begins at `start`.
    """
    phase_maps(stage, x, x_start, tables, scratch, start)
    pixels = stage.rows * stage.columns
    spare = start + phase_scratch(stage) - LANES
    row = stage.channels * 4 * LANES
    for f in range(0, stage.filters, PHASE_ROWS):
        filters = stage.tables + 2 * stage.kernel + f
        for first in range(0, pixels, LANES):
            z = phase_partials(
                stage, weights, filters, counting, stage.channels, first, tables, scratch, start
            )
            for m in range(min(PHASE_ROWS, stage.filters - f)):
                pool_channels(
                    stage, f + m, z + m * row, places, stage.channels, weights, tables, scratch, spare, first,
                    y_start + (f + m) * pixels,
                )  # fmt: skip


@jit()
def dense_layer(layer, x_base, y_base, images, weights, tables, scratch):
    """Compute a linear layer for some images, in whole tiles of rows.

    Rows up to the next multiple of ROWS are read and written, whatever they hold.
    """
    vectors = (layer.units + LANES - 1) // LANES
    tiles = (vectors + VECTORS - 1) // VECTORS
    floor = ZERO if layer.relu else MINUS_INF
    for t in range(tiles):
        column = vectors * t // tiles
        own = vectors * (t + 1) // tiles - column
        column *= LANES
        for m in range(0, images, ROWS):
            tile = Tile(
                layer.y_rows + m, y_base + column, layer.x_rows + m, x_base,
                layer.w + column * layer.inputs, own * LANES, layer.x_runs, layer.w_runs, layer.runs,
                layer.run_length, layer.scale + column, layer.shift + column, 0, 0, 0, 0,
            )  # fmt: skip
            dense_tile(scratch, scratch, scratch, weights, weights, tables, tile, floor, own)


_STAGE_NUMBERS = len(PhaseStage._fields)
_LAYER_NUMBERS = len(DenseLayer._fields)


@jit()
def load_stage(tables, start, index):
    """Return stage number `index` of those whose numbers begin at entry `start`."""
    k = start + index * _STAGE_NUMBERS
    return PhaseStage(
        tables[k], tables[k + 1], tables[k + 2], tables[k + 3], tables[k + 4], tables[k + 5], tables[k + 6],
        tables[k + 7], tables[k + 8], tables[k + 9], tables[k + 10], tables[k + 11], tables[k + 12],
    )  # fmt: skip


@jit()
def load_layer(tables, start, index):
    """Return linear layer number `index` of those whose numbers begin at entry `start`."""
    k = start + index * _LAYER_NUMBERS
    return DenseLayer(
        tables[k], tables[k + 1], tables[k + 2], tables[k + 3], tables[k + 4], tables[k + 5], tables[k + 6],
        tables[k + 7], tables[k + 8], tables[k + 9], tables[k + 10], tables[k + 11],
    )  # fmt: skip


@jit()
def _run_block(net, x, first, images, weights, tables, y, scratch, start):
    """Compute the results of some images."""
    rows = BLOCK_IMAGES * net.row
    maps = start + 2 * rows
    spare = maps + 2 * net.plane
    for n in range(images):
        features = start + n * net.row
        image = (first + n) * net.size
        if net.stage_count == 0:
            copy_run(scratch, features, x, image, net.size)
        for s in range(net.stage_count):
            stage = load_stage(tables, net.stages, s)
            source = maps + s % 2 * net.plane
            target = features if s == net.stage_count - 1 else maps + (1 - s % 2) * net.plane
            if s == 0:
                copy_run(scratch, source, x, image, net.size)
            run_stage(
                stage, scratch, source, target, weights, net.counting, net.places, tables, scratch, spare
            )
    for k in range(net.layer_count):
        layer = load_layer(tables, net.layers, k)
        dense_layer(layer, start + k % 2 * rows, start + (1 - k % 2) * rows, images, weights, tables, scratch)
    result = start + net.layer_count % 2 * rows
    for n in range(images):
        copy_run(y, (first + n) * net.classes, scratch, result + n * net.row, net.classes)


@jit()
def _run_chunk(chunk, chunks, block, net, x, count, weights, tables, y, scratch):
    """Compute every chunks-th block of images."""
    start = scratch.size // chunks * chunk
    for first in range(chunk * block, count, chunks * block):
        _run_block(net, x, first, min(block, count - first), weights, tables, y, scratch, start)


@jit(parallel=True)
def run_planes(chunks, block, net, x, count, weights, tables, y, scratch):
    """Compute the results of `count` images in blocks, in `chunks` pieces with equal shares of `scratch`.

    See :func:`~emoref_kernels.cpu.fused_program.predict_planes`.
    """
    for index in prange(chunks):
        # np.int64: the index is unsigned, and Numba makes unsigned // signed a float.
        _run_chunk(np.int64(index), chunks, block, net, x, count, weights, tables, y, scratch)
