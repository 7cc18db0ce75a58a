"""Scores that say how much a filter matters, and masks that keep the filters with the highest scores.

These are the classic criteria that evolutionary search is compared with. In all of them a higher score
means a more important filter; scores are comparable within a layer, not between layers.

=====================  =====================================================  ============================
criterion              score of filter j                                      source
=====================  =====================================================  ============================
``random``             uniform in [0, 1)                                      the baseline of every study
``l1``                 sum of the absolute weights                            Li et al., ICLR 2017
``l2``                 root of the sum of w^2                                 Li et al., ICLR 2017
``geometric-median``   sum of Euclidean distances to the layer's filters      He et al. (FPGM), CVPR 2019
``apoz``               1 - average percentage of zeros after its ReLU         Hu et al., arXiv:1607.03250
``taylor``             absolute gradient times activation, averaged           Molchanov et al., ICLR 2017
=====================  =====================================================  ============================
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.groups import channel_map, prunable_layers
from emoref.errors import ConfigError, DataError, NetworkError, suggest
from emoref.nn import Network, Node, backward, forward, run_nodes
from emoref_kernels import load_backend

__all__ = ["CRITERIA", "activation_of", "filter_importance", "masks_from_importance", "tied_importance"]

Scores = dict[str, NDArray[np.float64]]
Data = tuple[NDArray[Any], NDArray[Any]]

_BLOCK = 250
"""Images held in memory at a time by the criteria that need data."""


def filter_importance(
    criterion: str,
    net: Network,
    params: Mapping[str, NDArray[Any]],
    data: Data | None = None,
    rng: np.random.Generator | None = None,
    backend: str = "cpu",
    linear: bool = False,
) -> Scores:
    """Score the filters of every prunable layer.

    Parameters
    ----------
    criterion : str
        One of :data:`CRITERIA`.
    net : Network
        The network.
    params : mapping of str to array
        Its parameters.
    data : tuple (images, labels), optional
        Float images (N, C, H, W) and integer labels (N,); needed by ``"apoz"`` (which does not look at the
        labels) and ``"taylor"``.
    rng : numpy.random.Generator, optional
        Needed by ``"random"``.
    backend : str, default "cpu"
        The back end that runs the network for the criteria that need data.
    linear : bool, default False
        Whether hidden linear layers are scored too, unit by unit.

    Returns
    -------
    dict of str to float64 array, shape (filters,)
        Higher is more important.

    Raises
    ------
    ConfigError
        If the criterion is unknown, or lacks the data or generator that it needs.
    DataError
        If there are no images, or not as many labels.
    NetworkError
        If ``"apoz"`` meets a layer whose channels never pass a ReLU.
    """
    if criterion not in CRITERIA:
        raise ConfigError(f"unknown importance criterion {criterion!r}{suggest(str(criterion), CRITERIA)}")
    layers = prunable_layers(net, linear=linear)
    if criterion == "random":
        if rng is None:
            raise ConfigError("importance criterion 'random' needs a generator: rng=...")
        return {name: rng.random(n) for name, n in layers.items()}
    if criterion in _NEED_DATA:
        if data is None:
            raise ConfigError(f"importance criterion {criterion!r} needs data=(images, labels)")
        images, labels = data
        if len(images) == 0 or len(images) != len(labels):
            raise DataError(f"need as many labels as images, and one at least: {len(images)}, {len(labels)}")
        return _NEED_DATA[criterion](net, params, images, np.asarray(labels), list(layers), backend)
    score = _FROM_WEIGHTS[criterion]
    return {
        name: score(np.asarray(params[f"{name}.weight"], dtype=np.float64).reshape(n, -1))
        for name, n in layers.items()
    }


def _l1(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(filters).sum(axis=1)


def _l2(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt((filters**2).sum(axis=1))


def _geometric_median(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    # A filter close to the geometric median has the least sum of distances: the others can replace it.
    # One row at a time, since the differences of all pairs at once would need filters**2 * weights numbers.
    return np.array([np.sqrt(((filters - one) ** 2).sum(axis=1)).sum() for one in filters])


def _apoz(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    labels: NDArray[Any],
    layers: list[str],
    backend: str,
) -> Scores:
    """Return 1 - (share of zeros after the layer's ReLU), over all images and all pixels of the map."""
    where = {name: activation_of(net, name) for name in layers}
    for name, (node, _) in where.items():
        if net.node(node).op != "relu":
            raise NetworkError(
                f"layer {name!r}: criterion 'apoz' counts zeros after a ReLU, but no ReLU follows this layer"
            )
    nonzero = {name: np.zeros(len(channels), dtype=np.int64) for name, (_, channels) in where.items()}
    total = dict.fromkeys(layers, 0)
    wanted = sorted({node for node, _ in where.values()})
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        values = run_nodes(net, params, {"input": block}, wanted, backend)
        for name, (node, channels) in where.items():
            maps = values[node][:, channels]
            nonzero[name] += np.count_nonzero(maps.reshape(*maps.shape[:2], -1), axis=(0, 2))
            total[name] += maps.size // len(channels)
    return {name: nonzero[name] / total[name] for name in layers}


def _taylor(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    labels: NDArray[Any],
    layers: list[str],
    backend: str,
) -> Scores:
    """Return the first-order Taylor criterion of Molchanov et al. 2017 (eq. 8), averaged over images.

    For one image and one feature map a with M pixels the criterion is ``abs(sum(a * dL/da) / M)``, with L
    the cross-entropy of that image: the absolute value is taken after the sum over the map and before the
    mean over images. The map is the layer's output after its ReLU if one follows, else the layer's own output
    after its batch norm. The paper then divides each layer's scores by their l2 norm, to compare layers;
    that changes no order within a layer and is left out. (The later criterion of the same authors, CVPR
    2019, which uses weights instead of activations, is another one.)
    """
    k = load_backend(backend)
    where = {name: activation_of(net, name) for name in layers}
    wanted = sorted({node for node, _ in where.values()})
    sums = {name: np.zeros(len(channels)) for name, (_, channels) in where.items()}
    for start in range(0, len(images), _BLOCK):
        block, targets = images[start : start + _BLOCK], labels[start : start + _BLOCK]
        products = _gradient_times_activation(net, params, block, targets, wanted, k)
        for name, (node, channels) in where.items():
            sums[name] += np.abs(products[node][:, channels]).sum(axis=0)
    return {name: sums[name] / len(images) for name in layers}


def _gradient_times_activation(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    labels: NDArray[Any],
    nodes: list[str],
    k: Any,
) -> dict[str, NDArray[np.float64]]:
    """Return the mean over the map of a * dL/da for each image and channel, arrays (N, C)."""
    tape = forward(net, params, images, mode="eval", backend=k, keep=nodes)
    # The kernel gives the gradient of the mean loss; times N it is the gradient of each image's own loss.
    dlogits = k.softmax_cross_entropy_grad(tape.output, labels) * tape.output.dtype.type(len(images))
    grads = backward(tape, dlogits, nodes=nodes)
    products = {}
    for name in nodes:
        product = tape.activations[name].astype(np.float64) * grads[name]
        products[name] = product.reshape(*product.shape[:2], -1).mean(axis=2)
    return products


def activation_of(net: Network, layer: str) -> tuple[str, NDArray[np.int64]]:
    """Return the node whose value is the layer's activation, and the layer's channels in that value.

    Walks from the layer through batch norm, pooling, dropout, additions and concatenations to the first
    ReLU. Without one, it is the layer's own value after the batch norm that directly follows, if any.

    Parameters
    ----------
    net : Network
        The network.
    layer : str
        A convolution or linear layer of it.

    Returns
    -------
    node : str
        Where the activation is.
    channels : int64 array, shape (filters,)
        Which of that node's channels are those of the layer's filters.
    """
    ids = channel_map(net).values
    name, channels = layer, np.arange(len(ids[layer]), dtype=np.int64)
    fallback = (name, channels)
    while node := _next_on_the_way(net, name):
        if node.op == "concat":
            before = node.inputs[: node.inputs.index(name)]
            channels = channels + sum(len(ids[source]) for source in before)
        if node.op == "batch_norm" and fallback[0] == name:
            fallback = (node.name, channels)
        name = node.name
        if node.op == "relu":
            return name, channels
    return fallback


def _next_on_the_way(net: Network, name: str) -> Node | None:
    """Return the first consumer that hands the channels on as they are, or None."""
    for node in net.consumers(name):
        if node.op in ("relu", "batch_norm", "max_pool2d", "avg_pool2d", "dropout", "add", "concat"):
            return node
    return None


def tied_importance(net: Network, scores: Mapping[str, NDArray[np.float64]]) -> Scores:
    """Give filters that can only be removed together the same score: the mean of their scores.

    Needed before :func:`masks_from_importance` for networks with additions, where masks made layer by layer
    would contradict each other. Which way to combine is not published for these criteria; emoref uses the
    mean over the filters of the tied layers. In other networks the scores come back unchanged.

    Parameters
    ----------
    net : Network
        The network.
    scores : mapping of str to float64 array
        From :func:`filter_importance`.

    Returns
    -------
    dict of str to float64 array
        Equal scores for tied filters.
    """
    sources = channel_map(net).sources
    size = len(channel_map(net).pinned)
    sums, numbers = np.zeros(size), np.zeros(size)
    for name, values in scores.items():
        np.add.at(sums, sources[name], values)
        np.add.at(numbers, sources[name], 1)
    means = np.divide(sums, numbers, out=sums, where=numbers > 0)
    return {name: means[sources[name]] for name in scores}


def masks_from_importance(
    scores: Mapping[str, NDArray[np.float64]], kept: Mapping[str, int]
) -> dict[str, NDArray[np.bool_]]:
    """Return masks that keep the filters with the highest scores.

    Parameters
    ----------
    scores : mapping of str to float64 array, shape (filters,)
        From :func:`filter_importance`.
    kept : mapping of str to int
        How many filters each layer keeps; layers that are not named get no mask.

    Returns
    -------
    dict of str to bool array
        For :func:`emoref.compress.slim`. Of equal scores the lower index is kept.

    Raises
    ------
    NetworkError
        If a layer has no scores or keeps fewer than one or more filters than it has.
    """
    masks = {}
    for name, number in kept.items():
        if name not in scores:
            raise NetworkError(f"kept filters of {name!r}: this layer has no importance scores")
        values = scores[name]
        if not 1 <= number <= len(values):
            raise NetworkError(f"layer {name!r} can keep 1 to {len(values)} filters, not {number}")
        mask = np.zeros(len(values), dtype=bool)
        mask[np.argsort(-values, kind="stable")[:number]] = True
        masks[name] = mask
    return masks


_FROM_WEIGHTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "l1": _l1,
    "l2": _l2,
    "geometric-median": _geometric_median,
}
_NEED_DATA: dict[str, Callable[..., Scores]] = {"apoz": _apoz, "taylor": _taylor}

CRITERIA = ("random", *_FROM_WEIGHTS, *_NEED_DATA)
"""Names of the importance criteria."""
