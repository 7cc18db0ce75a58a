"""The convolutions of the mode "exact": their error stays near that of a plain sum of products.

Every other function of the back end is the same in both modes.
"""

from collections.abc import Sequence
from typing import Any

from emoref_kernels.checks import PairLike
from emoref_kernels.cuda.conv import convolve, filter_gradient, input_gradient

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"]


def conv2d(
    x: Any, w: Any, b: Any = None, stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Slide filters over images; see `emoref_kernels.reference.conv2d`."""
    return convolve(x, w, b, stride, padding, groups, mode="exact")


def conv2d_input_grad(
    dy: Any, w: Any, x_shape: Sequence[int], stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Return the gradient of the input; see `emoref_kernels.reference.conv2d_input_grad`."""
    return input_gradient(dy, w, x_shape, stride, padding, groups, mode="exact")


def conv2d_weight_grad(
    dy: Any, x: Any, w_shape: Sequence[int], stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Return the gradient of the filters; see `emoref_kernels.reference.conv2d_weight_grad`."""
    return filter_gradient(dy, x, w_shape, stride, padding, groups, mode="exact")
