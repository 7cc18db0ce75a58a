"""Predictions for any number of images, and how many of them are wrong.

Networks run in evaluation mode here, in batches that bound the memory and change no result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import DataError
from emoref.nn.batches import ArrayData, TrainData, check_labels, slices
from emoref.nn.device import HalvedBatches, resident
from emoref.nn.executor import backend_of, count_wrong, run_nodes
from emoref.nn.fused import compile_plan, is_fusible
from emoref.nn.graph import INPUT, Network
from emoref.nn.parts import check_batch

__all__ = ["Evaluation", "Predictor", "evaluate", "evaluate_data", "predict"]

Array = NDArray[Any]
Params = Mapping[str, Array]


class Predictor:
    """A network whose parameters stay as they are, prepared once to be run many times in evaluation mode.

    Parameters
    ----------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters, which must not change as long as the predictor is used.
    backend : str or Backend
        Which kernels compute.
    """

    def __init__(self, net: Network, params: Params, backend: Any = "cpu") -> None:
        self.net, self.params, self._k = net, params, backend_of(backend)
        self._runs: dict[bool, Callable[[Array], Array]] = {}

    def __call__(self, images: Array, batch_size: int = 250) -> Array:
        """Return what :func:`predict` returns for these images."""
        check_batch(self.net, images)
        run = self._runner(images)
        logits = np.empty((len(images), *self.net.shapes[self.net.output.name]), images.dtype)
        batches = HalvedBatches()
        for part in slices(len(images), batch_size):
            some, into = images[part], logits[part]
            for smaller, results in batches.run(len(some), lambda own, some=some: run(some[own])):  # type: ignore[misc]
                into[smaller] = results
        return logits

    def _runner(self, images: Array) -> Callable[[Array], Array]:
        """Return what computes the results for batches like `images`: a fused plan, or node after node."""
        fusible = is_fusible(self.params, [images], self._k)
        if fusible not in self._runs:
            self._runs[fusible] = self._fused() if fusible else self._by_nodes()
        return self._runs[fusible]

    def _fused(self) -> Callable[[Array], Array]:
        out = self.net.output.name
        plan = compile_plan(self.net, self.params, [INPUT], [out], self._k)
        return lambda some: plan({INPUT: some})[out]

    def _by_nodes(self) -> Callable[[Array], Array]:
        out, params = self.net.output.name, resident(self.params, self._k)
        return lambda some: run_nodes(self.net, params, {INPUT: some}, [out], self._k)[out]


def predict(
    net: Network, params: Params, images: Array, backend: Any = "cpu", batch_size: int = 250
) -> Array:
    """Return the network's results for any number of images, in evaluation mode.

    Parameters
    ----------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters.
    images : ndarray, shape (N, *input_shape)
        float32 (float64 for the reference back end).
    backend : str or Backend
        Which kernels compute.
    batch_size : int
        Images at a time; bounds the memory.

    Returns
    -------
    ndarray, shape (N, classes)
        Logits (or whatever the last node gives).

    Raises
    ------
    NetworkError
        If images or parameters do not fit.
    """
    return Predictor(net, params, backend)(images, batch_size)


@dataclass(frozen=True)
class Evaluation:
    """How well a network classifies: counts, and the mean cross-entropy in nats."""

    wrong: int
    total: int
    loss: float

    @property
    def error(self) -> float:
        """Share of wrong predictions, in [0, 1]."""
        return self.wrong / self.total


def evaluate(
    net: Network,
    params: Params,
    images: Array,
    labels: ArrayLike,
    backend: Any = "cpu",
    batch_size: int = 250,
) -> Evaluation:
    """Count wrong predictions on arrays of images and labels.

    Parameters
    ----------
    net, params, images, backend, batch_size
        As for :func:`predict`.
    labels : array_like of int, shape (N,)
        Class numbers.

    Returns
    -------
    Evaluation
        ``wrong`` and ``total`` are integers. Ties go to the class that comes first; an image whose logits
        hold a NaN counts as wrong. The loss is formed in one go from all logits, so that it does not depend
        on how the images were cut into batches either.

    Raises
    ------
    NetworkError
        If images or parameters do not fit.
    DataError
        If there are no images, or labels are out of range.
    """
    return evaluate_data(net, params, ArrayData(images, labels), backend, batch_size)


def evaluate_data(
    net: Network, params: Params, data: TrainData, backend: Any = "cpu", batch_size: int = 250
) -> Evaluation:
    """Count wrong predictions on a data set, read batch by batch; otherwise as :func:`evaluate`."""
    count, k = len(data), backend_of(backend)
    if not count:
        raise DataError("there are no images to evaluate on")
    logits: Array | None = None
    predictor = Predictor(net, params, k)
    labels = np.empty(count, np.int64)
    for part in slices(count, batch_size):
        images, some = data.batch(np.arange(part.start, part.stop))
        result = predictor(images, batch_size)
        labels[part] = check_labels(some, len(images), net.classes)
        logits = np.empty((count, net.classes), result.dtype) if logits is None else logits
        logits[part] = result
    assert logits is not None
    with np.errstate(all="ignore"):
        loss = float(k.softmax_cross_entropy(logits, labels))
    return Evaluation(count_wrong(logits, labels), count, loss)
