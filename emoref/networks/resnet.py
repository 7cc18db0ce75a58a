"""Residual networks (He et al. 2016): those for CIFAR with 6n + 2 layers, ResNet-18 and ResNet-50.

Node names say where a node is: ``s2b1_conv2`` is the second convolution of the first block of stage 2, and
``s2b1_skip...`` are the nodes of its shortcut.
"""

from collections.abc import Callable, Sequence

from emoref.errors import NetworkError
from emoref.networks.checks import check_widths
from emoref.nn import Network, NetworkBuilder

__all__ = ["resnet18", "resnet20", "resnet32", "resnet50", "resnet56", "resnet110"]

Shape = tuple[int, ...]

_SHORTCUTS = ("A", "B")
_STEMS = ("auto", "small", "large")


def resnet20(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (16, 32, 64),
    shortcut: str = "A",
) -> Network:
    """Return the CIFAR ResNet with 20 layers (n = 3): 269,722 parameters; see :func:`resnet56`."""
    return _cifar("resnet20", 3, input_shape, classes, widths, shortcut)


def resnet32(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (16, 32, 64),
    shortcut: str = "A",
) -> Network:
    """Return the CIFAR ResNet with 32 layers (n = 5): 464,154 parameters; see :func:`resnet56`."""
    return _cifar("resnet32", 5, input_shape, classes, widths, shortcut)


def resnet56(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (16, 32, 64),
    shortcut: str = "A",
) -> Network:
    """Return the CIFAR ResNet with 56 layers (n = 9): 853,018 parameters.

    He et al. 2016, section 4.2: a 3x3 convolution, three stages of n blocks of two 3x3 convolutions each,
    global average pooling and a linear layer, 6n + 2 layers with weights. Stages 2 and 3 begin with stride 2
    and have twice the filters. Batch norm follows every convolution; convolutions have no bias.

    Shortcut A has no parameters: where a stage begins, it takes every second pixel of every second row (an
    average pooling with a kernel of 1) and appends channels of zeros behind the others.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of the three stages.
    shortcut : {"A", "B"}
        Shortcuts where sizes change: without parameters, or 1x1 convolutions with batch norm.

    Raises
    ------
    NetworkError
        If a size does not fit, an option is unknown, or widths fall with shortcut A, which can only widen.
    """
    return _cifar("resnet56", 9, input_shape, classes, widths, shortcut)


def resnet110(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (16, 32, 64),
    shortcut: str = "A",
) -> Network:
    """Return the CIFAR ResNet with 110 layers (n = 18): 1,727,962 parameters; see :func:`resnet56`."""
    return _cifar("resnet110", 18, input_shape, classes, widths, shortcut)


def resnet18(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    stem: str = "auto",
) -> Network:
    """Return ResNet-18: four stages of two blocks of two 3x3 convolutions, shortcuts of kind B.

    He et al. 2016, table 1. The large stem is the paper's (7x7 with stride 2, then 3x3 max pooling with
    stride 2); the small one, a 3x3 convolution with stride 1 and no pooling, is what is usual for 32x32
    (not published). 11,689,512 parameters for 224x224 and 1000 classes, 11,173,962 for 32x32 and 10.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of the four stages.
    stem : {"auto", "small", "large"}
        "auto" is the large one for images of 96x96 and more.

    Raises
    ------
    NetworkError
        If a size does not fit or an option is unknown.
    """
    return _with_stem("resnet18", _basic, (2, 2, 2, 2), input_shape, classes, widths, stem)


def resnet50(
    input_shape: Shape = (3, 224, 224),
    classes: int = 10,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    stem: str = "auto",
) -> Network:
    """Return ResNet-50, version 1.5: four stages of 3, 4, 6 and 3 bottleneck blocks, shortcuts of kind B.

    He et al. 2016, table 1. A bottleneck is a 1x1, a 3x3 and a 1x1 convolution, the last with four times the
    filters. In version 1.5, which is what most libraries have, the stride is in the 3x3 convolution; in the
    paper it is in the first 1x1. 25,557,032 parameters for 224x224 and 1000 classes.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        Number of classes.
    widths : sequence of int
        Filters of the four stages' inner convolutions; a stage's result has four times as many channels.
    stem : {"auto", "small", "large"}
        As for :func:`resnet18`.

    Raises
    ------
    NetworkError
        If a size does not fit or an option is unknown.
    """
    return _with_stem("resnet50", _bottleneck, (3, 4, 6, 3), input_shape, classes, widths, stem)


# A block function appends a block's main branch, up to its last batch norm, and returns the channels of its
# result.
_Block = Callable[[NetworkBuilder, str, int, int], int]


def _cifar(
    name: str, n: int, input_shape: Shape, classes: int, widths: Sequence[int], shortcut: str
) -> Network:
    if shortcut not in _SHORTCUTS:
        raise NetworkError(f"network {name!r}: shortcut must be 'A' or 'B', got {shortcut!r}")
    widths = check_widths(name, widths, 3, "stages")
    if shortcut == "A" and list(widths) != sorted(widths):
        raise NetworkError(f"network {name!r}: widths must not fall with shortcut 'A', got {widths}")
    net = NetworkBuilder(name, input_shape)
    _conv_bn(net, "conv", "bn", widths[0], 3)
    net.relu("relu")
    return _stages(net, _basic, (n, n, n), widths[0], widths, shortcut, classes)


def _with_stem(
    name: str,
    block: _Block,
    blocks: Sequence[int],
    input_shape: Shape,
    classes: int,
    widths: Sequence[int],
    stem: str,
) -> Network:
    if stem not in _STEMS:
        raise NetworkError(f"network {name!r}: stem must be 'auto', 'small' or 'large', got {stem!r}")
    widths = check_widths(name, widths, 4, "stages")
    if stem == "auto":
        stem = "large" if min(input_shape[1:], default=0) >= 96 else "small"
    net = NetworkBuilder(name, input_shape)
    # The paper's stem has 64 filters, as many as the first stage.
    _conv_bn(net, "conv", "bn", widths[0], *((7, 2) if stem == "large" else (3, 1)))
    net.relu("relu")
    if stem == "large":
        net.max_pool("pool", 3, stride=2, padding=1)
    return _stages(net, block, blocks, widths[0], widths, "B", classes)


def _stages(
    net: NetworkBuilder,
    block: _Block,
    blocks: Sequence[int],
    channels: int,
    widths: Sequence[int],
    shortcut: str,
    classes: int,
) -> Network:
    """Append the stages and the classifier; each stage but the first begins with stride 2."""
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
        for i in range(1, count + 1):
            stride = 2 if stage > 1 and i == 1 else 1
            before, source, at = channels, net.last, f"s{stage}b{i}"
            channels = block(net, at, width, stride)
            main = net.last
            if stride > 1 or channels != before:
                source = _shortcut(net, at, source, channels - before, channels, stride, shortcut)
            net.add(f"{at}_add", main, source)
            net.relu(f"{at}_relu")
    net.global_avg_pool("gap")
    net.linear("fc", classes)
    return net.build()


def _basic(net: NetworkBuilder, at: str, width: int, stride: int) -> int:
    _conv_bn(net, f"{at}_conv1", f"{at}_bn1", width, 3, stride)
    net.relu(f"{at}_relu1")
    _conv_bn(net, f"{at}_conv2", f"{at}_bn2", width, 3)
    return width


def _bottleneck(net: NetworkBuilder, at: str, width: int, stride: int) -> int:
    _conv_bn(net, f"{at}_conv1", f"{at}_bn1", width, 1)
    net.relu(f"{at}_relu1")
    _conv_bn(net, f"{at}_conv2", f"{at}_bn2", width, 3, stride)
    net.relu(f"{at}_relu2")
    _conv_bn(net, f"{at}_conv3", f"{at}_bn3", 4 * width, 1)
    return 4 * width


def _shortcut(
    net: NetworkBuilder, at: str, source: str, wider: int, channels: int, stride: int, kind: str
) -> str:
    """Append the shortcut of a block whose result has another size than `source`; return its name."""
    if kind == "B":
        return _conv_bn(net, f"{at}_skip_conv", f"{at}_skip_bn", channels, 1, stride, source)
    if stride > 1:
        source = net.avg_pool(f"{at}_skip_pool", 1, stride=stride, source=source)
    return net.pad_channels(f"{at}_skip_pad", after=wider, source=source) if wider else source


def _conv_bn(
    net: NetworkBuilder,
    conv: str,
    batch_norm: str,
    filters: int,
    kernel: int,
    stride: int = 1,
    source: str | None = None,
) -> str:
    net.conv(conv, filters, kernel, stride=stride, padding=kernel // 2, bias=False, source=source)
    return net.batch_norm(batch_norm)
