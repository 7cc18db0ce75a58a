"""What the energy and size models know of a network: its convolutions and linear layers as plain sizes.

Depthwise and other grouped convolutions are layers like the others: their channels are given for each of the
groups. Biases and batch norm are no layers; a model that charges for them asks :attr:`WeightLayer.has_bias`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress.quantize import MAX_BITS, MIN_BITS
from emoref.compress.slim import slim_network
from emoref.errors import ConfigError, NetworkError, suggest
from emoref.nn import Network, Node

__all__ = [
    "Masks",
    "PerLayer",
    "WeightLayer",
    "per_layer",
    "ratios",
    "same_rows",
    "settings_of_one",
    "weight_layers",
    "widths",
]


Masks = Mapping[str, ArrayLike]
"""Filters to keep, by layer, as for :func:`emoref.compress.slim`."""

PerLayer = ArrayLike | Mapping[str, float]
"""One number for all layers, one for each by name, or an array whose last axis has 1 or L entries."""


@dataclass(frozen=True)
class WeightLayer:
    """The sizes of a convolution or linear layer, for one image.

    Attributes
    ----------
    name : str
        The node's name.
    op : {"conv2d", "linear"}
        Its operation.
    kernel : int
        Height and width of the kernel; 1 for a linear layer.
    groups : int
        Groups of a convolution; ``groups == channels`` is a depthwise one.
    group_inputs, group_outputs : int
        Input channels and filters of one group (features and units of a linear layer).
    in_height, in_width, out_height, out_width : int
        Sizes of the maps; 1 for a linear layer.
    has_bias : bool
        Whether something is added to each output channel: a bias, or the shift of a batch norm behind it.
    """

    name: str
    op: str
    kernel: int
    groups: int
    group_inputs: int
    group_outputs: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    has_bias: bool

    @property
    def pixels(self) -> int:
        """Pixels of one output map."""
        return self.out_height * self.out_width

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return self.kernel**2 * self.group_inputs * self.group_outputs * self.groups

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.pixels

    @property
    def inputs(self) -> int:
        """Number of input values."""
        return self.group_inputs * self.groups * self.in_height * self.in_width

    @property
    def filters(self) -> int:
        """Output channels, or units."""
        return self.group_outputs * self.groups

    @property
    def outputs(self) -> int:
        """Number of output values."""
        return self.filters * self.pixels


def weight_layers(net: Network, masks: Masks | None = None) -> tuple[WeightLayer, ...]:
    """Return the convolutions and linear layers of a network.

    Parameters
    ----------
    net : Network
        The network.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`; the layers are then those of the slimmed
        network.

    Returns
    -------
    tuple of WeightLayer
        In topological order, which is the order of the entries of a genome q_1 .. q_L.

    Raises
    ------
    NetworkError
        If the network has no such layer, or a mask does not fit.
    ShapeError
        If a mask has another length than its layer has filters.
    """
    return _layers(slim_network(net, masks) if masks else net)


@lru_cache(maxsize=64)
def _layers(net: Network) -> tuple[WeightLayer, ...]:
    found = tuple(_layer(net, node) for node in net.nodes if node.op in ("conv2d", "linear"))
    if not found:
        raise NetworkError(f'network "{net.name}" has no convolution and no linear layer')
    return found


def _layer(net: Network, node: Node) -> WeightLayer:
    before, after = net.input_shapes(node)[0], net.shapes[node.name]
    has_bias = bool(node.attrs["bias"]) or any(n.op == "batch_norm" for n in net.consumers(node.name))
    if node.op == "linear":
        return WeightLayer(node.name, node.op, 1, 1, before[0], after[0], 1, 1, 1, 1, has_bias)
    groups, kernel = node.attrs["groups"], node.attrs["kernel"]
    channels = (before[0] // groups, after[0] // groups)
    return WeightLayer(
        node.name, node.op, kernel, groups, *channels, before[1], before[2], after[1], after[2], has_bias
    )


def per_layer(value: PerLayer, layers: Sequence[WeightLayer], what: str) -> NDArray[np.float64]:
    """Return a setting as an array whose last axis has one entry for each layer.

    Parameters
    ----------
    value : float, array or mapping of str to float
        One number for all layers, one for each layer by name, or an array of shape (..., 1) or (..., L).
    layers : sequence of WeightLayer
        The L layers.
    what : str
        What errors call it.

    Returns
    -------
    float64 array, shape (..., L)

    Raises
    ------
    ConfigError
        If a name is unknown or missing, the length is another one, or something is not a finite number.
    """
    if isinstance(value, Mapping):
        names = [layer.name for layer in layers]
        for name in value:
            if name not in names:
                raise ConfigError(f"{what}: no layer is called {name!r}{suggest(str(name), names)}")
        missing = [name for name in names if name not in value]
        if missing:
            raise ConfigError(f"{what}: nothing is given for layer {missing[0]!r}")
        value = [value[name] for name in names]
    try:
        array: NDArray[Any] = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}: expected a number, or one for each layer, found {value!r}") from None
    if array.ndim and array.shape[-1] not in (1, len(layers)):
        raise ConfigError(
            f"{what}: {array.shape[-1]} numbers for the {len(layers)} layers of the network (or give one)"
        )
    if not np.isfinite(array).all():
        raise ConfigError(f"{what}: must be finite, found {array[~np.isfinite(array)].flat[0]}")
    return np.broadcast_to(array, np.broadcast_shapes(array.shape, (len(layers),)))


def ratios(value: PerLayer, layers: Sequence[WeightLayer]) -> NDArray[np.float64]:
    """Return remaining ratios of weights, shape (..., L); raises ConfigError outside (0, 1]."""
    array = per_layer(value, layers, "remaining_ratio")
    _within(array, layers, "remaining_ratio must be above 0 and at most 1", (array > 0) & (array <= 1))
    return array


def widths(
    value: PerLayer, layers: Sequence[WeightLayer], what: str, whole: bool = True
) -> NDArray[np.float64]:
    """Return bit widths, shape (..., L), rounded half to even.

    Raises
    ------
    ConfigError
        Outside 2 to 16, or, if they must be `whole`, for a fraction. `what` is what the text calls them.
    """
    array = per_layer(value, layers, what)
    rounded = np.rint(array)
    bounds = f"{what} must be {MIN_BITS} to {MAX_BITS}"
    _within(array, layers, bounds, (array >= MIN_BITS) & (array <= MAX_BITS))
    if whole:
        _within(array, layers, f"{what} must be whole numbers", array == rounded)
    return rounded


def same_rows(**settings: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the common shape (..., L) of `settings`; raises ConfigError if there is none."""
    try:
        return np.broadcast_shapes(*(array.shape for array in settings.values()))
    except ValueError:
        found = ", ".join(f"{name} {array.shape[:-1]}" for name, array in settings.items())
        raise ConfigError(f"numbers of rows do not fit together: {found}") from None


def settings_of_one(
    net: Network,
    masks: Masks | None,
    remaining_ratio: PerLayer,
    weight_bits: PerLayer,
    activation_bits: PerLayer,
) -> list[tuple[WeightLayer, float, float, float]]:
    """Return each layer of one compressed network with its remaining ratio and whole bits, checked."""
    layers = weight_layers(net, masks)
    columns = (
        ratios(remaining_ratio, layers),
        widths(weight_bits, layers, "weight_bits"),
        widths(activation_bits, layers, "activation_bits"),
    )
    if any(column.ndim != 1 for column in columns):
        raise ConfigError("one network has one number for each layer")
    return list(zip(layers, *(column.tolist() for column in columns), strict=True))


def _within(
    array: NDArray[np.float64], layers: Sequence[WeightLayer], what: str, good: NDArray[np.bool_]
) -> None:
    if not good.all():
        place = tuple(np.argwhere(~good)[0])
        raise ConfigError(f"{what}, found {array[place]:g} for layer {layers[place[-1]].name!r}")
