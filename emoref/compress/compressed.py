"""A network whose weights are quantised: the architecture, and the codes instead of the numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.coding.codebook import CodebookTensor, codebook
from emoref.compress.quantize import UniformTensor, emomc_quantize, quantize
from emoref.compress.weights import weighted_layers
from emoref.errors import ConfigError, NetworkError
from emoref.nn import Network, check_params

__all__ = ["METHODS", "CompressedNetwork", "Tensor", "quantize_network", "quantize_weights"]

Tensor = UniformTensor | CodebookTensor | NDArray[Any]

_METHODS: dict[str, Callable[[NDArray[Any], int], UniformTensor | CodebookTensor]] = {
    "symmetric": quantize,
    "asymmetric": lambda weights, bits: quantize(weights, bits, symmetric=False),
    "symmetric-channels": lambda weights, bits: quantize(weights, bits, per_channel=True),
    "asymmetric-channels": lambda weights, bits: quantize(weights, bits, symmetric=False, per_channel=True),
    "codebook": codebook,
    "emomc": emomc_quantize,
}

METHODS = tuple(_METHODS)
"""Names of the ways to quantise a layer."""


@dataclass(frozen=True, eq=False)
class CompressedNetwork:
    """A network with quantised weights.

    Attributes
    ----------
    net : Network
        The architecture; slimmed, if filters were removed.
    tensors : mapping of str to UniformTensor, CodebookTensor or float array
        Every parameter of the network by its name. Biases and batch norms are plain arrays.

    Raises
    ------
    NetworkError
        If these are not the parameters of the network.
    """

    net: Network
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        # Shapes are all that is checked, so that no number has to be computed.
        stand_ins = {
            name: tensor if isinstance(tensor, np.ndarray) else np.broadcast_to(np.float32(0), tensor.shape)
            for name, tensor in self.tensors.items()
        }
        check_params(self.net, stand_ins)

    def params(self) -> dict[str, NDArray[Any]]:
        """Return the parameters as numbers, new arrays, in the order of ``net.param_shapes()``."""
        return {name: _numbers(self.tensors[name]) for name in self.net.param_shapes()}


def _numbers(tensor: Tensor) -> NDArray[Any]:
    return np.array(tensor) if isinstance(tensor, np.ndarray) else tensor.dequantize()


def quantize_weights(
    weights: NDArray[Any], bits: int, method: str = "symmetric"
) -> UniformTensor | CodebookTensor:
    """Quantise the weights of one layer.

    Parameters
    ----------
    weights : float array
        At least one axis; finite.
    bits : int
        2 to 16.
    method : str
        One of :data:`METHODS`; see :func:`quantize_network`.

    Returns
    -------
    UniformTensor or CodebookTensor
        The codes and what they stand for.

    Raises
    ------
    ConfigError
        If the method is unknown or the number of bits is out of range.
    NetworkError
        If a weight is not finite.
    """
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    return _METHODS[method](weights, bits)


def quantize_network(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    bits: int | Mapping[str, int],
    method: str = "symmetric",
) -> CompressedNetwork:
    """Quantise the weights of the convolutions and linear layers; everything else stays as it is, in float32.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters. Weights of 0 stay 0.
    bits : int or mapping of str to int
        Bits of the weights: of all layers, or of each by its name. Layers that are not named keep their
        numbers.
    method : str
        One of :data:`METHODS`: "symmetric" and "asymmetric" uniform grids, one a tensor or ("...-channels")
        one for each output channel; "codebook"; or "emomc", EMOMC's own arithmetic.

    Returns
    -------
    CompressedNetwork
        Its ``params()`` are what the network then computes with.

    Raises
    ------
    ConfigError
        If the method is unknown or a number of bits is out of range; names the layer.
    NetworkError
        If a layer is unknown or has no weights, or a weight is not finite; names the layer.
    """
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    check_params(net, params)
    layers = weighted_layers(net)
    chosen = bits if isinstance(bits, Mapping) else dict.fromkeys(layers, bits)
    for layer in chosen:
        if layer not in layers:
            raise NetworkError(f"bits of {layer!r}: the layers with weights are {', '.join(layers)}")
    tensors: dict[str, Tensor] = {}
    for name, value in params.items():
        layer, _, leaf = name.rpartition(".")
        if leaf != "weight" or layer not in chosen:
            tensors[name] = np.array(value, dtype=np.float32)
            continue
        try:
            tensors[name] = quantize_weights(value, chosen[layer], method)
        except (ConfigError, NetworkError) as error:
            raise type(error)(f"layer {layer!r}: {error}") from None
    return CompressedNetwork(net, tensors)
