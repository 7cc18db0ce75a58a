"""Shared weights: every weight becomes one of a few levels, and only the number of its level is stored.

The levels are found by k-means on the values of a layer (Han, Mao, Dally, "Deep Compression", ICLR 2016,
section 3). Level 0 is always the value 0: pruned weights stay pruned, and sparse layouts can leave them out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.quantize import MAX_BITS, check_weights
from emoref.errors import ConfigError, NetworkError

__all__ = ["CodebookTensor", "codebook", "kmeans_levels"]

_MAX_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class CodebookTensor:
    """A tensor of shared weights.

    Attributes
    ----------
    indices : uint32 array
        In the shape of the tensor: the level of each weight.
    levels : float32 array, shape (k,)
        The values, finite; ``levels[0]`` is 0.

    Raises
    ------
    NetworkError
        If the levels are not finite, the first one is not 0, or a weight has a level that does not exist.
    """

    indices: NDArray[np.uint32]
    levels: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not len(self.levels) or self.levels[0] != 0 or not np.isfinite(self.levels).all():
            raise NetworkError("the levels of shared weights must be finite, the first one 0")
        if self.indices.max(initial=0) >= len(self.levels):
            raise NetworkError(f"level {self.indices.max()} is used, there are {len(self.levels)}")

    @property
    def bits(self) -> int:
        """Bits of an index: ceil(log2 k), at least 1."""
        return max(len(self.levels) - 1, 1).bit_length()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.indices.shape

    @property
    def side_bits(self) -> int:
        """Bits of what has to be stored beside the indices: 32 for each level."""
        return 32 * len(self.levels)

    def dequantize(self) -> NDArray[np.float32]:
        """Return the values, float32."""
        return self.levels[self.indices]

    def symbols(self) -> NDArray[np.uint32]:
        """Return what a coder writes: the indices in C order, 0 for the value 0."""
        return self.indices.ravel()


def codebook(weights: NDArray[Any], bits: int) -> CodebookTensor:
    """Replace every weight by the nearest of at most ``2**bits`` shared levels.

    Parameters
    ----------
    weights : float array
        Finite, with at least one axis.
    bits : int
        1 to 16. One level is kept for 0; the others are fitted to the weights that are not 0.

    Returns
    -------
    CodebookTensor
        Fewer levels than allowed where there are fewer different weights; each then is exactly itself.

    Raises
    ------
    ConfigError
        If `bits` is not 1 to 16.
    NetworkError, DtypeError, ShapeError
        As for :func:`emoref.compress.quantize`.

    Notes
    -----
    That weights of 0 keep a level for themselves, and that other weights never join it, is emoref's choice;
    the paper clusters the weights that pruning left.

    Examples
    --------
    >>> import numpy as np
    >>> tensor = codebook(np.array([0.0, 1.0, 1.2, -3.0, 0.8, 0.0, -3.0, -3.5]), bits=2)
    >>> tensor.indices.tolist(), tensor.levels.round(4).tolist()
    ([0, 3, 3, 2, 3, 0, 2, 1], [0.0, -3.5, -3.0, 1.0])
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= MAX_BITS:
        raise ConfigError(f"bits of a codebook must be 1 to {MAX_BITS}, got {bits!r}")
    values = check_weights(weights).astype(np.float32)
    nonzero = values[values != 0]
    levels = kmeans_levels(nonzero, 2 ** int(bits) - 1)
    indices = np.zeros(values.shape, dtype=np.uint32)
    indices[values != 0] = 1 + _nearest(levels, nonzero)
    return CodebookTensor(indices, np.concatenate([np.zeros(1, np.float32), levels]))


def kmeans_levels(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return levels with a small sum of squared distances to `values`: k-means on a line.

    The first levels are evenly spaced between the least and the greatest value, which Deep Compression found
    best; nothing is random. Then every value joins its nearest level (of two equally near ones the lower)
    and every level moves to the mean of its values, until nothing moves, at most 100 times. Values are sorted
    once, so that a step costs ``count`` binary searches. What becomes of a level that no value joins is not
    published; emoref lets it split the level whose values lie furthest apart (largest sum of squares).

    Parameters
    ----------
    values : float32 array, shape (n,)
        What to cluster; may be empty.
    count : int
        Most levels.

    Returns
    -------
    float32 array, shape (k,)
        Rising, k <= count. The different values themselves, if there are no more than `count`.
    """
    ordered = np.sort(values)
    different = np.unique(ordered)
    if len(different) <= count:
        return different
    # Sums of values and squares before each place, so that every range of values has its sums at once.
    sums, squares = (np.concatenate([[0.0], np.cumsum(ordered.astype(np.float64) ** n)]) for n in (1, 2))
    levels = np.linspace(float(ordered[0]), float(ordered[-1]), count)
    for _ in range(_MAX_ITERATIONS):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2, side="right")
        edges = np.unique(np.concatenate([[0], edges, [len(ordered)]]))
        total, numbers = np.diff(sums[edges]), np.diff(edges)
        if (missing := count - len(numbers)) > 0:
            spread = np.diff(squares[edges]) - total**2 / numbers
            widest = np.argsort(-spread, kind="stable")[:missing]
            cuts = np.searchsorted(ordered, total[widest] / numbers[widest], side="right")
            edges = np.unique(np.concatenate([edges, cuts]))
            total, numbers = np.diff(sums[edges]), np.diff(edges)
        moved = total / numbers
        if len(moved) == len(levels) and (moved == levels).all():
            break
        levels = moved
    return np.unique(levels.astype(np.float32))


def _nearest(levels: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    return np.searchsorted(middles, values, side="left")
