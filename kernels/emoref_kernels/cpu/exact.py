"""The convolutions of the mode "exact": their error stays near that of a plain sum of products.

Every other function of the back end is the same in both modes; see
:mod:`~emoref_kernels.cpu.planner` for the bounds.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from emoref_kernels.checks import PairLike
from emoref_kernels.cpu.conv import convolve, input_gradient, weight_gradient

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"]


def conv2d(
    x: NDArray[Any],
    w: NDArray[Any],
    b: NDArray[Any] | None = None,
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the cross-correlation; see `emoref_kernels.cpu.conv.conv2d`."""
    return convolve(x, w, b, stride, padding, groups, mode="exact")


def conv2d_input_grad(
    dy: NDArray[Any],
    w: NDArray[Any],
    x_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the gradient of the input; see `emoref_kernels.cpu.conv.conv2d_input_grad`."""
    return input_gradient(dy, w, x_shape, stride, padding, groups, mode="exact")


def conv2d_weight_grad(
    dy: NDArray[Any],
    x: NDArray[Any],
    w_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the gradient of the filters; see `emoref_kernels.cpu.conv.conv2d_weight_grad`."""
    return weight_gradient(dy, x, w_shape, stride, padding, groups, mode="exact")
