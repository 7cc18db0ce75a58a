"""The operations that a network's nodes can perform: one class and one table entry each.

Everything that the rest of emoref knows about an operation is here: its attributes with their ranges, the
shape of its result, its parameters and their initial values, its multiply-accumulates, and how it runs
forward and backward on a back end of :mod:`emoref_kernels`. Shapes are those of one image, without the batch
axis. What becomes of an operation when channels are removed is in :mod:`emoref.compress.groups`.
"""

from emoref.nn.ops.base import Attribute, Context, Op, check_attrs
from emoref.nn.ops.elementwise import Add, Dropout, ReLU, Tanh
from emoref.nn.ops.maps import AvgPool2d, Concat, Flatten, GlobalAvgPool2d, MaxPool2d, PadChannels
from emoref.nn.ops.normalization import BatchNorm, LocalResponseNorm
from emoref.nn.ops.weighted import Conv2d, Linear

__all__ = ["OPS", "Attribute", "Context", "Op", "check_attrs"]

OPS: dict[str, Op] = {
    "conv2d": Conv2d(),
    "linear": Linear(),
    "batch_norm": BatchNorm(),
    "local_response_norm": LocalResponseNorm(),
    "relu": ReLU(),
    "tanh": Tanh(),
    "max_pool2d": MaxPool2d(),
    "avg_pool2d": AvgPool2d(),
    "global_avg_pool2d": GlobalAvgPool2d(),
    "flatten": Flatten(),
    "add": Add(),
    "concat": Concat(),
    "pad_channels": PadChannels(),
    "dropout": Dropout(),
}
"""Every operation by name."""
