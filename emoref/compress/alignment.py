"""Bringing the filters of separately trained networks into a common order.

Two networks that were trained apart may have learned the same filters and hold them at different slots: the
function of a network does not change when the filters of a layer are permuted together with the input
channels of the layers that read them. Sharing filters by their index means little before the orders agree.

:func:`align` finds for every layer the assignment of slots that costs least (the linear assignment problem,
solved exactly by ``scipy.optimize.linear_sum_assignment``), layer by layer from the input: a layer's filters
are compared with their input channels already in the common order. That it is needed, and how to do it, is
not published by Cheng et al. (Cognitive Computation 13(4), 2021); emoref makes it a switch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from emoref.compress.groups import ChannelGroup, channel_groups, channel_map
from emoref.compress.importance import activation_of
from emoref.errors import ConfigError, NetworkError, ShapeError
from emoref.nn import Network, run_nodes

__all__ = ["SIMILARITIES", "align", "filter_distances", "permute_slots"]

Array = NDArray[Any]

SIMILARITIES = ("filters", "activations")
"""What :func:`align` can compare: the filters' weights, or their activations on images."""

_NEVER = 1e9
"""The cost of giving a slot to a channel that other layers make."""

_BLOCK = 250
"""Images held in memory at a time."""


def filter_distances(first: Array, second: Array) -> NDArray[np.float64]:
    """Return the relative squared distances between the filters of two layers.

    Parameters
    ----------
    first, second : ndarray, shapes (n, ...) and (m, ...)
        Filters of the same shape.

    Returns
    -------
    float64 array, shape (n, m)
        ``d[i, j] = ||a_i - b_j||^2 / (||a_i||^2 + ||b_j||^2)``: 0 for equal filters, 1 for orthogonal ones, 2
        for opposite ones; 0 where both are zero.

    Raises
    ------
    ShapeError
        If the filters differ in shape.

    Examples
    --------
    >>> filter_distances(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0], [-4.0, 3.0], [-3.0, -4.0]])).tolist()
    [[0.0, 1.0, 2.0]]
    """
    a, b = (np.asarray(w, dtype=np.float64).reshape(len(w), -1) for w in (first, second))
    if a.shape[1] != b.shape[1]:
        raise ShapeError(f"filters have {a.shape[1]} and {b.shape[1]} weights; they must be of one shape")
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    distances = np.maximum(squares - 2.0 * (a @ b.T), 0.0)
    return np.divide(distances, squares, out=np.zeros_like(squares), where=squares > 0)


def permute_slots(
    net: Network, params: Mapping[str, Array], orders: Mapping[str, NDArray[np.integer]]
) -> dict[str, Array]:
    """Permute the filters of layers, and everything that belongs to them.

    Biases, batch norms, depthwise filters and the input channels of the layers that read them (the columns
    behind ``flatten`` too) move along, so the network computes the same as before, up to the order in which
    sums are formed.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to ndarray
        Its parameters; not changed.
    orders : mapping of str to int array, shape (filters,)
        For prunable layers: new slot j holds what was in slot ``order[j]``. Layers that are tied by an
        addition must be given the same exchange of channels.

    Returns
    -------
    dict of str to ndarray
        New arrays.

    Raises
    ------
    NetworkError
        If a layer has no slots that could be moved, or tied layers contradict each other.
    ShapeError
        If an order is no permutation.
    """
    channels = channel_map(net)
    moved = np.arange(len(channels.pinned))
    for name, order in orders.items():
        ids = channels.sources.get(name)
        if ids is None or channels.pinned[ids].any():
            raise NetworkError(f"layer {name!r} has no filters that could change places")
        if sorted(np.asarray(order).tolist()) != list(range(len(ids))):
            raise ShapeError(f"order of layer {name!r}: expected a permutation of 0 to {len(ids) - 1}")
        moved[ids] = ids[order]
    for name, order in orders.items():
        ids = channels.sources[name]
        if (moved[ids] != ids[order]).any():
            raise NetworkError(f"the order of layer {name!r} contradicts that of a layer tied to it")
    where = {name: _places(ids, moved) for name, ids in channels.values.items()}
    result = {}
    for name, value in params.items():
        node = net.node(name.rpartition(".")[0])
        permuted = value[where[node.name]]
        if name.endswith(".weight") and int(node.attrs.get("groups", 1)) == 1:
            permuted = permuted.take(where[node.inputs[0]], axis=1)
        result[name] = permuted
    return result


def _places(ids: NDArray[np.int64], moved: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return which channel of a value each of its channels takes over; pixels keep their order."""
    found: dict[tuple[int, int], int] = {}
    count: dict[int, int] = {}
    for place, one in enumerate(ids.tolist()):
        number = count[one] = count.get(one, -1) + 1
        found[one, number] = place
    seen: dict[int, int] = {}
    places = np.empty(len(ids), dtype=np.intp)
    for place, one in enumerate(moved[ids].tolist()):
        number = seen[one] = seen.get(one, -1) + 1
        places[place] = found[one, number]
    return places


def align(
    net: Network,
    reference: Mapping[str, Array],
    params: Mapping[str, Array],
    similarity: str = "filters",
    images: Array | None = None,
    backend: str = "cpu",
) -> dict[str, Array]:
    """Bring a network's filters into the order of another network of the same architecture.

    Parameters
    ----------
    net : Network
        The architecture of the network to be brought into order.
    reference : mapping of str to ndarray
        Parameters of the network whose order counts; it may have a head of another size.
    params : mapping of str to ndarray
        Parameters of the network to be brought into that order; not changed.
    similarity : {"filters", "activations"}
        What is compared. ``"filters"``: :func:`filter_distances` of the weights, which is what sharing costs.
        ``"activations"``: 1 - the correlation, over images and pixels, of the slots' activations.
    images : ndarray, shape (N, C, H, W), optional
        Needed for ``"activations"``.
    backend : str
        The back end that runs the networks on the images.

    Returns
    -------
    dict of str to ndarray
        The permuted parameters; the network computes what it computed before.

    Raises
    ------
    ConfigError
        If the similarity is unknown or lacks images.
    """
    if similarity not in SIMILARITIES:
        raise ConfigError(f"similarity must be one of {', '.join(SIMILARITIES)}, found {similarity!r}")
    if similarity == "activations" and images is None:
        raise ConfigError("aligning by activations needs images")
    aligned = {name: np.array(value) for name, value in params.items()}
    for group in channel_groups(net, linear=True):
        if similarity == "filters":
            costs = _filter_costs(group, reference, aligned)
        else:
            assert images is not None
            costs = _activation_costs(net, group, reference, aligned, images, backend)
        _, order = linear_sum_assignment(np.where(_interchangeable(group), costs, _NEVER))
        orders = {name: _order_of(group.index[name], order) for name in group.layers}
        aligned = permute_slots(net, aligned, orders)
    return aligned


def _interchangeable(group: ChannelGroup) -> NDArray[np.bool_]:
    """Return which channels of a group are made by the same layers; only those can change places."""
    members = np.array([np.isin(np.arange(group.size), group.index[name]) for name in group.layers])
    return np.all(members[:, :, None] == members[:, None, :], axis=0)


def _order_of(index: NDArray[np.int64], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the order of a layer's filters, given that of the group's channels."""
    filter_of = np.empty(len(order), dtype=np.intp)
    filter_of[index] = np.arange(len(index))
    return filter_of[order[index]]


def _filter_costs(
    group: ChannelGroup, reference: Mapping[str, Array], params: Mapping[str, Array]
) -> NDArray[np.float64]:
    costs = np.zeros((group.size, group.size))
    for name in group.layers:
        where = np.ix_(group.index[name], group.index[name])
        costs[where] += filter_distances(reference[f"{name}.weight"], params[f"{name}.weight"])
    return costs


def _activation_costs(
    net: Network,
    group: ChannelGroup,
    reference: Mapping[str, Array],
    params: Mapping[str, Array],
    images: Array,
    backend: str,
) -> NDArray[np.float64]:
    costs = np.zeros((group.size, group.size))
    for name in group.layers:
        node, channels = activation_of(net, name)
        where = np.ix_(group.index[name], group.index[name])
        costs[where] += 1.0 - _correlations(net, node, channels, (reference, params), images, backend)
    return costs


def _correlations(
    net: Network,
    node: str,
    channels: NDArray[np.int64],
    params: Sequence[Mapping[str, Array]],
    images: Array,
    backend: str,
) -> NDArray[np.float64]:
    """Return the correlation of each slot's activation in one network with each one's in the other."""
    size = len(channels)
    sums, squares = np.zeros((2, size)), np.zeros((2, size))
    products, count = np.zeros((size, size)), 0
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        maps = []
        for some in params:
            values = run_nodes(net, some, {"input": block}, [node], backend)[node][:, channels]
            maps.append(np.moveaxis(values, 1, 0).reshape(size, -1).astype(np.float64))
        sums += [one.sum(axis=1) for one in maps]
        squares += [(one**2).sum(axis=1) for one in maps]
        products += maps[0] @ maps[1].T
        count += maps[0].shape[1]
    variances = np.maximum(squares - sums**2 / count, 0.0)
    scale = np.sqrt(variances[0][:, None] * variances[1])
    covariance = products - sums[0][:, None] * sums[1] / count
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
