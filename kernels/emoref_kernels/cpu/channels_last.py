"""The operations of a network on channels-last maps: the layout "channels-last" of the CPU back end.

Arguments, results and errors are those of the functions of the same names in `emoref_kernels.cpu`, but arrays
(N, C, H, W) come out as :class:`~emoref_kernels.cpu.maps.Maps`; such arrays go in as either. Features (N, C)
and parameters stay ordinary arrays. What has no kernel in this layout (convolution in groups that is not
depthwise, response normalisation, dropout of maps) is computed on planes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels import checks, layer_checks
from emoref_kernels.checks import PairLike
from emoref_kernels.cpu import elementwise, local_response, norm
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.maps import Maps, as_maps, pixel_stride
from emoref_kernels.cpu.maps_conv import (
    NOTHING,
    as_array,
    conv2d,
    conv2d_bias_grad,
    conv2d_input_grad,
    conv2d_weight_grad,
)
from emoref_kernels.cpu.maps_norm import (
    maps_norm_grad,
    maps_sum_grad,
    normalise_maps,
    normalise_maps_by_batch,
)
from emoref_kernels.cpu.maps_pool import (
    avg_pool_maps,
    avg_pool_maps_grad,
    global_avg_maps,
    global_avg_maps_grad,
    max_pool_maps,
    max_pool_maps_grad,
)
from emoref_kernels.cpu.simd import LANES

__all__ = ["operations"]

Array = NDArray[Any]
Values = Any
"""Maps, or an array: the checks, and the functions of planes, are written for arrays."""


def _on_planes(function: Callable[..., Any], *maps: Any, **settings: Any) -> Any:
    """Call a function of planes; what it returns of four dimensions becomes maps."""
    result = function(*(as_array(value) if isinstance(value, Maps) else value for value in maps), **settings)
    return as_maps(result) if isinstance(result, np.ndarray) and result.ndim == 4 else result


# ---------------------------------------------------------------------------------- batch normalisation


def _rows(x: Maps) -> tuple[int, int, int]:
    """Return how many pixels there are, their channels, and the floats of each."""
    images, channels, height, width = x.shape
    return images * height * width, channels, x.stride


def _batch_norm(x: Values, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Values:
    if x.ndim != 4:
        return norm.batch_norm(x, gamma, beta, mean, var, eps)
    layer_checks.check_batch_norm(x, {"gamma": gamma, "beta": beta, "mean": mean, "var": var}, float64=False)
    x, y = as_maps(x), Maps.empty(x.shape)
    vectors = flat(gamma), flat(beta), flat(mean), flat(var)
    normalise_maps(x.flat, *_rows(x), *vectors, float(eps), y.flat)
    return y


def _batch_norm_train(
    x: Values,
    gamma: Array,
    beta: Array,
    eps: float = 1e-5,
    relu: bool = False,
    shortcut: Values | None = None,
) -> tuple[Values, Array, Array]:
    if x.ndim != 4:
        return norm.batch_norm_train(x, gamma, beta, eps, relu, shortcut)
    vectors = {"gamma": gamma, "beta": beta}
    layer_checks.check_batch_norm(x, vectors, shortcut=shortcut, batch_statistics=True, float64=False)
    x, y = as_maps(x), Maps.empty(x.shape)
    mean, var = np.empty(x.channels, np.float32), np.empty(x.channels, np.float32)
    added = NOTHING if shortcut is None else as_maps(shortcut).flat
    normalise_maps_by_batch(
        x.flat, *_rows(x), flat(gamma), flat(beta), float(eps), added, relu, y.flat, mean, var
    )  # fmt: skip
    return y, mean, var


def _result_like(dy: Values, reuse: bool) -> Maps:
    """Return maps for a result: those of a gradient that may be written over, which a cache still holds."""
    return dy if reuse and isinstance(dy, Maps) else Maps.empty(dy.shape)


def _batch_norm_gradients(
    dy: Values,
    x: Values,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float,
    y: Values | None,
    by_batch: bool,
    reuse: bool = False,
) -> tuple[Values, Array, Array]:
    dx = _result_like(dy, reuse)
    dy, x = as_maps(dy), as_maps(x)
    rectified = NOTHING if y is None else as_maps(y).flat
    dgamma, dbeta = np.empty(x.channels, np.float32), np.empty(x.channels, np.float32)
    vectors = flat(gamma), flat(mean), flat(var)
    maps_norm_grad(
        dy.flat, x.flat, *_rows(x), *vectors, float(eps), rectified, by_batch, dx.flat, dgamma, dbeta
    )
    return dx, dgamma, dbeta


def _batch_norm_train_grad(
    dy: Values,
    x: Values,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    y: Values | None = None,
    reuse: bool = False,
) -> tuple[Values, Array, Array]:
    if x.ndim != 4:
        return norm.batch_norm_train_grad(dy, x, gamma, mean, var, eps, y)
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, batch_statistics=True, float64=False)
    return _batch_norm_gradients(dy, x, gamma, mean, var, eps, y, by_batch=True, reuse=reuse)


def _batch_norm_sum_grad(
    dy: Values,
    x: Values,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    y: Values | None = None,
    more: Values | None = None,
    reuse: bool = False,
) -> tuple[Values, Array, Array, Values]:
    if x.ndim != 4:
        return norm.batch_norm_sum_grad(dy, x, gamma, mean, var, eps, y, more)
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, more=more, batch_statistics=True, float64=False)
    if more is None or pixel_stride(x.shape[1]) % LANES:
        dy = dy if more is None else _by_values(elementwise.add, dy, more)
        dy = dy if y is None else _by_values(elementwise.relu_grad, dy, y)
        return *_batch_norm_gradients(dy, x, gamma, mean, var, eps, None, by_batch=True), dy
    reuse = reuse and dy is not more
    dx, dshortcut = _result_like(dy, reuse), _result_like(more, reuse)
    dy, more, x = as_maps(dy), as_maps(more), as_maps(x)
    rectified = NOTHING if y is None else as_maps(y).flat
    dgamma, dbeta = np.empty(x.channels, np.float32), np.empty(x.channels, np.float32)
    maps_sum_grad(
        dy.flat, more.flat, x.flat, *_rows(x), flat(gamma), flat(mean), flat(var), float(eps), rectified,
        dx.flat, dgamma, dbeta, dshortcut.flat,
    )  # fmt: skip
    return dx, dgamma, dbeta, dshortcut


def _batch_norm_grad(
    dy: Values, x: Values, gamma: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Values, Array, Array]:
    if x.ndim != 4:
        return norm.batch_norm_grad(dy, x, gamma, mean, var, eps)
    layer_checks.check_batch_norm(x, {"gamma": gamma, "mean": mean, "var": var}, dy, float64=False)
    return _batch_norm_gradients(dy, x, gamma, mean, var, eps, None, by_batch=False)


# ------------------------------------------------------------------------------- value by value, joining


def _by_values(function: Callable[..., Array], *arrays: Values) -> Values:
    """Call a function that works value by value and leaves zeros what they are."""
    if any(array.ndim != 4 for array in arrays):
        return function(*arrays)
    layer_checks.check_same_shape(dict(zip("abc", arrays, strict=False)), float64=False)
    maps = [as_maps(array) for array in arrays]
    return Maps(function(*(each.pixels for each in maps)), maps[0].channels)


def _concat(arrays: Sequence[Values]) -> Values:
    layer_checks.check_concat(arrays, float64=False)
    if arrays[0].ndim != 4:
        return elementwise.concat([as_array(array) for array in arrays])
    maps = [as_maps(array) for array in arrays]
    result = Maps.zeros((len(maps[0]), sum(each.channels for each in maps), *maps[0].shape[2:]))
    first = 0
    for each in maps:
        result.pixels[..., first : first + each.channels] = each.pixels[..., : each.channels]
        first += each.channels
    return result


def _concat_grad(dy: Values, channels: Sequence[int]) -> list[Any]:
    layer_checks.check_concat_grad(dy, channels, float64=False)
    if dy.ndim != 4:
        return list(elementwise.concat_grad(as_array(dy), channels))
    dy, parts, first = as_maps(dy), [], 0
    for count in channels:
        part = Maps.zeros((len(dy), count, *dy.shape[2:]))
        part.pixels[..., :count] = dy.pixels[..., first : first + count]
        parts.append(part)
        first += count
    return parts


# --------------------------------------------------------------------------------------------- pooling


def _max_pool2d(x: Values, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Maps:
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    x, y = as_maps(x), Maps.empty(windows.y_shape)
    max_pool_maps(x.flat, x.shape, x.stride, *windows[:3], y.flat, y.shape)
    return y


def _max_pool2d_grad(
    dy: Values, x: Values, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Maps:
    windows = checks.check_max_pool2d_grad(dy, x, kernel, stride, padding, float64=False)
    dy, x, dx = as_maps(dy), as_maps(x), Maps.empty(x.shape)
    max_pool_maps_grad(dy.flat, dy.shape, x.flat, x.shape, x.stride, *windows[:3], dx.flat)
    return dx


def _avg_pool2d(x: Values, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Maps:
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    x, y = as_maps(x), Maps.empty(windows.y_shape)
    avg_pool_maps(x.flat, x.shape, x.stride, *windows[:3], y.flat, y.shape)
    return y


def _avg_pool2d_grad(
    dy: Values,
    x_shape: Sequence[int],
    kernel: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
) -> Maps:
    windows = checks.check_avg_pool2d_grad(dy, x_shape, kernel, stride, padding, float64=False)
    dy, dx = as_maps(dy), Maps.empty(x_shape)
    avg_pool_maps_grad(dy.flat, dy.shape, dx.shape, dx.stride, *windows[:3], dx.flat)
    return dx


def _global_avg_pool2d(x: Values) -> Array:
    checks.check_global_avg_pool2d(x, float64=False)
    x, y = as_maps(x), np.empty(x.shape[:2], np.float32)
    global_avg_maps(x.flat, x.shape, x.stride, y)
    return y


def _global_avg_pool2d_grad(dy: Array, x_shape: Sequence[int]) -> Maps:
    dx = Maps.empty(checks.check_global_avg_pool2d_grad(dy, x_shape, float64=False))
    global_avg_maps_grad(dy, dx.shape, dx.stride, dx.flat)
    return dx


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "conv2d_bias_grad": conv2d_bias_grad,
    "batch_norm": _batch_norm,
    "batch_norm_train": _batch_norm_train,
    "batch_norm_train_grad": _batch_norm_train_grad,
    "batch_norm_sum_grad": _batch_norm_sum_grad,
    "batch_norm_grad": _batch_norm_grad,
    "local_response_norm": partial(_on_planes, local_response.local_response_norm),
    "local_response_norm_grad": partial(_on_planes, local_response.local_response_norm_grad),
    "relu": partial(_by_values, elementwise.relu),
    "relu_grad": partial(_by_values, elementwise.relu_grad),
    "tanh": partial(_by_values, elementwise.tanh),
    "tanh_grad": partial(_by_values, elementwise.tanh_grad),
    "add": partial(_by_values, elementwise.add),
    "concat": _concat,
    "concat_grad": _concat_grad,
    "dropout": partial(_on_planes, elementwise.dropout),
    "dropout_grad": partial(_on_planes, elementwise.dropout_grad),
    "max_pool2d": _max_pool2d,
    "max_pool2d_grad": _max_pool2d_grad,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_grad": _avg_pool2d_grad,
    "global_avg_pool2d": _global_avg_pool2d,
    "global_avg_pool2d_grad": _global_avg_pool2d_grad,
}

_MODED: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "conv2d_input_grad": conv2d_input_grad,
    "conv2d_weight_grad": conv2d_weight_grad,
}


def operations(mode: str) -> dict[str, Callable[..., Any]]:
    """Return the functions that take and give maps, by their names in the table of the back end.

    Parameters
    ----------
    mode : {"fast", "exact"}
        As of the back end, see :mod:`~emoref_kernels.cpu.planner`.
    """
    return {name: partial(function, mode=mode) for name, function in _MODED.items()} | _OPERATIONS
