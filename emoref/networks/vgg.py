"""VGG-16 (Simonyan and Zisserman 2015, configuration D), with batch norm, for small and for large images."""

from collections.abc import Sequence

from emoref.networks.checks import check_widths
from emoref.nn import Network, NetworkBuilder

__all__ = ["vgg16"]

Shape = tuple[int, ...]

_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_POOLED = (2, 4, 7, 10, 13)


def vgg16(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = _WIDTHS,
    hidden: Sequence[int] | None = None,
    batch_norm: bool = True,
    dropout: float = 0.5,
) -> Network:
    """Return VGG-16: thirteen 3x3 convolutions, 2x2 max pooling after 2, 4, 7, 10 and 13, linear layers.

    For images of 224x224 and more the paper's three linear layers follow, 4096-4096-classes, with dropout
    between them. For smaller images there is a single one, 512 -> classes, as is usual for 32x32 (and as in
    Wang et al. 2021): 14,715,584 weights of convolutions and linear layer, 313,201,664 MACs for 32x32 and 10
    classes. Batch norm (not in the paper, which is older) stands between convolution and ReLU. Convolutions
    keep the bias that batch norm makes redundant, as in most versions in use: all in all 14,728,266
    parameters for 32x32, and 138,365,992 for 224x224 with 1000 classes.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), height and width at least 32.
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of conv1 to conv13.
    hidden : sequence of int, optional
        Units of the hidden linear layers; by default (4096, 4096) from 224x224 on, else none.
    batch_norm : bool
        Whether batch norm follows each convolution.
    dropout : float
        Rate of the dropout behind each hidden linear layer.

    Raises
    ------
    NetworkError
        If a size does not fit.
    """
    widths = check_widths("vgg16", widths, 13, "convolutions")
    if hidden is None:
        hidden = (4096, 4096) if min(input_shape[1:], default=0) >= 224 else ()
    net = NetworkBuilder("vgg16", input_shape)
    for i, filters in enumerate(widths, 1):
        net.conv(f"conv{i}", filters, 3, padding=1)
        if batch_norm:
            net.batch_norm(f"bn{i}")
        net.relu(f"relu{i}")
        if i in _POOLED:
            net.max_pool(f"pool{_POOLED.index(i) + 1}", 2)
    net.flatten("flatten")
    for i, units in enumerate(hidden, 1):
        net.linear(f"fc{i}", units)
        net.relu(f"relu{13 + i}")
        net.dropout(f"dropout{i}", dropout)
    net.linear(f"fc{len(hidden) + 1}", classes)
    return net.build()
