"""Many pruned candidates of one network of the LeNet kind, evaluated together.

The networks are those of :mod:`~emoref_kernels.cpu.fused_planes`, with one or two convolutions; candidates
keep some filters of each convolution and some units of the hidden linear layers. For every image

* the first convolution runs once, with all its filters;
* of the second one, the partial sums of every channel and filter are computed once, a few filters at a time,
  and each candidate adds those of the channels that it keeps: one addition in the place of the 25
  multiply-adds of a 5x5 kernel;
* the linear layers run for each candidate on the features that it has, a block of images at a time. Where
  all units of the first one stay, its weights are read where they lie, skipping those of removed features.

A candidate's results have the bits of its own compact network in
:func:`~emoref_kernels.cpu.fused_program.predict_planes`: the same sums in the same order.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_phases import PHASE_ROWS
from emoref_kernels.cpu.fused_planes import (
    BLOCK_IMAGES,
    DenseLayer,
    dense_layer,
    load_layer,
    load_stage,
    phase_maps,
    phase_partials,
    phase_scratch,
    pool_channels,
    run_stage,
)
from emoref_kernels.cpu.fused_program import Joined, PlanesProgram
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run
from emoref_kernels.cpu.simd import LANES, VECTORS

__all__ = [
    "CandidateTables",
    "Candidates",
    "candidate_bytes",
    "lay_out_candidates",
    "predict_candidates",
    "scratch_floats",
]


class CandidateTables(NamedTuple):
    """Where the numbers of some candidates begin in the tables.

    Attributes
    ----------
    size : int
        Number P of candidates.
    channels, channel_count : int
        The channels between the convolutions that any candidate keeps.
    places, first_places : int
        The places of the partial sums that the candidates add, one candidate after the other, and P + 1
        entries that say where in the tables each one's begin.
    filters, rows, group_count : int
        The filters of the last convolution that any candidate keeps, and the places of their weights, the
        last one repeated to fill the last of the groups of PHASE_ROWS.
    kept, cursors : int
        The candidates' filters, as positions in that list, one candidate after the other; and for each
        candidate and group where in the tables its filters of the group begin, and where its last end.
    layers, picked : int
        One :class:`~emoref_kernels.cpu.fused_planes.DenseLayer` for each linear layer of each candidate, and
        for each of them three numbers: whether its weights must be picked from the network's, and where the
        inputs and units to be picked begin.
    row : int
        Floats of the longest row of features.
    """

    size: int
    channels: int
    channel_count: int
    places: int
    first_places: int
    filters: int
    rows: int
    group_count: int
    kept: int
    cursors: int
    layers: int
    picked: int
    row: int


class Candidates(NamedTuple):
    """What :func:`predict_candidates` takes; made by :func:`lay_out_candidates`."""

    where: CandidateTables
    weights: NDArray[np.float32]
    tables: NDArray[np.int64]


@jit()
def _pick_layer(source, layer, inputs, units, weights, tables):
    """Copy the weights of some inputs and units of a packed layer into another one."""
    for j in range(layer.units):
        weights[layer.scale + j] = weights[source.scale + tables[units + j]]
        weights[layer.shift + j] = weights[source.shift + tables[units + j]]
    all_vectors = (source.units + LANES - 1) // LANES
    all_tiles = (all_vectors + VECTORS - 1) // VECTORS
    vectors = (layer.units + LANES - 1) // LANES
    tiles = (vectors + VECTORS - 1) // VECTORS
    for t in range(tiles):
        first = vectors * t // tiles * LANES
        width = vectors * (t + 1) // tiles * LANES - first
        base = layer.w + first * layer.inputs - first
        for j in range(first, min(first + width, layer.units)):
            unit = tables[units + j]
            # The tile that holds the unit's vector.
            tile = unit // LANES * all_tiles // all_vectors
            while all_vectors * (tile + 1) // all_tiles <= unit // LANES:
                tile += 1
            all_first = all_vectors * tile // all_tiles * LANES
            all_width = all_vectors * (tile + 1) // all_tiles * LANES - all_first
            all_base = source.w + all_first * source.inputs - all_first
            for i in range(layer.inputs):
                place = all_base + tables[inputs + i] * all_width + unit
                weights[base + i * width + j] = weights[place]


@jit()
def _pick_candidate(p, net, where, weights, tables):
    """Copy the weights of those layers of one candidate that do not use the network's."""
    for k in range(net.layer_count):
        layer = p * net.layer_count + k
        picked = where.picked + 3 * layer
        if tables[picked]:
            _pick_layer(
                load_layer(tables, net.layers, k),
                load_layer(tables, where.layers, layer),
                tables[picked + 1],
                tables[picked + 2],
                weights,
                tables,
            )


# What runs in parallel is one call a piece: Numba takes seconds to prepare longer bodies.
@jit(parallel=True)
def _pick_candidates(net, where, weights, tables):
    for index in prange(where.size):
        _pick_candidate(np.int64(index), net, where, weights, tables)


@jit()
def _pick_features(where, pixels, tables, features, scratch, source):
    """Copy each candidate's maps of the only convolution to its features."""
    for p in range(where.size):
        target = features + p * BLOCK_IMAGES * where.row
        cursors = where.cursors + p * (where.group_count + 1)
        for i in range(tables[cursors], tables[cursors + where.group_count]):
            copy_run(scratch, target, scratch, source + tables[where.filters + tables[i]] * pixels, pixels)
            target += pixels


@jit()
def _add_partials(stage, where, group, first, z, weights, tables, features, scratch, spare):
    """Add every candidate's partial sums of one group of filters, for LANES windows from `first` on."""
    pixels = stage.rows * stage.columns
    for p in range(where.size):
        cursors = where.cursors + p * (where.group_count + 1)
        target = features + p * BLOCK_IMAGES * where.row
        places = tables[where.first_places + p]
        count = tables[where.first_places + p + 1] - places
        for i in range(tables[cursors + group], tables[cursors + group + 1]):
            position = tables[i]
            f = tables[where.filters + position]
            z_row = z + (position - group * PHASE_ROWS) * where.channel_count * 4 * LANES
            y_start = target + (i - tables[cursors]) * pixels
            pool_channels(stage, f, z_row, places, count, weights, tables, scratch, spare, first, y_start)


@jit()
def _run_features(net, where, x, image, weights, tables, features, scratch, start):
    """Compute every candidate's features of one image."""
    stage = load_stage(tables, net.stages, 0)
    spare = start + net.plane
    run_stage(stage, x, image, start, weights, net.counting, net.places, tables, scratch, spare)
    if net.stage_count == 1:
        _pick_features(where, stage.rows * stage.columns, tables, features, scratch, start)
        return
    stage = load_stage(tables, net.stages, 1)
    phase_maps(stage, scratch, start, tables, scratch, spare)
    vector = spare + phase_scratch(stage) - LANES
    for group in range(where.group_count):
        rows = where.rows + group * PHASE_ROWS
        for first in range(0, stage.rows * stage.columns, LANES):
            z = phase_partials(
                stage, weights, rows, where.channels, where.channel_count, first, tables, scratch, spare
            )
            _add_partials(stage, where, group, first, z, weights, tables, features, scratch, vector)


@jit()
def _run_layers(p, net, where, source, hidden, images, weights, tables, scratch):
    """Compute one candidate's linear layers and return where in `scratch` the results begin."""
    for k in range(net.layer_count):
        target = hidden + k % 2 * BLOCK_IMAGES * where.row
        layer = load_layer(tables, where.layers, p * net.layer_count + k)
        dense_layer(layer, source, target, images, weights, tables, scratch)
        source = target
    return source


@jit()
def _run_chunk(chunk, chunks, block, net, where, x, count, weights, tables, y, scratch):
    """Compute every chunks-th block of images."""
    hidden = scratch.size // chunks * chunk
    features = hidden + 2 * BLOCK_IMAGES * where.row
    start = features + where.size * BLOCK_IMAGES * where.row
    for first in range(chunk * block, count, chunks * block):
        images = min(block, count - first)
        for n in range(images):
            image = (first + n) * net.size
            _run_features(net, where, x, image, weights, tables, features + n * where.row, scratch, start)
        for p in range(where.size):
            source = features + p * BLOCK_IMAGES * where.row
            result = _run_layers(p, net, where, source, hidden, images, weights, tables, scratch)
            for n in range(images):
                place = (p * count + first + n) * net.classes
                copy_run(y, place, scratch, result + n * where.row, net.classes)


@jit(parallel=True)
def _run_candidates(chunks, block, net, where, x, count, weights, tables, y, scratch):
    for index in prange(chunks):
        _run_chunk(np.int64(index), chunks, block, net, where, x, count, weights, tables, y, scratch)


def _bounds(masks: NDArray[np.bool_], start: int) -> NDArray[np.int64]:
    """Return where each row's list of kept numbers begins, and where the last one ends."""
    return start + np.concatenate([[0], np.cumsum(masks.sum(axis=1))])


def _group_bounds(masks: NDArray[np.bool_], groups: int, start: int) -> NDArray[np.int64]:
    """Return where each row's kept numbers of each group of PHASE_ROWS begin, and where its last end."""
    ends = np.minimum(np.arange(1, groups + 1) * PHASE_ROWS, masks.shape[1])
    within = np.cumsum(masks, axis=1)[:, ends - 1]
    before = _bounds(masks, start)[:-1, None]
    return np.concatenate([before, before + within], axis=1)


def lay_out_candidates(
    program: PlanesProgram, filters: list[NDArray[np.bool_]], units: list[NDArray[np.bool_]]
) -> Candidates:
    """Describe candidates of a network to the kernel.

    Parameters
    ----------
    program : PlanesProgram
        The unpruned network, with one or two stages.
    filters : list of bool array, shape (P, filters)
        For each stage, the filters that each of P candidates keeps, one at least.
    units : list of bool array, shape (P, units)
        For each linear layer, the units that each candidate keeps, one at least; all of the last.

    Returns
    -------
    Candidates
        What :func:`predict_candidates` takes.
    """
    last, stage = filters[-1], program.stages[-1]
    pixels = stage.rows * stage.columns
    row = max(program.net.row, -(-int(last.sum(axis=1).max()) * pixels // LANES) * LANES)
    weights, tables = Joined(np.float32), Joined(np.int64)
    weights.add(program.weights)
    tables.add(program.tables)

    used = np.flatnonzero(last.any(axis=0))
    groups = -(-len(used) // PHASE_ROWS)
    filled = used[np.minimum(np.arange(groups * PHASE_ROWS), len(used) - 1)]
    channels = np.flatnonzero(filters[0].any(axis=0)) if len(filters) == 2 else np.zeros(0, np.int64)
    added = filters[0][:, channels]
    places = tables.add(np.nonzero(added)[1] * 4 * LANES)
    kept = tables.add(np.nonzero(last[:, used])[1])
    layers, picked = _lay_out_layers(program, last, units, pixels, row, weights, tables)
    where = CandidateTables(
        size=len(last),
        channels=tables.add(channels),
        channel_count=len(channels),
        places=places,
        first_places=tables.add(_bounds(added, places)),
        filters=tables.add(filled),
        rows=tables.add(filled * stage.channels * stage.kernel**2),
        group_count=groups,
        kept=kept,
        cursors=tables.add(_group_bounds(last[:, used], groups, kept)),
        layers=tables.add(layers),
        picked=tables.add(picked),
        row=row,
    )
    return Candidates(where, weights.array(), tables.array())


def _lay_out_layers(
    program: PlanesProgram,
    last: NDArray[np.bool_],
    units: list[NDArray[np.bool_]],
    pixels: int,
    row: int,
    weights: Joined,
    tables: Joined,
) -> tuple[list[DenseLayer], NDArray[np.int64]]:
    """Return the linear layers of every candidate, and which weights are picked for them."""
    rows = tables.add(np.arange(BLOCK_IMAGES) * row)
    every = tables.add(np.arange(last.shape[1]) * pixels)
    whole = [bool(mask.all()) for mask in units]
    common = [layer._replace(x_rows=rows, y_rows=rows) for layer in program.layers]
    layers: list[DenseLayer] = []
    picked = np.zeros((len(last), len(units), 3), np.int64)
    room = weights.size
    for p, own in enumerate(last):
        features = np.flatnonzero(own) * pixels
        for k, layer in enumerate(common):
            if k == 0 and whole[0]:
                w_runs = tables.add(features)
                layer = layer._replace(x_runs=every, w_runs=w_runs, runs=len(features), run_length=pixels)
            elif not (whole[k] and whole[k - 1]):
                inputs = (
                    (features[:, None] + np.arange(pixels)).ravel()
                    if k == 0
                    else np.flatnonzero(units[k - 1][p])
                )
                outputs = np.flatnonzero(units[k][p])
                picked[p, k] = 1, tables.add(inputs), tables.add(outputs)
                width = -(-len(outputs) // LANES) * LANES
                w, scale = room, room + len(inputs) * width
                room = scale + 2 * width
                layer = layer._replace(
                    inputs=len(inputs), units=len(outputs), w=w, scale=scale, shift=scale + width,
                    run_length=len(inputs),
                )  # fmt: skip
            layers.append(layer)
    weights.add(np.zeros(room - weights.size, np.float32))
    return layers, picked


def _pieces(count: int) -> tuple[int, int]:
    """Return the images of a block, and into how many pieces the blocks are divided."""
    threads = numba.get_num_threads()
    block = min(BLOCK_IMAGES, -(-count // threads))
    return block, min(threads, -(-count // block))


def candidate_bytes(program: PlanesProgram) -> int:
    """Return a bound of the memory for each candidate: features of one block a thread, and picked weights."""
    features = numba.get_num_threads() * BLOCK_IMAGES * max(program.net.row, program.layers[0].inputs + LANES)
    return 4 * (features + program.weights.size)


def scratch_floats(program: PlanesProgram, candidates: Candidates, count: int) -> int:
    """Return how long the scratch memory of :func:`predict_candidates` must be for `count` images."""
    share = program.scratch + (candidates.where.size + 2) * BLOCK_IMAGES * candidates.where.row
    return _pieces(count)[1] * share


def predict_candidates(
    program: PlanesProgram,
    candidates: Candidates,
    images: NDArray[Any],
    scratch: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the results of all candidates for all images.

    Parameters
    ----------
    program : PlanesProgram
        The unpruned network.
    candidates : Candidates
        From :func:`lay_out_candidates`.
    images : ndarray of float32, shape (N, C, H, W)
        The images, one at least.
    scratch : ndarray of float32, 1-D, optional
        Memory to work in, of :func:`scratch_floats` values at least, so that calls can share it.

    Returns
    -------
    ndarray of float32, shape (P, N, classes)
        Bit for bit what :func:`~emoref_kernels.cpu.fused_program.predict_planes` gives for each candidate's
        own program.
    """
    net, where, count = program.net, candidates.where, len(images)
    y = np.empty((where.size, count, net.classes), np.float32)
    block, chunks = _pieces(count)
    if scratch is None:
        scratch = np.zeros(scratch_floats(program, candidates, count), np.float32)
    if candidates.tables[where.picked : where.picked + 3 * where.size * net.layer_count : 3].any():
        _pick_candidates(net, where, candidates.weights, candidates.tables)
    _run_candidates(
        chunks, block, net, where, flat(images), count, candidates.weights, candidates.tables, y.reshape(-1),
        scratch,
    )  # fmt: skip
    return y
