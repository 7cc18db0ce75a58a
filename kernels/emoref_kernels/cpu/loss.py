"""Softmax, the cross-entropy loss and the distillation loss, compiled with Numba for float32.

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


def softmax_cross_entropy(logits: Array, labels: NDArray[np.integer], smoothing: float = 0.0) -> float:
    """Return the mean cross-entropy; see `emoref_kernels.reference.softmax_cross_entropy`."""
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=False)
    log_sum = _softmax_and_log_sum(logits)[1]
    chosen = logits[np.arange(len(labels)), labels]
    if smoothing:
        chosen = (1.0 - smoothing) * chosen + smoothing * logits.mean(axis=1, dtype=np.float64)
    return float(np.mean(log_sum - chosen))


def softmax_cross_entropy_grad(logits: Array, labels: NDArray[np.integer], smoothing: float = 0.0) -> Array:
    """Return the gradient of the mean loss; see `emoref_kernels.reference.softmax_cross_entropy_grad`."""
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=False)
    dlogits = _softmax_and_log_sum(logits)[0]
    dlogits[np.arange(len(labels)), labels] -= 1.0 - float(smoothing)
    if smoothing:
        dlogits -= float(smoothing) / logits.shape[1]
    dlogits /= len(labels)
    return dlogits


def distillation_loss(logits: Array, teacher_logits: Array, temperature: float = 1.0) -> float:
    """Compare with a teacher's probabilities; see `emoref_kernels.reference.distillation_loss`."""
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=False)
    z, t = logits / np.float32(temperature), teacher_logits / np.float32(temperature)
    log_p = z - _softmax_and_log_sum(z)[1][:, None]
    q, log_sum = _softmax_and_log_sum(t)
    return float(temperature**2 * np.mean(np.sum(q * (t - log_sum[:, None] - log_p), axis=1)))


def distillation_loss_grad(logits: Array, teacher_logits: Array, temperature: float = 1.0) -> Array:
    """Return the gradient in the logits; see `emoref_kernels.reference.distillation_loss_grad`."""
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=False)
    dlogits = _softmax_and_log_sum(logits / np.float32(temperature))[0]
    dlogits -= _softmax_and_log_sum(teacher_logits / np.float32(temperature))[0]
    dlogits *= np.float32(temperature / len(logits))
    return dlogits
