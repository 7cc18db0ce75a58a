"""Small networks: LeNet, LeNet-5, the four designed models of Wu et al. 2021, and a multilayer perceptron.

Each function takes (input_shape, classes) and keyword options; ``widths`` sets the number of filters or
units of each hidden layer, so that a slim variant can be built from scratch.
"""

from collections.abc import Sequence

from emoref.errors import NetworkError
from emoref.networks.checks import check_widths
from emoref.nn import Network, NetworkBuilder

__all__ = ["conv1", "conv2", "conv3", "conv4", "lenet", "lenet5", "mlp"]

Shape = tuple[int, ...]


def lenet(
    input_shape: Shape = (1, 28, 28), classes: int = 10, *, widths: Sequence[int] = (20, 50, 500)
) -> Network:
    """Return Caffe's LeNet: twice 5x5 convolution, ReLU and 2x2 max pooling, then two linear layers.

    Caffe's own file has no ReLU after the convolutions (the pooling follows at once); emoref puts one there,
    as most later uses of this network do. 431,080 parameters and 2,293,000 MACs for 28x28.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), height and width at least 16.
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of conv1 and conv2, units of fc1.

    Raises
    ------
    NetworkError
        If a size does not fit.
    """
    first, second, hidden = check_widths("lenet", widths, 3)
    net = NetworkBuilder("lenet", input_shape)
    net.conv("conv1", first, 5)
    net.relu("relu1")
    net.max_pool("pool1", 2)
    net.conv("conv2", second, 5)
    net.relu("relu2")
    net.max_pool("pool2", 2)
    net.flatten("flatten")
    net.linear("fc1", hidden)
    net.relu("relu3")
    net.linear("fc2", classes)
    return net.build()


def lenet5(
    input_shape: Shape = (1, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (6, 16, 120, 84),
    activation: str = "relu",
    pool: str = "max",
) -> Network:
    """Return LeNet-5 (LeCun et al. 1998, figure 2) with full connections between its feature maps.

    Convolutions conv1, conv2, conv3 of 5x5 (layers C1, C3, C5 of the paper), 2x2 pooling after the first
    two, then two linear layers (F6 and the output). The paper's trained subsampling, squashing function and
    radial output units are replaced by plain pooling, `activation` and a linear layer, as is usual. 28x28
    images are padded by 2 in conv1, which makes them the 32x32 of the paper.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, 32, 32) or (channels, 28, 28).
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of conv1, conv2 and conv3, units of fc1.
    activation : {"relu", "tanh"}
        What follows each hidden layer.
    pool : {"max", "avg"}
        How to pool.

    Raises
    ------
    NetworkError
        If a size does not fit or an option is unknown.
    """
    if tuple(input_shape[1:]) not in ((32, 32), (28, 28)):
        raise NetworkError(f"network 'lenet5' takes 32x32 or 28x28 images, got input_shape {input_shape}")
    if activation not in ("relu", "tanh"):
        raise NetworkError(f"network 'lenet5': activation must be 'relu' or 'tanh', got {activation!r}")
    if pool not in ("max", "avg"):
        raise NetworkError(f"network 'lenet5': pool must be 'max' or 'avg', got {pool!r}")
    filters = check_widths("lenet5", widths, 4)
    net = NetworkBuilder("lenet5", input_shape)
    add_pool = net.max_pool if pool == "max" else net.avg_pool
    for i, count in enumerate(filters[:3], 1):
        net.conv(f"conv{i}", count, 5, padding=2 if i == 1 and input_shape[1] == 28 else 0)
        net.node(f"{activation}{i}", activation)
        if i < 3:
            add_pool(f"pool{i}", 2)
    net.flatten("flatten")
    net.linear("fc1", filters[3])
    net.node(f"{activation}4", activation)
    net.linear("fc2", classes)
    return net.build()


def _designed(
    name: str, input_shape: Shape, classes: int, widths: Sequence[int], kernel: int, pooled: tuple[int, ...]
) -> Network:
    """Build "same" convolutions with ReLU, 2x2 max pooling after the layers `pooled`, and a linear layer."""
    net = NetworkBuilder(name, input_shape)
    for i, filters in enumerate(widths, 1):
        net.conv(f"conv{i}", filters, kernel, padding=kernel // 2)
        net.relu(f"relu{i}")
        if i in pooled:
            net.max_pool(f"pool{i}", 2)
    net.flatten("flatten")
    net.linear("fc", classes)
    return net.build()


def conv1(input_shape: Shape = (1, 28, 28), classes: int = 10, *, widths: Sequence[int] = (64,)) -> Network:
    """Return the designed model Conv1 of Wu et al. 2021: one convolution of 64 filters.

    That it has one convolution of 64 filters follows from the paper's numbers; the rest (5x5 kernel, "same"
    padding, ReLU, 2x2 max pooling, one linear layer) is not published; emoref uses it.
    """
    return _designed("conv1", input_shape, classes, check_widths("conv1", widths, 1), 5, (1,))


def conv2(
    input_shape: Shape = (1, 28, 28), classes: int = 10, *, widths: Sequence[int] = (64, 64)
) -> Network:
    """Return the designed model Conv2 of Wu et al. 2021: two 5x5 convolutions, pooled after each.

    Not published: widths, kernels, padding and pooling; emoref uses these.
    """
    return _designed("conv2", input_shape, classes, check_widths("conv2", widths, 2), 5, (1, 2))


def conv3(
    input_shape: Shape = (1, 28, 28), classes: int = 10, *, widths: Sequence[int] = (64, 64, 64)
) -> Network:
    """Return the designed model Conv3 of Wu et al. 2021: three 3x3 convolutions, pooled after 1 and 2.

    Not published: widths, kernels, padding and pooling; emoref uses these.
    """
    return _designed("conv3", input_shape, classes, check_widths("conv3", widths, 3), 3, (1, 2))


def conv4(
    input_shape: Shape = (1, 28, 28), classes: int = 10, *, widths: Sequence[int] = (64, 64, 128, 128)
) -> Network:
    """Return the designed model Conv4 of Wu et al. 2021: four 3x3 convolutions, pooled after 1, 2 and 4.

    Not published: widths, kernels, padding and pooling; emoref uses these.
    """
    return _designed("conv4", input_shape, classes, check_widths("conv4", widths, 4), 3, (1, 2, 4))


def mlp(
    input_shape: Shape = (1, 28, 28), classes: int = 10, *, hidden: Sequence[int] = (300, 100)
) -> Network:
    """Return a multilayer perceptron with ReLU.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width), flattened first, or (features,).
    classes : int
        Number of classes.
    hidden : sequence of int
        Units of each hidden layer; may be empty. The default is LeNet-300-100 (LeCun et al. 1998).

    Raises
    ------
    NetworkError
        If a size is not positive.
    """
    net = NetworkBuilder("mlp", input_shape)
    if len(input_shape) > 1:
        net.flatten("flatten")
    for i, units in enumerate(hidden, 1):
        net.linear(f"fc{i}", units)
        net.relu(f"relu{i}")
    net.linear(f"fc{len(tuple(hidden)) + 1}", classes)
    return net.build()
