"""AlexNet (Krizhevsky et al. 2012) in the form that is used on 32x32 images."""

from collections.abc import Sequence

from emoref.networks.checks import check_widths
from emoref.nn import Network, NetworkBuilder

__all__ = ["alexnet"]

Shape = tuple[int, ...]


def alexnet(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (64, 192, 384, 256, 256),
    hidden: Sequence[int] = (1024, 1024),
    dropout: float = 0.5,
    lrn: bool = False,
) -> Network:
    """Return AlexNet for small images: five 3x3 convolutions with ReLU, 2x2 max pooling after 1, 2 and 5.

    The original is for 224x224; what versions for CIFAR-10 look like is not published with the systems that
    prune them (Wu et al. 2021). emoref uses 3x3 kernels with stride 1 and padding 1 throughout, the filters
    of the one-tower version (Krizhevsky 2014), and 1024 units in the hidden linear layers.

    With `lrn`, local response normalisation follows the first two ReLUs with the constants of the paper
    (section 3.3: k = 2, n = 5, alpha = 1e-4 before the division by n that emoref does, beta = 0.75). Filters
    before it can be pruned, but removing a filter is then not the same as masking it; see docs/pruning.md.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), height and width at least 8.
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of conv1 to conv5.
    hidden : sequence of int
        Units of the hidden linear layers.
    dropout : float
        Rate of the dropout behind each hidden linear layer.
    lrn : bool
        Whether to normalise locally.

    Raises
    ------
    NetworkError
        If a size does not fit.
    """
    net = NetworkBuilder("alexnet", input_shape)
    for i, filters in enumerate(check_widths("alexnet", widths, 5, "convolutions"), 1):
        net.conv(f"conv{i}", filters, 3, padding=1)
        net.relu(f"relu{i}")
        if lrn and i <= 2:
            net.local_response_norm(f"norm{i}", size=5, alpha=5e-4, beta=0.75, k=2.0)
        if i in (1, 2, 5):
            net.max_pool(f"pool{i}", 2)
    net.flatten("flatten")
    for i, units in enumerate(hidden, 1):
        net.linear(f"fc{i}", units)
        net.relu(f"relu{5 + i}")
        net.dropout(f"dropout{i}", dropout)
    net.linear(f"fc{len(hidden) + 1}", classes)
    return net.build()
