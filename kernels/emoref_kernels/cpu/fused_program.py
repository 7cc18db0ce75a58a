"""Layout of networks of stages and linear layers for :mod:`~emoref_kernels.cpu.fused_planes`."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_phases import PHASE_ROWS
from emoref_kernels.cpu.fused_planes import (
    BLOCK_IMAGES,
    DenseLayer,
    PhaseStage,
    Planes,
    phase_scratch,
    run_planes,
)
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.simd import LANES, VECTORS

__all__ = [
    "Joined",
    "PlanesProgram",
    "Weighted",
    "column_tiles",
    "pack_columns",
    "phase_tables",
    "planes_program",
    "predict_planes",
    "whole_vectors",
]


def column_tiles(columns: int) -> list[tuple[int, int]]:
    """Return (first vector, vectors) of each tile of a row; widths differ by one at most."""
    vectors = -(-columns // LANES)
    tiles = -(-vectors // VECTORS)
    firsts = [vectors * t // tiles for t in range(tiles + 1)]
    return [(first, last - first) for first, last in pairwise(firsts)]


def pack_columns(w: NDArray[Any]) -> NDArray[np.float32]:
    """Pack a matrix (columns, terms) for :func:`~emoref_kernels.cpu.fused_tile.dense_tile`.

    Returns
    -------
    ndarray of float32, 1-D
        For each tile of :func:`column_tiles`, its columns side by side, term by term, zeros to whole vectors.
    """
    columns, terms = w.shape
    padded = np.zeros((-(-columns // LANES) * LANES, terms), np.float32)
    padded[:columns] = w
    return np.concatenate(
        [padded[f * LANES : (f + n) * LANES].T.reshape(-1) for f, n in column_tiles(columns)]
    )


def phase_tables(stage: PhaseStage) -> NDArray[np.int64]:
    """Return the numbers that a stage needs: where its rows of taps, its filters and its pixels are.

    In this order: for each row of the kernel the place of its phase maps, and the distance to those of the
    row below; the place of each filter's weights, the last one repeated to fill a tile; the pixel of the
    padded plane that belongs at each place of a channel's phase maps.
    """
    kernel = stage.kernel
    size = (stage.rows + kernel // 2) * stage.columns
    rows = np.arange(kernel + 1)
    places = rows % 2 * (kernel + 1) * size + rows // 2 * stage.columns
    filters = np.minimum(np.arange(stage.filters + PHASE_ROWS), stage.filters - 1)
    parity, v, i, j = np.indices((2, kernel + 1, stage.rows + kernel // 2, stage.columns))
    height, width = stage.height + 2 * stage.padding, stage.width + 2 * stage.padding
    # The last row of one parity may lie below the plane; no tap reads it.
    pixel = np.minimum(2 * i + parity, height - 1) * width + 2 * j + v
    return np.concatenate(
        [places[:-1], np.diff(places), filters * stage.channels * kernel**2, pixel.reshape(-1)]
    ).astype(np.int64)


class Joined:
    """One-dimensional arrays of one type laid end to end."""

    def __init__(self, dtype: type) -> None:
        self.dtype = dtype
        self.parts: list[NDArray[Any]] = []
        self.size = 0

    def add(self, array: Any) -> int:
        """Append the values of an array and return the place of the first."""
        values: NDArray[Any] = np.asarray(array, self.dtype).reshape(-1)
        self.parts.append(values)
        self.size += values.size
        return self.size - values.size

    def array(self) -> NDArray[Any]:
        """Return all of it, and one zero so that it is not empty."""
        return np.concatenate([*self.parts, np.zeros(1, self.dtype)])


def whole_vectors(values: NDArray[Any]) -> NDArray[Any]:
    """Return values with zeros behind them up to a multiple of LANES."""
    return np.concatenate([values, np.zeros(-len(values) % LANES, values.dtype)])


class Weighted(NamedTuple):
    """A convolution or linear layer with what follows it: y = w x * scale + shift, and perhaps ReLU."""

    w: NDArray[Any]
    scale: NDArray[Any]
    shift: NDArray[Any]
    relu: bool
    padding: int = 0


class PlanesProgram(NamedTuple):
    """A network as numbers: what :func:`predict_planes` takes.

    Attributes
    ----------
    net : Planes
        Places and sizes.
    stages, layers : tuple
        Its stages and linear layers.
    weights : ndarray of float32, 1-D
        Weights, factors and summands.
    tables : ndarray of int64, 1-D
        All other numbers.
    scratch : int
        Floats that a thread needs.
    """

    net: Planes
    stages: tuple[PhaseStage, ...]
    layers: tuple[DenseLayer, ...]
    weights: NDArray[np.float32]
    tables: NDArray[np.int64]
    scratch: int


def planes_program(
    input_shape: tuple[int, ...], convolutions: Sequence[Weighted], linears: Sequence[Weighted]
) -> PlanesProgram:
    """Lay out a network of stages and linear layers.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), or any shape where there is no convolution.
    convolutions : sequence of Weighted
        Of stride 1, each with 2x2 max pooling of stride 2 behind it.
    linears : sequence of Weighted
        At least one; the first reads the last stage's maps, channel by channel.

    Returns
    -------
    PlanesProgram
        What :func:`predict_planes` takes.
    """
    weights, tables = Joined(np.float32), Joined(np.int64)
    stages: list[PhaseStage] = []
    shape, planes = input_shape, [math.prod(input_shape)]
    for conv in convolutions:
        filters, _, kernel, _ = conv.w.shape
        rows, columns = ((size + 2 * conv.padding - kernel + 1) // 2 for size in shape[1:])
        channels, height, width = shape
        w, scale, shift = (weights.add(part) for part in (conv.w, conv.scale, conv.shift))
        stage = PhaseStage(
            channels, height, width, filters, kernel, conv.padding, rows, columns, w, scale, shift,
            int(conv.relu), tables.size,
        )  # fmt: skip
        tables.add(phase_tables(stage))
        stages.append(stage)
        shape = (filters, rows, columns)
        planes.append(math.prod(shape))
    row = max(-(-n // LANES) * LANES for linear in linears for n in linear.w.shape)
    x_rows, zero = tables.add(np.arange(BLOCK_IMAGES) * row), tables.add([0])
    layers: list[DenseLayer] = []
    for linear in linears:
        units, inputs = linear.w.shape
        parts = (pack_columns(linear.w), whole_vectors(linear.scale), whole_vectors(linear.shift))
        w, scale, shift = (weights.add(part) for part in parts)
        layers.append(
            DenseLayer(
                inputs, units, w, scale, shift, int(linear.relu), x_rows, x_rows, zero, zero, 1, inputs
            )
        )
    counting = np.arange(max((stage.channels for stage in stages), default=0))
    net = Planes(
        math.prod(input_shape), layers[-1].units,
        tables.add(stages), len(stages), tables.add(layers), len(layers),
        tables.add(counting), tables.add(counting * 4 * LANES),
        max(planes), row,
    )  # fmt: skip
    scratch = max((int(phase_scratch(stage)) for stage in stages), default=0)
    return PlanesProgram(
        net, tuple(stages), tuple(layers), weights.array(), tables.array(),
        2 * BLOCK_IMAGES * row + 2 * net.plane + scratch,
    )  # fmt: skip


def predict_planes(program: PlanesProgram, images: NDArray[Any]) -> NDArray[np.float32]:
    """Return a program's results.

    Parameters
    ----------
    program : PlanesProgram
        From :func:`planes_program`.
    images : ndarray of float32, shape (N, ...)
        One image a row, of `program.net.size` floats.

    Returns
    -------
    ndarray of float32, shape (N, classes)
        The bits of a row depend on its image alone.
    """
    count, threads = len(images), numba.get_num_threads()
    y = np.empty((count, program.net.classes), np.float32)
    if count:
        block = min(BLOCK_IMAGES, -(-count // threads))
        chunks = min(threads, -(-count // block))
        scratch = np.zeros(chunks * program.scratch, np.float32)
        run_planes(
            chunks, block, program.net, flat(images), count, program.weights, program.tables, y.reshape(-1),
            scratch,
        )  # fmt: skip
    return y
