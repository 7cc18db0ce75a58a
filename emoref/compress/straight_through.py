"""Training with quantised weights: straight through the rounding.

The network computes with rounded weights, and the gradient is taken as if there were no rounding: it goes
straight through to real-valued weights that are kept beside the rounded ones and that the optimiser changes.
Small changes add up there until a weight rounds to the next value.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.quantize import check_bits, quantize
from emoref.compress.weights import weighted_layers
from emoref.errors import NetworkError
from emoref.nn import Network
from emoref_kernels import Backend, load_backend

__all__ = ["straight_through_backend"]

Array = NDArray[Any]


def straight_through_backend(
    net: Network,
    params: Mapping[str, Array],
    bits: int | Mapping[str, int],
    *,
    symmetric: bool = True,
    per_channel: bool = False,
    backend: str | Backend = "cpu",
) -> Backend:
    """Return a back end whose convolutions and linear layers compute with rounded weights.

    Give it to :func:`emoref.nn.fit` together with the same `params`: forward and backward pass use the
    rounded weights, and the gradient in them is what the weights get. The range of a grid follows its weights
    at every step, so that none lies beyond it and the clipped estimator (see
    :meth:`emoref.compress.UniformGrid.gradient`) clips nothing. Afterwards quantise `params` with
    :func:`emoref.compress.quantize_network` and the same settings; the result is what was trained. Weights
    that are 0 are rounded to 0: to keep them there, pass :func:`emoref.compress.keep_weights` as well.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        The very arrays that will be trained: layers are told apart by them. They are not changed here.
    bits : int or mapping of str to int
        Bits of the weights: of all layers, or of each by its name. Layers that are not named are not rounded.
    symmetric, per_channel : bool
        Kind of grid, as for :func:`emoref.compress.quantize`.
    backend : str or Backend
        What computes.

    Returns
    -------
    Backend
        Its name is that of `backend` with "+straight-through". It holds on to `params`.

    Raises
    ------
    ConfigError
        If a number of bits is not 2 to 16.
    NetworkError
        If a layer is unknown or has no weights.
    """
    k = load_backend(backend) if isinstance(backend, str) else backend
    layers = weighted_layers(net)
    chosen = bits if isinstance(bits, Mapping) else dict.fromkeys(layers, bits)
    for layer, width in chosen.items():
        if layer not in layers:
            raise NetworkError(f"bits of {layer!r}: the layers with weights are {', '.join(layers)}")
        check_bits(width, f"bits of layer {layer!r}")

    # An array is known by its identity; `weights` keeps each one alive, so that no other can have the same.
    weights = {layer: params[f"{layer}.weight"] for layer in chosen}
    layer_of = {id(array): layer for layer, array in weights.items()}

    def rounded(w: Array) -> Array:
        layer = layer_of.get(id(w))
        if layer is None or not np.isfinite(w).all():  # training itself reports that it diverged
            return w
        grid = quantize(w, chosen[layer], symmetric=symmetric, per_channel=per_channel).grid
        return grid.fake_quantize(w).astype(w.dtype)

    def with_rounded(function: Callable[..., Array]) -> Callable[..., Array]:
        # In all four functions the weights are the second argument.
        return lambda first, w, *others, **named: function(first, rounded(w), *others, **named)

    return replace(
        k,
        name=f"{k.name}+straight-through",
        conv2d=with_rounded(k.conv2d),
        conv2d_input_grad=with_rounded(k.conv2d_input_grad),
        linear=with_rounded(k.linear),
        linear_input_grad=with_rounded(k.linear_input_grad),
    )
