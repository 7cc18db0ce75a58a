"""Checks of arguments, made once for every back end: the basics, convolution, linear layers and pooling.

The other operations' checks are in `emoref_kernels.layer_checks`, built on the basics here.

Each ``check_<operation>`` function looks at the arguments of one operation, raises
:class:`~emoref_kernels.errors.ShapeError` or :class:`~emoref_kernels.errors.DtypeError` with the offending
numbers, and returns what the operation needs to know (pairs of strides, the shape of the result). A back
end that computes in float32 alone passes ``float64=False``.

A batch may be empty; every other extent must be at least 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import DtypeError, ShapeError

Pair = tuple[int, int]
PairLike = int | Sequence[int]
Shape4 = tuple[int, int, int, int]


class Windows(NamedTuple):
    """How windows slide over a plane, and the shape that results."""

    stride: Pair
    padding: Pair
    y_shape: Shape4


class PoolWindows(NamedTuple):
    """How pooling windows slide over a plane, and the shape that results."""

    kernel: Pair
    stride: Pair
    padding: Pair
    y_shape: Shape4


# ------------------------------------------------------------------------------------------- basics

_SINGLE = np.dtype(np.float32)


def pair(value: PairLike, name: str, minimum: int = 0) -> Pair:
    """Read an integer, or a pair (height, width) of integers.

    Parameters
    ----------
    value
        One integer for both directions, or a sequence (height, width).
    name
        What the value is called in an error message.
    minimum
        Smallest value allowed.

    Returns
    -------
    tuple of int
        (height, width).

    Raises
    ------
    ShapeError
        If the value is neither, or is below `minimum`.
    """
    # The usual kinds first: a training step comes here dozens of times.
    items: Any = (value, value) if type(value) is int else value
    plain = type(items) is tuple and len(items) == 2 and type(items[0]) is type(items[1]) is int
    if plain and items[0] >= minimum <= items[1]:
        return items[0], items[1]
    items = (value, value) if isinstance(value, int | np.integer) else value
    if (
        not isinstance(items, Sequence | np.ndarray)
        or len(items) != 2
        or not all(isinstance(item, int | np.integer) and not isinstance(item, bool) for item in items)
    ):
        raise ShapeError(f"{name} is {value!r}; it must be an integer or a pair (height, width) of integers")
    height, width = int(items[0]), int(items[1])
    if height < minimum or width < minimum:
        raise ShapeError(f"{name} is {value!r}; it must be at least {minimum}")
    return height, width


def shape_of(value: Sequence[int], length: int, name: str) -> tuple[int, ...]:
    """Read a shape of `length` integers whose extents after the first are at least 1.

    Raises
    ------
    ShapeError
        If the value is no such shape.
    """
    try:
        shape = tuple(int(extent) for extent in value)
    except (TypeError, ValueError):
        raise ShapeError(f"{name} is {value!r}; it must be a shape of {length} integers") from None
    if len(shape) != length:
        raise ShapeError(f"{name} is {shape}, of {len(shape)} dimensions; it must have {length}")
    if shape[0] < 0 or any(extent < 1 for extent in shape[1:]):
        raise ShapeError(f"{name} is {shape}; every extent but the batch must be at least 1")
    return shape


def check_float(arrays: Mapping[str, NDArray[Any] | None], *, float64: bool) -> np.dtype[Any]:
    """Check that all arrays are NumPy arrays of one floating dtype that the back end computes with.

    Parameters
    ----------
    arrays
        Name of each argument and its array; None stands for an argument that was left out.
    float64
        Whether the back end computes in float64 too.

    Returns
    -------
    numpy.dtype
        The common dtype.

    Raises
    ------
    DtypeError
        If an argument is not an array, has a dtype that the back end does not know, or differs in dtype
        from the first.
    """
    first_name, dtype = "", None
    for name, array in arrays.items():
        if array is None:
            continue
        # Maps, and arrays of a device, come from the back end itself.
        if not isinstance(array, np.ndarray) and not getattr(array, "from_backend", False):
            raise DtypeError(f"{name} is a {type(array).__name__}; it must be a NumPy array")
        if dtype is None:
            first_name, dtype = name, array.dtype
            if dtype is _SINGLE:
                continue
            if dtype == np.float64 and not float64:
                raise DtypeError(
                    f"{name} is float64, and this back end computes in float32; "
                    'convert it with astype("float32"), or use load_backend("reference")'
                )
            if dtype not in (np.float32, np.float64):
                allowed = "float32 or float64" if float64 else "float32"
                raise DtypeError(f"{name} is {dtype}; it must be {allowed}")
        elif array.dtype is not dtype and array.dtype != dtype:
            raise DtypeError(f"{name} is {array.dtype} but {first_name} is {dtype}; they must be equal")
    if dtype is None:
        raise DtypeError("no array was given")
    return dtype


def check_shape(name: str, array: NDArray[Any], expected: Sequence[int], reason: str) -> None:
    """Raise ShapeError unless `array` has the shape `expected`; `reason` says why it must."""
    if array.shape != tuple(expected):
        raise ShapeError(f"{name} has shape {array.shape}; it must be {tuple(expected)}, {reason}")


def check_dimensions(name: str, array: NDArray[Any], allowed: Sequence[int]) -> None:
    """Raise ShapeError unless `array` has one of the allowed numbers of dimensions and no empty extent.

    Only the first extent, the batch, may be 0.
    """
    if array.ndim not in allowed:
        wanted = " or ".join(str(count) for count in allowed)
        raise ShapeError(f"{name} has shape {array.shape}, of {array.ndim} dimensions; it must have {wanted}")
    if any(extent < 1 for extent in array.shape[1:]):
        raise ShapeError(f"{name} has shape {array.shape}; every extent but the batch must be at least 1")


def _output_extent(extent: int, kernel: int, stride: int, padding: int, where: str) -> int:
    """Count the windows along one direction: floor((extent + 2 padding - kernel) / stride) + 1."""
    padded = extent + 2 * padding
    if kernel > padded:
        raise ShapeError(
            f"a window of {where} {kernel} does not fit into {extent} with padding {padding} on both sides "
            f"({padded} in all)"
        )
    return (padded - kernel) // stride + 1


# ---------------------------------------------------------------------------------------- convolution


def conv2d_output_shape(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> Shape4:
    """Return the shape of ``conv2d``'s result.

    Parameters
    ----------
    x_shape
        (N, C, H, W) of the input.
    w_shape
        (O, C / groups, R, S) of the weights.
    stride, padding
        An integer, or a pair (height, width).
    groups
        Number of groups; divides C and O.

    Returns
    -------
    tuple of int
        (N, O, OH, OW), where OH = floor((H + 2 padding - R) / stride) + 1, and OW likewise.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    """
    batch, channels, height, width = shape_of(x_shape, 4, "the shape of x")
    filters, depth, kernel_height, kernel_width = shape_of(w_shape, 4, "the shape of w")
    stride_height, stride_width = pair(stride, "stride", minimum=1)
    padding_height, padding_width = pair(padding, "padding")
    if not isinstance(groups, int | np.integer) or groups < 1:
        raise ShapeError(f"groups is {groups!r}; it must be an integer of at least 1")
    if filters < 1:
        raise ShapeError(f"w has shape {tuple(w_shape)}; it must have at least one filter")
    if channels % groups or filters % groups:
        raise ShapeError(
            f"groups={groups} must divide both the {channels} channels of x {tuple(x_shape)} and the "
            f"{filters} filters of w {tuple(w_shape)}"
        )
    if depth * groups != channels:
        raise ShapeError(
            f"w {tuple(w_shape)} has {depth} channels a filter; with x {tuple(x_shape)} and groups={groups} "
            f"it must have {channels // groups}"
        )
    out_height = _output_extent(height, kernel_height, stride_height, padding_height, "height")
    out_width = _output_extent(width, kernel_width, stride_width, padding_width, "width")
    return batch, filters, out_height, out_width


def check_conv2d(
    x: NDArray[Any],
    w: NDArray[Any],
    b: NDArray[Any] | None,
    stride: PairLike,
    padding: PairLike,
    groups: int,
    *,
    float64: bool,
) -> Windows:
    """Check the arguments of ``conv2d``."""
    check_float({"x": x, "w": w, "b": b}, float64=float64)
    y_shape = conv2d_output_shape(x.shape, w.shape, stride, padding, groups)
    if b is not None:
        check_shape("b", b, (y_shape[1],), f"one value a filter of w {w.shape}")
    return Windows(pair(stride, "stride"), pair(padding, "padding"), y_shape)


def check_conv2d_input_grad(
    dy: NDArray[Any],
    w: NDArray[Any],
    x_shape: Sequence[int],
    stride: PairLike,
    padding: PairLike,
    groups: int,
    *,
    float64: bool,
) -> Windows:
    """Check the arguments of ``conv2d_input_grad``."""
    check_float({"dy": dy, "w": w}, float64=float64)
    y_shape = conv2d_output_shape(x_shape, w.shape, stride, padding, groups)
    check_shape("dy", dy, y_shape, f"the shape of conv2d of x {tuple(x_shape)} and w {w.shape}")
    return Windows(pair(stride, "stride"), pair(padding, "padding"), y_shape)


def check_conv2d_weight_grad(
    dy: NDArray[Any],
    x: NDArray[Any],
    w_shape: Sequence[int],
    stride: PairLike,
    padding: PairLike,
    groups: int,
    *,
    float64: bool,
) -> Windows:
    """Check the arguments of ``conv2d_weight_grad``."""
    check_float({"dy": dy, "x": x}, float64=float64)
    y_shape = conv2d_output_shape(x.shape, w_shape, stride, padding, groups)
    check_shape("dy", dy, y_shape, f"the shape of conv2d of x {x.shape} and w {tuple(w_shape)}")
    return Windows(pair(stride, "stride"), pair(padding, "padding"), y_shape)


def check_conv2d_bias_grad(dy: NDArray[Any], *, float64: bool) -> None:
    """Check the argument of ``conv2d_bias_grad``."""
    check_float({"dy": dy}, float64=float64)
    check_dimensions("dy", dy, (4,))


# --------------------------------------------------------------------------------------------- linear


def check_linear(x: NDArray[Any], w: NDArray[Any], b: NDArray[Any] | None, *, float64: bool) -> None:
    """Check the arguments of ``linear``: x (N, I), w (O, I), b (O,)."""
    check_float({"x": x, "w": w, "b": b}, float64=float64)
    check_dimensions("x", x, (2,))
    check_dimensions("w", w, (2,))
    if x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"x {x.shape} has {x.shape[1]} features, but w {w.shape} is for {w.shape[1]}; they must be equal"
        )
    if b is not None:
        check_shape("b", b, (w.shape[0],), f"one value a unit of w {w.shape}")


def check_linear_input_grad(dy: NDArray[Any], w: NDArray[Any], *, float64: bool) -> None:
    """Check the arguments of ``linear_input_grad``: dy (N, O), w (O, I)."""
    check_float({"dy": dy, "w": w}, float64=float64)
    check_dimensions("dy", dy, (2,))
    check_dimensions("w", w, (2,))
    if dy.shape[1] != w.shape[0]:
        raise ShapeError(
            f"dy {dy.shape} has {dy.shape[1]} units, but w {w.shape} has {w.shape[0]}; they must be equal"
        )


def check_linear_weight_grad(dy: NDArray[Any], x: NDArray[Any], *, float64: bool) -> None:
    """Check the arguments of ``linear_weight_grad``: dy (N, O), x (N, I)."""
    check_float({"dy": dy, "x": x}, float64=float64)
    check_dimensions("dy", dy, (2,))
    check_dimensions("x", x, (2,))
    if dy.shape[0] != x.shape[0]:
        raise ShapeError(
            f"dy {dy.shape} has a batch of {dy.shape[0]}, but x {x.shape} one of {x.shape[0]}; "
            "they must be equal"
        )


def check_linear_bias_grad(dy: NDArray[Any], *, float64: bool) -> None:
    """Check the argument of ``linear_bias_grad``."""
    check_float({"dy": dy}, float64=float64)
    check_dimensions("dy", dy, (2,))


# -------------------------------------------------------------------------------------------- pooling


def pool2d_output_shape(
    x_shape: Sequence[int], kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Shape4:
    """Return the shape of a pooling operation's result.

    Parameters
    ----------
    x_shape
        (N, C, H, W) of the input.
    kernel
        Window size: an integer, or a pair (height, width).
    stride
        Step of the windows; None stands for `kernel`.
    padding
        Rows and columns added on each side; at most half of `kernel`.

    Returns
    -------
    tuple of int
        (N, C, OH, OW), where OH = floor((H + 2 padding - kernel) / stride) + 1, and OW likewise.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    """
    return pool2d_windows(x_shape, kernel, stride, padding).y_shape


def pool2d_windows(
    x_shape: Sequence[int], kernel: PairLike, stride: PairLike | None, padding: PairLike
) -> PoolWindows:
    """Return kernel, stride and padding as pairs, and the shape of the result (`pool2d_output_shape`)."""
    batch, channels, height, width = shape_of(x_shape, 4, "the shape of x")
    kernel = pair(kernel, "kernel", minimum=1)
    stride = kernel if stride is None else pair(stride, "stride", minimum=1)
    padding = pair(padding, "padding")
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise ShapeError(f"padding {padding} must be at most half of the pooling kernel {kernel}")
    out_height = _output_extent(height, kernel[0], stride[0], padding[0], "height")
    out_width = _output_extent(width, kernel[1], stride[1], padding[1], "width")
    return PoolWindows(kernel, stride, padding, (batch, channels, out_height, out_width))


def check_pool2d(
    x: NDArray[Any], kernel: PairLike, stride: PairLike | None, padding: PairLike, *, float64: bool
) -> PoolWindows:
    """Check the arguments of ``max_pool2d`` and ``avg_pool2d``."""
    check_float({"x": x}, float64=float64)
    return pool2d_windows(x.shape, kernel, stride, padding)


def check_max_pool2d_grad(
    dy: NDArray[Any],
    x: NDArray[Any],
    kernel: PairLike,
    stride: PairLike | None,
    padding: PairLike,
    *,
    float64: bool,
) -> PoolWindows:
    """Check the arguments of ``max_pool2d_grad``."""
    check_float({"dy": dy, "x": x}, float64=float64)
    windows = pool2d_windows(x.shape, kernel, stride, padding)
    check_shape("dy", dy, windows.y_shape, f"the shape of max_pool2d of x {x.shape}")
    return windows


def check_avg_pool2d_grad(
    dy: NDArray[Any],
    x_shape: Sequence[int],
    kernel: PairLike,
    stride: PairLike | None,
    padding: PairLike,
    *,
    float64: bool,
) -> PoolWindows:
    """Check the arguments of ``avg_pool2d_grad``."""
    check_float({"dy": dy}, float64=float64)
    windows = pool2d_windows(x_shape, kernel, stride, padding)
    check_shape("dy", dy, windows.y_shape, f"the shape of avg_pool2d of x {tuple(x_shape)}")
    return windows


def check_global_avg_pool2d(x: NDArray[Any], *, float64: bool) -> None:
    """Check the argument of ``global_avg_pool2d``."""
    check_float({"x": x}, float64=float64)
    check_dimensions("x", x, (4,))


def check_global_avg_pool2d_grad(dy: NDArray[Any], x_shape: Sequence[int], *, float64: bool) -> Shape4:
    """Check the arguments of ``global_avg_pool2d_grad`` and return `x_shape` as a tuple."""
    check_float({"dy": dy}, float64=float64)
    batch, channels, height, width = shape_of(x_shape, 4, "the shape of x")
    check_shape("dy", dy, (batch, channels), f"one value a channel of x {tuple(x_shape)}")
    return batch, channels, height, width
