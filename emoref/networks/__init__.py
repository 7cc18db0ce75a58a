"""The networks that emoref knows by name."""

import inspect
from collections.abc import Callable
from typing import Any

from emoref.errors import NetworkError, suggest
from emoref.networks import alexnet, mobilenet, resnet, small, vgg
from emoref.networks.trained import trained_file, trained_names
from emoref.nn import Network

__all__ = ["build", "names", "trained_file", "trained_names"]

# Each entry is a function (input_shape, classes, *, options) -> Network; the default of its first argument
# is the input that the network was made for.
_BUILDERS: dict[str, Callable[..., Network]] = {
    "lenet": small.lenet,
    "lenet5": small.lenet5,
    "conv1": small.conv1,
    "conv2": small.conv2,
    "conv3": small.conv3,
    "conv4": small.conv4,
    "mlp": small.mlp,
    "alexnet": alexnet.alexnet,
    "vgg16": vgg.vgg16,
    "mobilenet-v1": mobilenet.mobilenet_v1,
    "resnet18": resnet.resnet18,
    "resnet20": resnet.resnet20,
    "resnet32": resnet.resnet32,
    "resnet50": resnet.resnet50,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
}


def names() -> list[str]:
    """Return the names that :func:`build` knows."""
    return list(_BUILDERS)


def build(
    name: str, input_shape: tuple[int, ...] | None = None, classes: int = 10, **options: Any
) -> Network:
    """Build a network by its name.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    input_shape : tuple of int, optional
        (channels, height, width); left out, the one that the network was made for.
    classes : int
        Number of classes, the size of the output.
    **options
        The network's own options, for instance ``widths``; see the functions of the same names in
        :mod:`emoref.networks.small`, ``alexnet``, ``vgg``, ``mobilenet`` and ``resnet``.

    Returns
    -------
    Network
        The architecture; parameters come from its ``init(seed)``.

    Raises
    ------
    NetworkError
        If the name or an option is unknown (the nearest one is suggested), or if the shape does not fit.

    Examples
    --------
    >>> import emoref
    >>> net = emoref.networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    >>> sum(row.parameters for row in net.layer_table()), sum(row.macs for row in net.layer_table())
    (431080, 2293000)
    """
    if name not in _BUILDERS:
        raise NetworkError(f"there is no network called {name!r}{suggest(str(name), _BUILDERS)}")
    builder = _BUILDERS[name]
    parameters = inspect.signature(builder).parameters
    known = [p.name for p in parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise NetworkError(f"network {name!r} has no option {option!r}{suggest(option, known)}")
    if input_shape is None:
        input_shape = parameters["input_shape"].default
    return builder(tuple(input_shape), classes, **options)
