"""The fully connected layer and its gradients on the device.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.linear`, except
that float64 raises DtypeError.
"""

from typing import Any

from emoref_kernels import checks
from emoref_kernels.cuda.array import empty, on_device, returned
from emoref_kernels.cuda.product import product
from emoref_kernels.cuda.sums import row_sums

__all__ = ["linear", "linear_bias_grad", "linear_input_grad", "linear_weight_grad"]


def linear(x: Any, w: Any, b: Any = None) -> Any:
    """Multiply by weights and add a bias; see `emoref_kernels.reference.linear`."""
    checks.check_linear(x, w, b, float64=False)
    bias = None if b is None else on_device(b)
    shape = (1, x.shape[0], w.shape[0], x.shape[1])
    if not x.shape[0]:
        return returned(empty((0, w.shape[0])), x, w)
    y = product(on_device(x), on_device(w), shape, left_inner=True, right_inner=True, bias=bias)
    return returned(y.reshape(x.shape[0], w.shape[0]), x, w)


def linear_input_grad(dy: Any, w: Any) -> Any:
    """Return the gradient of ``linear`` in x; see `emoref_kernels.reference.linear_input_grad`."""
    checks.check_linear_input_grad(dy, w, float64=False)
    if not dy.shape[0]:
        return returned(empty((0, w.shape[1])), dy, w)
    shape = (1, dy.shape[0], w.shape[1], dy.shape[1])
    dx = product(on_device(dy), on_device(w), shape, left_inner=True)
    return returned(dx.reshape(dy.shape[0], w.shape[1]), dy, w)


def linear_weight_grad(dy: Any, x: Any) -> Any:
    """Return the gradient of ``linear`` in w; see `emoref_kernels.reference.linear_weight_grad`."""
    checks.check_linear_weight_grad(dy, x, float64=False)
    if not dy.shape[0]:
        return returned(empty((dy.shape[1], x.shape[1]), zero=True), dy, x)
    dw = product(on_device(dy), on_device(x), (1, dy.shape[1], x.shape[1], dy.shape[0]))
    return returned(dw.reshape(dy.shape[1], x.shape[1]), dy, x)


def linear_bias_grad(dy: Any) -> Any:
    """Return the gradient of ``linear`` in its bias; see `emoref_kernels.reference.linear_bias_grad`."""
    checks.check_linear_bias_grad(dy, float64=False)
    return returned(row_sums(on_device(dy), dy.shape[0], dy.shape[1], 1), dy)
