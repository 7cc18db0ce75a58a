"""Softmax and the cross-entropy loss, compiled with Numba for float32.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.loss`, except
that float64 raises DtypeError. Each row is owned by one thread.
"""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import layer_checks
from emoref_kernels.cpu.jit import jit

Array = NDArray[Any]


@jit(parallel=True)
def _softmax(logits, p, log_sum):
    """Write each row's softmax into p, and log(sum of exp(row)) into log_sum (float64)."""
    rows, classes = logits.shape
    for n in prange(rows):
        top = logits[n, 0]
        for k in range(classes):
            value = logits[n, k]
            if (value > top) | (value != value):
                top = value
        total = 0.0
        for k in range(classes):
            power = np.exp(logits[n, k] - top)
            p[n, k] = power
            total += power
        scale = np.float32(1.0 / total)
        for k in range(classes):
            p[n, k] *= scale
        log_sum[n] = top + np.log(total)


def _softmax_and_log_sum(logits: Array) -> tuple[Array, Array]:
    p = np.empty(logits.shape, dtype=np.float32)
    log_sum = np.empty(len(logits), dtype=np.float64)
    _softmax(np.ascontiguousarray(logits), p, log_sum)
    return p, log_sum


def softmax(logits: Array) -> Array:
    """Turn scores into probabilities; see `emoref_kernels.reference.softmax`."""
    layer_checks.check_logits(logits, float64=False)
    return _softmax_and_log_sum(logits)[0]


def softmax_cross_entropy(logits: Array, labels: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy; see `emoref_kernels.reference.softmax_cross_entropy`."""
    layer_checks.check_cross_entropy(logits, labels, float64=False)
    log_sum = _softmax_and_log_sum(logits)[1]
    return float(np.mean(log_sum - logits[np.arange(len(labels)), labels]))


def softmax_cross_entropy_grad(logits: Array, labels: NDArray[np.integer]) -> Array:
    """Return the gradient of the mean loss; see `emoref_kernels.reference.softmax_cross_entropy_grad`."""
    layer_checks.check_cross_entropy(logits, labels, float64=False)
    dlogits = _softmax_and_log_sum(logits)[0]
    dlogits[np.arange(len(labels)), labels] -= 1
    dlogits /= len(labels)
    return dlogits
