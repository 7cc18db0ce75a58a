"""The fronts of WFG1 and WFG2: a convex shape in all objectives but the last."""
# ruff: noqa: D102 (methods of a front are documented at their base, `Front`)

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.curves import along
from emoref.emo.problems.fronts import Front, bisect, simplex_lattice
from emoref.emo.problems.wfg_shapes import convex_size

__all__ = ["HeadFront"]

Array = NDArray[np.float64]


class HeadFront(Front):
    """The front with convex_size(h_1, ..., h_(M-1)) = 1 - cos(pi x1 / 2) and h_M = head(x1).

    With h = f / scale. The residual is h_M less the value that x1, found from the others, gives; it does not
    know gaps between pieces.

    Parameters
    ----------
    scale
        Factors of the objectives (M,); also the nadir point.
    head
        Takes x1, a number or an array, and returns the last objective; 1 at 0 and 0 at 1.
    pieces
        Intervals of x1 that make up the front, (n, 2), the last ending at 1.
    """

    def __init__(self, scale: Array, head: Callable[[Any], Any], pieces: Array) -> None:
        super().__init__(np.zeros(len(scale)), scale, "is in pieces" if len(pieces) > 1 else "")
        self.scale, self.head, self.pieces = scale, head, pieces

    def sample(self, count: int) -> Array:
        if self.n_obj > 2 and not self.lines_miss:
            return self.on_rays(simplex_lattice(self.n_obj, count))
        # So many places along x1, and at each a lattice of the other objectives.
        places = count if self.n_obj == 2 else max(2, int(np.ceil(count ** (1.0 / (self.n_obj - 1)))))
        x1 = along(self.pieces, places)
        base = simplex_lattice(self.n_obj - 1, -(-count // places))
        base = base / convex_size(base)[:, None]
        first = (1.0 - np.cos(0.5 * np.pi * x1))[:, None, None] * base
        last = np.broadcast_to(self.head(x1)[:, None, None], (*first.shape[:2], 1))
        points = np.concatenate([first, last], axis=2).reshape(-1, self.n_obj)
        # Where x1 = 0, all the points of the lattice are one.
        return self.scale * (points[len(base) - 1 :] if x1[0] == 0.0 else points)

    def on_rays(self, W: Array) -> Array:
        if self.lines_miss:
            return super().on_rays(W)
        first, last = convex_size(W[:, :-1]), W[:, -1]

        def beyond(t: Array) -> Array:
            return t * last - self._head_of(t * first)

        t = bisect(beyond, np.zeros(len(W)), 1.0 / np.maximum(first, last))
        return self.scale * W * t[:, None]

    def residual(self, F: Array) -> Array:
        H = F / self.scale
        return H[:, -1] - self._head_of(convex_size(H[:, :-1]))

    def _head_of(self, size: Array) -> Array:
        return self.head(2.0 / np.pi * np.arccos(np.clip(1.0 - size, 0.0, 1.0)))
