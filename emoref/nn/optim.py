"""Optimisers: which arrays they keep beside the parameters, and which kernel takes the step."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from emoref.nn.config import TrainConfig

__all__ = ["SGD", "Adam", "Optimizer", "Trainable", "make_optimizer"]

Array = NDArray[Any]


class Trainable(Protocol):
    """What names the parameters that training changes: a network, or several over one store."""

    def trainable(self) -> tuple[str, ...]:
        """Return the names."""


class Optimizer:
    """Base of the optimisers; steps the trainable parameters of a network in place.

    Parameters
    ----------
    net : Network or MultiTaskNetwork
        Whose parameters.
    params : dict of str to ndarray
        Their arrays, for shapes and dtypes.
    config : TrainConfig
        Its constants.

    Attributes
    ----------
    slots : dict of str to dict of str to ndarray
        What is remembered between steps, by slot (``"velocity"``) and parameter name; starts at zero.
    steps : int
        Steps taken so far.
    """

    slot_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, net: Trainable, params: Mapping[str, Array], config: TrainConfig) -> None:
        self.config = config
        self.names = net.trainable()
        self.steps = 0
        self.slots = {
            slot: {name: np.zeros_like(params[name]) for name in self.names} for slot in self.slot_names
        }
        whole = config.decay_norm_and_bias
        self._decay = {
            name: config.weight_decay if whole or name.endswith(".weight") else 0.0 for name in self.names
        }

    def step(self, backend: Any, params: Mapping[str, Array], grads: Mapping[str, Array], lr: float) -> None:
        """Take one step: every trainable parameter is changed in place.

        Parameters
        ----------
        backend : Backend
            Which kernels compute.
        params, grads : dict of str to ndarray
            Parameters and the gradients of the loss.
        lr : float
            Learning rate of this step.
        """
        self.steps += 1
        for name in self.names:
            self._update(backend, name, params[name], grads[name], lr)

    def _update(self, backend: Any, name: str, param: Array, grad: Array, lr: float) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it (no dampening).

    g = grad + weight_decay * p;  v = momentum * v + g;  p = p - lr * v, or, with Nesterov,
    p = p - lr * (g + momentum * v).
    """

    slot_names: ClassVar = ("velocity",)

    def _update(self, backend: Any, name: str, param: Array, grad: Array, lr: float) -> None:
        velocity, c = self.slots["velocity"][name], self.config
        backend.sgd_update(param, grad, velocity, lr, c.momentum, self._decay[name], c.nesterov)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1), the weight decay being part of the gradient."""

    slot_names: ClassVar = ("m", "v")

    def _update(self, backend: Any, name: str, param: Array, grad: Array, lr: float) -> None:
        m, v, c = self.slots["m"][name], self.slots["v"][name], self.config
        decay = self._decay[name]
        backend.adam_update(param, grad, m, v, self.steps, lr, c.beta1, c.beta2, c.eps, decay)


def make_optimizer(net: Trainable, params: Mapping[str, Array], config: TrainConfig) -> Optimizer:
    """Return the optimiser that `config` names, at its start, for the parameters `params` of `net`."""
    return {"sgd": SGD, "adam": Adam}[config.optimizer](net, params, config)
