"""Association with reference lines on the device; see `emoref_kernels.reference.niching`."""

import math

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cuda.array import upload
from emoref_kernels.cuda.jit import THREADS, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = ["associate"]


@kernel("ddidnnn")
def _associate(F, lines, niches, distances, points, count, objectives):
    i = cuda.grid(1)
    if i < points:
        best, niche = np.inf, 0
        for h in range(count):
            along = 0.0
            for m in range(objectives):
                along += F[i * objectives + m] * lines[h * objectives + m]
            squared = 0.0
            for m in range(objectives):
                gap = F[i * objectives + m] - along * lines[h * objectives + m]
                squared += gap * gap
            if h == 0 or squared < best:
                best, niche = squared, h
            # The first NaN is smaller than any number.
            if squared != squared:
                best, niche = squared, h
                break
        niches[i] = niche
        distances[i] = math.sqrt(best)


def associate(
    F: NDArray[np.float64], lines: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the reference line nearest to each point; see `emoref_kernels.reference.niching.associate`.

    The device fuses products and sums, so that distances may differ from the reference's in the last bits,
    and of two lines that are equally near but for rounding either may be chosen.

    Parameters
    ----------
    F
        Normalised objective values, float64 (N, M).
    lines
        Directions of length 1, float64 (H, M), H >= 1.

    Returns
    -------
    tuple of ndarray
        Niches, int64 (N,), and distances, float64 (N,).
    """
    points, objectives = F.shape
    niches, distances = upload(np.empty(points, np.int64)), upload(np.empty(points))
    _associate(
        -(-points // THREADS), THREADS, upload(np.ascontiguousarray(F)), upload(np.ascontiguousarray(lines)),
        niches, distances, points, len(lines), objectives,
    )  # fmt: skip
    return np.asarray(niches), np.asarray(distances)
