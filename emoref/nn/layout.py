"""In which layout of memory a network trains on the CPU, and why.

In channels-last maps (:mod:`emoref_kernels.cpu.maps`) a convolution finds whole vectors of channels, which is
faster, but every map is padded to a whole number of vectors. With 50 filters and vectors of 16, 28 % more is
multiplied. And 5 x 5 filters have a fast algorithm in planes alone
(:mod:`emoref_kernels.cpu.winograd_five`). So a network whose channels fill their vectors well, and whose
work is not mostly 5 x 5, trains in maps, and another one in planes.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from emoref.nn.graph import INPUT, Network
from emoref_kernels import Backend, load_backend

__all__ = ["TrainingLayout", "training_backend", "training_layout"]

MOST_PADDING = 1.75
"""Multiply-accumulates with padded channels over those without, up to which maps are taken.

Measured on slimmed networks with filters drawn at random, vectors of 16: at 1.3 to 1.4 a step of ResNet-20
and ResNet-56 takes 9 % less time in maps, of Conv3 at 1.55 10 % less, of Conv4 at 1.63 3 % less; at 5 to 7
half as much again. Vectors serve batch norm and additions too, which padded products alone do not tell.
"""


class TrainingLayout(NamedTuple):
    """A layout and its reason.

    Attributes
    ----------
    name : str
        ``"planes"`` or ``"channels-last"``.
    padding : float
        Multiply-accumulates of a training step in padded maps, divided by those needed; 1 without
        convolutions.
    reason : str
        One sentence.
    """

    name: str
    padding: float
    reason: str


def _padded(count: int, lanes: int) -> float:
    return -(-count // lanes) * lanes / count


@lru_cache(maxsize=256)
def training_layout(net: Network) -> TrainingLayout:
    """Return the layout in which a network trains on the CPU back end.

    The three products of a convolution are counted as they are computed: lanes are filters forward and in
    the weights' gradient, and input channels in the input's gradient, which the first layer does not need.
    The limit, :data:`MOST_PADDING`, is emoref's own, measured on this project's networks.

    Parameters
    ----------
    net : Network
        The architecture.

    Returns
    -------
    TrainingLayout
        The layout and its reason.

    Examples
    --------
    >>> import emoref
    >>> from emoref.nn.layout import training_layout
    >>> training_layout(emoref.networks.build("lenet")).name
    'planes'
    >>> training_layout(emoref.networks.build("resnet56")).name
    'channels-last'
    """
    from emoref_kernels.cpu.simd import LANES

    needed = computed = five = 0.0
    for node in net.nodes:
        if node.op != "conv2d":
            continue
        (shape,) = net.input_shapes(node)
        channels, filters, groups = shape[0], node.attrs["filters"], node.attrs["groups"]
        if groups != 1 and not groups == channels == filters:
            reason = f'"{node.name}" has {groups} groups, for which there is no kernel on maps'
            return TrainingLayout("planes", 1.0, reason)
        macs = node.kind.macs(node, [shape], net.shapes[node.name])
        needed += 2.0 * macs
        computed += 2.0 * macs * _padded(filters, LANES)
        five += 3.0 * macs if (node.attrs["kernel"], node.attrs["stride"]) == (5, 1) else 0.0
        if node.inputs != (INPUT,):
            needed += macs
            computed += macs * _padded(channels, LANES)
    if not needed:
        return TrainingLayout("planes", 1.0, "there is no convolution")
    padding = computed / needed
    if five > needed / 2:
        return TrainingLayout("planes", padding, "5x5 filters do most of the work, which planes do faster")
    how = f"vectors of {LANES} channels make {padding:.2f} times the multiply-accumulates"
    if padding > MOST_PADDING:
        return TrainingLayout("planes", padding, f"{how}, above {MOST_PADDING}")
    return TrainingLayout("channels-last", padding, f"{how}, at most {MOST_PADDING}")


def training_backend(net: Network, backend: Any) -> Any:
    """Return the table of the CPU back end in the layout in which `net` trains; another back end as it is."""
    if not isinstance(backend, Backend) or backend.name != "cpu":
        return backend
    return load_backend(backend.name, backend.mode, training_layout(net).name)
