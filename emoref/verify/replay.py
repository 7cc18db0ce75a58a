"""The recorded training, run again step by step with the engine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.nn.config import TrainConfig
from emoref.nn.executor import loss_and_gradients
from emoref.nn.graph import Network
from emoref.nn.optim import make_optimizer
from emoref_kernels import Backend

__all__ = ["replay"]

Array = NDArray[Any]


def replay(
    net: Network,
    config: TrainConfig,
    images: Array,
    labels: NDArray[np.int64],
    params: dict[str, Array],
    backend: Backend,
) -> tuple[Array, Array]:
    """Take one optimiser step for each batch; changes `params` in place.

    Parameters
    ----------
    net : Network
        The architecture; without dropout, so that nothing is random.
    config : TrainConfig
        Optimiser, its constants and the learning rate, which is the same in every step.
    images : ndarray, shape (steps, batch, C, H, W)
        The batch of each step, of the dtype of the parameters.
    labels : ndarray of int64, shape (steps, batch)
        Their classes.
    params : dict of str to ndarray
        Parameters and running statistics at the start.
    backend : Backend
        Which kernels compute.

    Returns
    -------
    losses : ndarray of float64, shape (steps,)
        Mean cross-entropy of each batch in nats, before its step.
    norms : ndarray of float64, shape (steps, len(params))
        Euclidean norm of every entry of `params`, in its order, after each step.
    """
    optimizer = make_optimizer(net, params, config)
    losses, norms = [], []
    for batch, classes in zip(images, labels, strict=True):
        result = loss_and_gradients(net, params, batch, classes, backend=backend)
        optimizer.step(backend, params, result.grads, config.lr)
        for name, value in result.buffer_updates.items():
            np.copyto(params[name], value)
        losses.append(result.loss)
        norms.append([float(np.linalg.norm(value.astype(np.float64))) for value in params.values()])
    return np.array(losses), np.array(norms)
