"""Physical removal of filters: a network and its masks become a smaller network.

Masking sets numbers to zero; the arrays, the multiplications and the file stay as large as they were.
Slimming cuts: the filters themselves, the matching input channels of every layer that reads them, their
biases, their batch-norm entries, and the columns of a linear layer behind ``flatten``. What is left is an
ordinary network that knows nothing of the masks.

:func:`slim` and :func:`apply_masks` are twins. They compute the same function (a test says so for random
networks), because a masked filter is silenced completely: a bias, or the shift (beta) of a batch norm,
would otherwise turn a "removed" channel into a constant one that the next layer still sees.

One operation is excepted, local response normalisation. It divides a channel by its neighbours: where a
filter is masked a zero stands among them, where it is removed the next channel moves up into the window.
Networks with it can be slimmed, but :func:`slim` and :func:`apply_masks` then differ. What counts is the
slimmed network: it is what a search evaluates and what is saved.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress.groups import ChannelMap, channel_map
from emoref.errors import NetworkError, ShapeError
from emoref.nn import Network, Node

__all__ = ["apply_masks", "cut_axes", "cut_network", "cut_params", "kept_channels", "slim", "slim_network"]

Masks = Mapping[str, ArrayLike]


def slim(net: Network, params: Mapping[str, NDArray], masks: Masks) -> tuple[Network, dict[str, NDArray]]:
    """Remove filters physically.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters and batch-norm statistics.
    masks : mapping of str to bool array, shape (filters,)
        For each layer to be pruned, True for the filters to keep. Convolutions and hidden linear layers can
        be named (see :func:`emoref.compress.prunable_layers`). A layer that is not named keeps all its
        filters, except those tied by an addition to a removed filter of a named layer: they go with it.

    Returns
    -------
    small_net : Network
        The smaller architecture, with the same node names.
    small_params : dict of str to array
        Its parameters; new arrays, nothing is shared with ``params``.

    Raises
    ------
    NetworkError
        If a mask names a layer that is unknown or not prunable, keeps no filter at all, or contradicts the
        mask of a layer tied to it.
    ShapeError
        If a mask has another length than its layer has filters, or is not boolean.

    See Also
    --------
    apply_masks : the same network function without making anything smaller.
    """
    kept = kept_channels(net, masks)
    return cut_network(net, kept), cut_params(net, params, kept)


def slim_network(net: Network, masks: Masks) -> Network:
    """Return the architecture that :func:`slim` makes of `net` and `masks`; no parameter is touched."""
    return cut_network(net, kept_channels(net, masks))


def apply_masks(net: Network, params: Mapping[str, NDArray], masks: Masks) -> dict[str, NDArray]:
    """Silence filters without removing them.

    Weights and bias of masked filters become 0, and so do gamma, beta and running mean of their batch norms
    (wherever these lie, e.g. behind a concatenation) and their depthwise filters. Each masked channel is
    then exactly 0 everywhere, so the network computes what the slimmed one computes, up to the order in
    which floating-point sums are formed (local response normalisation excepted, as said above). Nothing gets
    smaller or faster: use :func:`slim` for that.

    Parameters
    ----------
    net, params, masks
        As for :func:`slim`, with the same errors.

    Returns
    -------
    dict of str to array
        All parameters, in the shapes that they had; new arrays.
    """
    kept = kept_channels(net, masks)
    masked = {name: np.array(value) for name, value in params.items()}
    for node in net.nodes:
        for role in _SILENCED.get(node.op, ()):
            name = f"{node.name}.{role}"
            if name in masked:
                masked[name][~kept[node.name]] = 0
    return masked


# The running variance is left alone: with gamma, beta and mean at 0 the output is 0 for any variance.
_SILENCED = {
    "conv2d": ("weight", "bias"),
    "linear": ("weight", "bias"),
    "batch_norm": ("gamma", "beta", "running_mean"),
}


def kept_channels(net: Network, masks: Masks) -> dict[str, NDArray[np.bool_]]:
    """Return which channels of every value of the network remain under the masks.

    Parameters
    ----------
    net, masks
        As for :func:`slim`, with the same errors.

    Returns
    -------
    dict of str to bool array
        For ``"input"`` and every node, True for each channel that stays (axis 1 of a batch of its values).
    """
    channels = channel_map(net)
    alive = np.ones(len(channels.pinned), dtype=bool)
    checked = {name: _checked_mask(net, channels, name, mask) for name, mask in masks.items()}
    for name, mask in checked.items():
        alive[channels.sources[name][~mask]] = False
    for name, mask in checked.items():
        # Ties between two filters of one layer are caught here too.
        if (alive[channels.sources[name]] != mask).any():
            raise NetworkError(
                f"the mask of layer {name!r} contradicts that of a layer tied to it by an addition: "
                f"filters {np.flatnonzero(alive[channels.sources[name]] != mask).tolist()} are kept in one "
                f"and removed in the other"
            )
    for name, ids in channels.sources.items():
        if not alive[ids].any():
            raise NetworkError(f"the masks leave no filter in layer {name!r}; at least one must stay")
    return {name: alive[ids] for name, ids in channels.values.items()}


def _checked_mask(net: Network, channels: ChannelMap, name: str, mask: ArrayLike) -> NDArray[np.bool_]:
    node = net.node(name)
    ids = channels.sources.get(name)
    if ids is None or channels.pinned[ids].any():
        raise NetworkError(
            f"mask of {node.op} node {name!r}: it has no filters that can be removed; "
            f"prunable are {', '.join(channels.prunable()) or 'none'}"
        )
    array = np.asarray(mask)
    if array.dtype != bool or array.shape != ids.shape:
        raise ShapeError(
            f"mask of layer {name!r}: expected {len(ids)} booleans, one for each filter, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return array


def cut_network(net: Network, kept: Mapping[str, NDArray[np.bool_]]) -> Network:
    """Return the architecture with the channels that :func:`kept_channels` says."""
    return replace(net, nodes=tuple(_slim_node(node, kept) for node in net.nodes))


def _slim_node(node: Node, kept: Mapping[str, NDArray[np.bool_]]) -> Node:
    out = kept[node.name]
    if node.op == "conv2d" and not (out.all() and kept[node.inputs[0]].all()):
        attrs = {**node.attrs, "filters": int(out.sum())}
        if int(node.attrs.get("groups", 1)) > 1:
            attrs["groups"] = int(kept[node.inputs[0]].sum())
        return replace(node, attrs=attrs)
    if node.op == "pad_channels" and not out.all():
        before, after = int(node.attrs["before"]), int(node.attrs["after"])
        behind = len(out) - after
        return replace(node, attrs={"before": int(out[:before].sum()), "after": int(out[behind:].sum())})
    if node.op == "linear" and not out.all():
        return replace(node, attrs={**node.attrs, "units": int(out.sum())})
    return node


def cut_params(
    net: Network, params: Mapping[str, NDArray], kept: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray]:
    """Return the parameters with the channels that :func:`kept_channels` says.

    ``params`` may lack parameters of the network; the rest is cut all the same.
    """
    small = {}
    for name, value in params.items():
        rows_of, columns_of = cut_axes(net, name)
        rows = np.flatnonzero(kept[rows_of])
        small[name] = (
            value[rows] if columns_of is None else _cut(value, rows, np.flatnonzero(kept[columns_of]))
        )
    return small


def cut_axes(net: Network, name: str) -> tuple[str, str | None]:
    """Return the values whose channels are the rows and the columns of a parameter.

    Parameters
    ----------
    net : Network
        The network.
    name : str
        The parameter.

    Returns
    -------
    rows_of : str
        The node whose kept channels are the rows (axis 0) that stay.
    columns_of : str or None
        The value whose kept channels are the columns (axis 1) that stay; None if all do.
    """
    node_name, _, role = name.rpartition(".")
    node = net.node(node_name)
    by_column = role == "weight" and int(node.attrs.get("groups", 1)) == 1
    return node_name, node.inputs[0] if by_column else None


def _cut(weight: NDArray, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray:
    """Return the rows (filters) and columns (input channels) of a weight, as a new contiguous array."""
    chosen = weight[rows]
    return chosen if len(columns) == weight.shape[1] else chosen.take(columns, axis=1)
