"""Checks of the arguments of batch normalisation, of operations value by value, of losses and optimisers.

They are made once for every back end, in the manner of `emoref_kernels.checks`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_dimensions, check_float, check_shape
from .errors import DtypeError, ShapeError

# ----------------------------------------------------------------------------------- batch normalisation


def check_batch_norm(
    x: NDArray[Any],
    vectors: Mapping[str, NDArray[Any]],
    dy: NDArray[Any] | None = None,
    y: NDArray[Any] | None = None,
    *,
    more: NDArray[Any] | None = None,
    shortcut: NDArray[Any] | None = None,
    batch_statistics: bool = False,
    float64: bool,
) -> None:
    """Check the arguments of the batch normalisations.

    Parameters
    ----------
    x
        (N, C, H, W) or (N, C).
    vectors
        Name and array of each argument that has one value a channel.
    dy
        Gradient of the result, of x's shape; None where there is none.
    y
        Result of the ReLU behind, of x's shape; None where there is none.
    more
        Second term of the gradient of the result, of x's shape; None where there is none.
    shortcut
        What is added to the result, of x's shape; None where there is none.
    batch_statistics
        Whether statistics of the batch are computed, so that it must not be empty.
    float64
        Whether the back end computes in float64 too.
    """
    alike = {"dy": dy, "y": y, "more": more, "shortcut": shortcut}
    check_float({"x": x, **vectors, **alike}, float64=float64)
    check_dimensions("x", x, (2, 4))
    for name, vector in vectors.items():
        check_shape(name, vector, (x.shape[1],), f"one value a channel of x {x.shape}")
    for name, array in alike.items():
        if array is not None:
            check_shape(name, array, x.shape, "the shape of x")
    if batch_statistics and x.shape[0] == 0:
        raise ShapeError(f"x has shape {x.shape}; an empty batch has no mean and no variance")


def check_local_response_norm(
    arrays: Mapping[str, NDArray[Any]], size: int, alpha: float, beta: float, k: float, *, float64: bool
) -> None:
    """Check the arguments of ``local_response_norm`` and its gradient: x (N, C, H, W), constants in range."""
    check_same_shape(arrays, float64=float64)
    check_dimensions("x", arrays["x"], (4,))
    if not isinstance(size, int | np.integer) or size < 1 or size % 2 == 0:
        raise ShapeError(f"size is {size!r}; it must be an odd integer, so that the window has a middle")
    for name, value in {"alpha": alpha, "beta": beta}.items():
        if not 0.0 <= value < np.inf:
            raise ShapeError(f"{name} is {value}; it must be at least 0 and finite")
    if not 0.0 < k < np.inf:
        raise ShapeError(f"k is {k}; it must be above 0 and finite")


# ---------------------------------------------------------------------------------------- elementwise


def check_same_shape(arrays: Mapping[str, NDArray[Any]], *, float64: bool) -> None:
    """Check arrays of any one shape, for operations that work value by value."""
    check_float(arrays, float64=float64)
    (first_name, first), *others = arrays.items()
    for name, array in others:
        check_shape(name, array, first.shape, f"the shape of {first_name}")


def check_concat(arrays: Sequence[NDArray[Any]], *, float64: bool) -> None:
    """Check the arguments of ``concat``: arrays alike in all extents but the channels (axis 1)."""
    if not arrays:
        raise ShapeError("concat got no array; it needs at least one")
    check_float({f"arrays[{index}]": array for index, array in enumerate(arrays)}, float64=float64)
    first = arrays[0]
    check_dimensions("arrays[0]", first, (2, 4))
    for index, array in enumerate(arrays):
        expected = (first.shape[0], *array.shape[1:2], *first.shape[2:])
        check_shape(f"arrays[{index}]", array, expected, "alike arrays[0] in all extents but the channels")


def check_concat_grad(dy: NDArray[Any], channels: Sequence[int], *, float64: bool) -> None:
    """Check the arguments of ``concat_grad``: dy (N, sum of channels, ...)."""
    check_float({"dy": dy}, float64=float64)
    check_dimensions("dy", dy, (2, 4))
    if any(count < 1 for count in channels) or sum(channels) != dy.shape[1]:
        raise ShapeError(
            f"channels {tuple(channels)} must be positive and sum to the {dy.shape[1]} of dy {dy.shape}"
        )


def check_dropout(name: str, array: NDArray[Any], keep: NDArray[Any], rate: float, *, float64: bool) -> float:
    """Check the arguments of ``dropout`` and its gradient, and return the factor 1 / (1 - rate)."""
    check_float({name: array}, float64=float64)
    if not isinstance(keep, np.ndarray) or keep.dtype != np.bool_:
        kind = keep.dtype if isinstance(keep, np.ndarray) else type(keep).__name__
        raise DtypeError(f"keep is {kind}; it must be an array of bool, True where a value is kept")
    check_shape("keep", keep, array.shape, f"the shape of {name}")
    if not 0.0 <= rate < 1.0:
        raise ShapeError(f"rate is {rate}; it must be at least 0 and below 1")
    return 1.0 / (1.0 - float(rate))


# ----------------------------------------------------------------------------------------------- loss


def check_logits(logits: NDArray[Any], *, float64: bool) -> None:
    """Check the argument of ``softmax``: logits (N, K)."""
    check_float({"logits": logits}, float64=float64)
    check_dimensions("logits", logits, (2,))


def check_cross_entropy(
    logits: NDArray[Any], labels: NDArray[Any], smoothing: float, *, float64: bool
) -> None:
    """Check the arguments of ``softmax_cross_entropy``: logits (N, K), labels (N,) in 0..K-1, N >= 1."""
    check_logits(logits, float64=float64)
    if not 0.0 <= smoothing < 1.0:
        raise ShapeError(f"smoothing is {smoothing}; it must be at least 0 and below 1")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DtypeError(f"labels is {kind}; it must be an array of integers")
    check_shape("labels", labels, (logits.shape[0],), f"one class a row of logits {logits.shape}")
    if labels.size == 0:
        raise ShapeError(f"logits have shape {logits.shape}; an empty batch has no mean loss")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise ShapeError(
            f"labels run from {low} to {high}; with logits {logits.shape} they must lie in "
            f"0..{logits.shape[1] - 1}"
        )


def check_distillation(
    logits: NDArray[Any], teacher_logits: NDArray[Any], temperature: float, *, float64: bool
) -> None:
    """Check the arguments of ``distillation_loss``: two arrays of logits (N, K), N >= 1, temperature > 0."""
    check_float({"logits": logits, "teacher_logits": teacher_logits}, float64=float64)
    check_dimensions("logits", logits, (2,))
    check_shape("teacher_logits", teacher_logits, logits.shape, "the shape of logits")
    if len(logits) == 0:
        raise ShapeError(f"logits have shape {logits.shape}; an empty batch has no mean loss")
    if not 0.0 < temperature < np.inf:
        raise ShapeError(f"temperature is {temperature}; it must be above 0 and finite")


# ----------------------------------------------------------------------------------------- optimisers


def check_update(arrays: Mapping[str, NDArray[Any]], written: Sequence[str], *, float64: bool) -> None:
    """Check the arrays of an optimiser's step: one shape, one dtype, and writeable where written."""
    check_same_shape(arrays, float64=float64)
    for name in written:
        if not arrays[name].flags.writeable:
            raise ShapeError(f"{name} is read-only; the update writes into it, so pass an array of your own")


def check_step(step: int) -> None:
    """Raise ShapeError unless `step`, which counts from 1, is at least 1."""
    if step < 1:
        raise ShapeError(f"step is {step}; steps count from 1")
