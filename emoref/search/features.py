"""How far pruned candidates of a part of a network move the features that it gives."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import count, slim
from emoref.errors import DataError, ProblemError
from emoref.nn import Network, predict
from emoref.search.genome import FilterGenome
from emoref.search.recalibration import Recalibration

__all__ = ["FeatureEvaluator"]

Array = NDArray[Any]

_FARTHEST = float(np.finfo(np.float32).max)
"""The distance of features that overflowed."""


class FeatureEvaluator:
    """Distances between the features of pruned candidates and those of the unpruned network.

    The distance of a candidate is ``sum((f - g)**2) / sum(f**2)``, with f the features that the unpruned
    network gives for all images and g the candidate's: 0 for the same features, 1 where all of them are gone.
    Each candidate is evaluated as the slim network that it is.

    Parameters
    ----------
    net : Network
        A network, or a part of one; it need not be a classifier.
    params : mapping of str to array
        Its parameters.
    images : float array, shape (N, *input_shape)
        Images, or the activations that enter the part.
    layout : FilterGenome
        What the bits of a genome mean.
    backend : str, default "cpu"
        The back end that computes.
    recalibration : Recalibration, optional
        How batch-norm statistics are measured anew, those of the unpruned network too.

    Attributes
    ----------
    macs_executed : int
        Multiply-accumulates of all forward passes so far.

    Raises
    ------
    DataError
        If there are no images.
    ProblemError
        If the unpruned network's features are all zero, or not finite: then nothing is near them or far.
    """

    def __init__(
        self,
        net: Network,
        params: Mapping[str, Array],
        images: Array,
        layout: FilterGenome,
        backend: str = "cpu",
        recalibration: Recalibration | None = None,
    ) -> None:
        if len(images) == 0:
            raise DataError("there are no images to compare features on")
        self._net, self._params, self._images, self._layout = net, params, images, layout
        self._backend, self._recalibration, self.macs_executed = backend, recalibration, 0
        self._wanted = self._features(net, params)
        self._scale = float(np.square(self._wanted).sum(dtype=np.float64))
        if not 0 < self._scale < np.inf:
            raise ProblemError(f"{net.name}: the squares of its features add up to {self._scale}")

    def distances(self, genomes: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of every candidate.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            One candidate a row; equal ones are evaluated once.

        Raises
        ------
        ShapeError
            If the genomes are not booleans of the layout's length.
        NetworkError
            If a genome leaves a layer without any filter.
        """
        rows = self._layout.checked(genomes)
        known: dict[bytes, float] = {}
        for row in rows:
            if row.tobytes() not in known:
                known[row.tobytes()] = self._distance(row)
        return np.array([known[row.tobytes()] for row in rows], dtype=np.float64)

    def _distance(self, row: NDArray[np.bool_]) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self._features(*slim(self._net, self._params, self._layout.masks(row)))
            moved -= self._wanted
            distance = float(np.square(moved, out=moved).sum(dtype=np.float64)) / self._scale
        return distance if np.isfinite(distance) else _FARTHEST

    def _features(self, net: Network, params: Mapping[str, Array]) -> Array:
        if self._recalibration is not None:
            params = self._recalibration(net, params)
            self.macs_executed += self._recalibration.macs(net)
        self.macs_executed += count(net).macs * len(self._images)
        return predict(net, params, self._images, self._backend)
