"""Convolution of channels-last maps and its gradients: which kernel computes what.

Arguments, results and errors are those of the functions of the same names in `emoref_kernels.reference`, but
arrays (N, C, H, W) come out as :class:`~emoref_kernels.cpu.maps.Maps`; such arrays go in as either.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels import checks
from emoref_kernels.checks import PairLike
from emoref_kernels.cpu import conv
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.maps import Maps, as_maps
from emoref_kernels.cpu.maps_depthwise import depthwise_conv, depthwise_input_grad, depthwise_weight_grad
from emoref_kernels.cpu.maps_direct import direct_conv, direct_input_grad
from emoref_kernels.cpu.maps_weight import direct_weight_grad, maps_bias_grad
from emoref_kernels.cpu.planner import plan_convolution
from emoref_kernels.cpu.winograd import winograd_conv, winograd_weight_grad
from emoref_kernels.cpu.winograd_filters import transform_filters

__all__ = ["NOTHING", "as_array", "conv2d", "conv2d_bias_grad", "conv2d_input_grad", "conv2d_weight_grad"]

Array = NDArray[Any]

NOTHING = np.zeros(0, np.float32)
"""What kernels take for an array that is left out."""


def as_array(values: Any) -> Array:
    """Return maps, or an array, as an array: what the functions of planes are written for."""
    return np.asarray(values)


@lru_cache(maxsize=4096)
def _winograd_outputs(
    channels: int,
    filters: int,
    extents: tuple[int, int],
    kernel: tuple[int, int],
    how: tuple[Any, ...],
    x_extents: tuple[int, int] | None = None,
    pads: tuple[int, int] = (0, 0),
) -> int:
    """Return m where Winograd's F(m x m, 3x3) computes a product, else 0; larger filters go direct here.

    Where the extents of what the filters slide over are given, a direct product that multiplies no more is
    taken instead. The answer is remembered: a training step asks for the same few layers again and again.
    """
    if kernel != (3, 3):
        return 0
    outputs = plan_convolution(channels, filters, extents, kernel, *how).outputs
    if outputs and x_extents is not None and _fewer_taps(outputs, extents, x_extents, pads):
        return 0
    return outputs


def _fewer_taps(outputs: int, extents: tuple[int, ...], x_extents: tuple[int, ...], pads: Any) -> bool:
    """Return whether the direct product multiplies no more than F(m x m, 3x3) does: it skips the padding.

    On a map of 2 x 2 each pixel has four of its nine taps, so both multiply 16 times, one without transforms.
    """
    tiles = taps = 1
    for extent, x_extent, pad in zip(extents, x_extents, pads, strict=True):
        tiles *= -(-extent // outputs) * (outputs + 2)
        taps *= sum(max(min(i + 3 - pad, x_extent) - max(i - pad, 0), 0) for i in range(extent))
    return taps <= tiles


def _is_depthwise(channels: int, filters: int, groups: int) -> bool:
    return groups == channels == filters and channels > 1


def conv2d(
    x: Any,
    w: Array,
    b: Array | None = None,
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
    *,
    mode: str,
) -> Maps:
    """Convolve maps; see `emoref_kernels.reference.conv2d`. `mode` is that of the back end."""
    steps, pads, y_shape = checks.check_conv2d(x, w, b, stride, padding, groups, float64=False)
    x, y = as_maps(x), Maps.empty(y_shape)
    bias = NOTHING if b is None else flat(b)
    filters, how = w.shape[0], (steps, pads, groups, mode)
    if y.size == 0:
        return y
    outputs = _winograd_outputs(x.channels, filters, y_shape[2:], w.shape[2:], how, x.shape[2:], pads)
    if outputs:
        u = transform_filters(flat(w), w.shape, outputs, turned=False, kept=True)
        winograd_conv(x.flat, x.shape, u, filters, bias, pads, outputs, y.flat, channels_last=True)
    elif _is_depthwise(x.channels, filters, groups):
        depthwise_conv(x.flat, x.shape, w, bias, steps, pads, y.flat, y_shape)
    elif groups == 1:
        direct_conv(x.flat, x.shape, x.stride, w, bias, steps, pads, y.flat, y_shape, y.stride)
    else:
        return as_maps(conv.convolve(as_array(x), w, b, steps, pads, groups, mode))
    return y


def conv2d_input_grad(
    dy: Any,
    w: Array,
    x_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
    *,
    mode: str,
) -> Maps:
    """Return the gradient of the input; see `emoref_kernels.reference.conv2d_input_grad`."""
    steps, pads, _ = checks.check_conv2d_input_grad(dy, w, x_shape, stride, padding, groups, float64=False)
    dy, dx = as_maps(dy), Maps.empty(x_shape)
    if dx.size == 0:
        return dx
    how = (steps, pads, groups, mode)
    around = 2 - pads[0], 2 - pads[1]
    extents = dx.shape[2:], w.shape[2:], how, dy.shape[2:], around
    outputs = _winograd_outputs(dy.channels, dx.channels, *extents)
    if outputs:
        u = transform_filters(flat(w), w.shape, outputs, turned=True, kept=True)
        winograd_conv(
            dy.flat, dy.shape, u, dx.channels, NOTHING, around, outputs, dx.flat, channels_last=True
        )
    elif _is_depthwise(dx.channels, dy.channels, groups):
        depthwise_input_grad(dy.flat, dy.shape, w, steps, pads, dx.flat, dx.shape)
    elif groups == 1:
        direct_input_grad(dy.flat, dy.shape, dy.stride, w, steps, pads, dx.flat, dx.shape, dx.stride)
    else:
        return as_maps(conv.input_gradient(as_array(dy), w, x_shape, steps, pads, groups, mode))
    return dx


def conv2d_weight_grad(
    dy: Any,
    x: Any,
    w_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
    *,
    mode: str,
) -> Array:
    """Return the gradient of the weights; see `emoref_kernels.reference.conv2d_weight_grad`."""
    steps, pads, y_shape = checks.check_conv2d_weight_grad(
        dy, x, w_shape, stride, padding, groups, float64=False
    )
    filters, channels, kernel_h, kernel_w = (int(extent) for extent in w_shape)
    dw = np.zeros((filters, channels, kernel_h, kernel_w), np.float32)
    dy, x = as_maps(dy), as_maps(x)
    if x.size == 0:
        return dw
    how = (steps, pads, groups, mode)
    if outputs := _winograd_outputs(x.channels, filters, y_shape[2:], (kernel_h, kernel_w), how):
        winograd_weight_grad(
            dy.flat, x.flat, x.shape, filters, pads, outputs, dw.reshape(-1), channels_last=True
        )
    elif _is_depthwise(x.channels, filters, groups):
        depthwise_weight_grad(dy.flat, dy.shape, x.flat, x.shape, steps, pads, dw)
    elif groups == 1:
        direct_weight_grad(dy.flat, dy.shape, dy.stride, x.flat, x.shape, x.stride, steps, pads, dw)
    else:
        return conv.weight_gradient(as_array(dy), as_array(x), w_shape, steps, pads, groups, mode)
    return dw


def conv2d_bias_grad(dy: Any) -> Array:
    """Return the gradient of the bias; see `emoref_kernels.reference.conv2d_bias_grad`."""
    checks.check_conv2d_bias_grad(dy, float64=False)
    dy, db = as_maps(dy), np.zeros(dy.shape[1], np.float32)
    if dy.size:
        maps_bias_grad(dy.flat, dy.shape, dy.stride, db)
    return db
