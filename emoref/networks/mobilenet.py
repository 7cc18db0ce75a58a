"""MobileNet-v1 (Howard et al. 2017), for small and for large images."""

from emoref.errors import NetworkError
from emoref.nn import Network, NetworkBuilder

__all__ = ["mobilenet_v1"]

Shape = tuple[int, ...]

# Filters and stride of each block: table 1 of the paper.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


def mobilenet_v1(
    input_shape: Shape = (3, 32, 32), classes: int = 10, *, width_multiplier: float = 1.0
) -> Network:
    """Return MobileNet-v1: a convolution, then 13 pairs of a depthwise 3x3 and a pointwise 1x1 convolution.

    Batch norm and ReLU follow each of the 27 convolutions, global average pooling and one linear layer end
    it. Convolutions have no bias. Images of 96x96 and more are halved by the first convolution, as in the
    paper; smaller ones are not (Wang et al. 2021, for 32x32): 3,195,328 weights of convolutions and linear
    layer and 46,354,432 MACs for 32x32 and 10 classes. For 224x224 and 1000 classes there are 4,231,976
    parameters. (The paper's table has stride 2 in the last depthwise layer, whose size stays 7x7; it is 1.)

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        Number of classes.
    width_multiplier : float
        The paper's alpha: every number of filters is multiplied by it and rounded down, to 1 at least.

    Raises
    ------
    NetworkError
        If a size does not fit.
    """
    if not 0.0 < width_multiplier < float("inf"):
        raise NetworkError(
            f"network 'mobilenet-v1': width_multiplier must be above 0, got {width_multiplier}"
        )

    def scaled(filters: int) -> int:
        # The small term keeps e.g. 0.29 * 100 = 28.999999999999996 from being rounded down to 28.
        return max(1, int(filters * width_multiplier + 1e-9))

    large = min(input_shape[1:], default=0) >= 96
    net = NetworkBuilder("mobilenet-v1", input_shape)
    net.conv("conv", scaled(32), 3, stride=2 if large else 1, padding=1, bias=False)
    net.batch_norm("bn")
    channels = scaled(32)
    net.relu("relu")
    for i, (filters, stride) in enumerate(_BLOCKS, 1):
        net.conv(f"dw{i}", channels, 3, stride=stride, padding=1, groups=channels, bias=False)
        net.batch_norm(f"dw{i}_bn")
        net.relu(f"dw{i}_relu")
        channels = scaled(filters)
        net.conv(f"pw{i}", channels, 1, bias=False)
        net.batch_norm(f"pw{i}_bn")
        net.relu(f"pw{i}_relu")
    net.global_avg_pool("pool")
    net.linear("fc", classes)
    return net.build()
