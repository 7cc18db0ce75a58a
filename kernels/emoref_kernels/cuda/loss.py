"""Softmax, the cross-entropy loss and the distillation loss on the device: one thread a row.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.loss`, except
that float64 raises DtypeError. Rows are short, so a row's sums run in order, in float32; the mean over rows
is formed on the host in float64.
"""

import math
from typing import Any

import numpy as np

from emoref_kernels import layer_checks
from emoref_kernels.cuda.array import empty, on_device, returned, upload
from emoref_kernels.cuda.jit import THREADS, device, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = [
    "distillation_loss",
    "distillation_loss_grad",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_grad",
]

_ZERO = np.float32(0)
_ONE = np.float32(1)


@device
def _largest(z, start, classes):
    """Return a row's largest value; NaN if there is one."""
    largest = z[start]
    for k in range(1, classes):
        value = z[start + k]
        if value > largest or value != value:
            largest = value
    return largest


@device
def _power_sum(z, start, classes, largest, inverse):
    """Return the sum of a row's powers, the largest being 1."""
    total = np.float32(0)
    for k in range(classes):
        total += math.exp((z[start + k] - largest) * inverse)
    return total


@kernel("ffnn")
def _softmax(z, p, rows, classes):
    row = cuda.grid(1)
    if row < rows:
        start = row * classes
        largest = _largest(z, start, classes)
        total = _power_sum(z, start, classes, largest, _ONE)
        for k in range(classes):
            p[start + k] = math.exp(z[start + k] - largest) / total


@kernel("fifnns")
def _row_losses(z, labels, losses, rows, classes, smoothing):
    row = cuda.grid(1)
    if row < rows:
        start = row * classes
        largest = _largest(z, start, classes)
        total = _power_sum(z, start, classes, largest, _ONE)
        mean = _ZERO
        for k in range(classes):
            mean += z[start + k] - largest
        mean /= np.float32(classes)
        chosen = z[start + labels[row]] - largest
        # A smoothing of 0 must not bring in infinities of other classes.
        if smoothing > _ZERO:
            chosen = (_ONE - smoothing) * chosen + smoothing * mean
        losses[row] = math.log(total) - chosen


@kernel("fifnns")
def _cross_entropy_grad(z, labels, dz, rows, classes, smoothing):
    row = cuda.grid(1)
    if row < rows:
        start = row * classes
        largest = _largest(z, start, classes)
        total = _power_sum(z, start, classes, largest, _ONE)
        count, spread = np.float32(rows), smoothing / np.float32(classes)
        for k in range(classes):
            target = spread
            if k == labels[row]:
                target += _ONE - smoothing
            dz[start + k] = (math.exp(z[start + k] - largest) / total - target) / count


@kernel("fffnns")
def _row_divergences(z, teacher, losses, rows, classes, inverse):
    row = cuda.grid(1)
    if row < rows:
        start = row * classes
        top_z, top_t = _largest(z, start, classes), _largest(teacher, start, classes)
        log_z = math.log(_power_sum(z, start, classes, top_z, inverse))
        log_t = math.log(_power_sum(teacher, start, classes, top_t, inverse))
        total = _ZERO
        for k in range(classes):
            log_p = (z[start + k] - top_z) * inverse - log_z
            log_q = (teacher[start + k] - top_t) * inverse - log_t
            total += math.exp(log_q) * (log_q - log_p)
        losses[row] = total


@kernel("fffnnss")
def _distillation_grad(z, teacher, dz, rows, classes, inverse, factor):
    row = cuda.grid(1)
    if row < rows:
        start = row * classes
        top_z, top_t = _largest(z, start, classes), _largest(teacher, start, classes)
        sum_z = _power_sum(z, start, classes, top_z, inverse)
        sum_t = _power_sum(teacher, start, classes, top_t, inverse)
        for k in range(classes):
            p = math.exp((z[start + k] - top_z) * inverse) / sum_z
            q = math.exp((teacher[start + k] - top_t) * inverse) / sum_t
            dz[start + k] = (p - q) * factor


def _blocks(rows: int) -> int:
    return -(-rows // THREADS)


def _labels(labels: Any) -> Any:
    return upload(np.ascontiguousarray(labels, dtype=np.int64))


def softmax(logits: Any) -> Any:
    """Turn scores into probabilities; see `emoref_kernels.reference.softmax`."""
    layer_checks.check_logits(logits, float64=False)
    p, (rows, classes) = empty(logits.shape), logits.shape
    _softmax(_blocks(rows), THREADS, on_device(logits), p, rows, classes)
    return returned(p, logits)


def softmax_cross_entropy(logits: Any, labels: Any, smoothing: float = 0.0) -> float:
    """Return the mean cross-entropy; see `emoref_kernels.reference.softmax_cross_entropy`."""
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=False)
    rows, classes = logits.shape
    losses = empty((rows,))
    _row_losses(_blocks(rows), THREADS, on_device(logits), _labels(labels), losses, rows, classes, smoothing)
    return float(np.asarray(losses).mean(dtype=np.float64))


def softmax_cross_entropy_grad(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """Return the gradient in the logits; see `emoref_kernels.reference.softmax_cross_entropy_grad`."""
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=False)
    dz, (rows, classes) = empty(logits.shape), logits.shape
    _cross_entropy_grad(
        _blocks(rows), THREADS, on_device(logits), _labels(labels), dz, rows, classes, smoothing
    )
    return returned(dz, logits)


def distillation_loss(logits: Any, teacher_logits: Any, temperature: float = 1.0) -> float:
    """Return the distance from a teacher; see `emoref_kernels.reference.distillation_loss`."""
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=False)
    losses, (rows, classes) = empty((logits.shape[0],)), logits.shape
    _row_divergences(
        _blocks(rows), THREADS, on_device(logits), on_device(teacher_logits), losses, rows, classes,
        1.0 / temperature,
    )  # fmt: skip
    return float(temperature**2 * np.asarray(losses).mean(dtype=np.float64))


def distillation_loss_grad(logits: Any, teacher_logits: Any, temperature: float = 1.0) -> Any:
    """Return the gradient in the student's logits; see `emoref_kernels.reference.distillation_loss_grad`."""
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=False)
    dz, (rows, classes) = empty(logits.shape), logits.shape
    _distillation_grad(
        _blocks(rows), THREADS, on_device(logits), on_device(teacher_logits), dz, rows, classes,
        1.0 / temperature, temperature / rows,
    )  # fmt: skip
    return returned(dz, logits, teacher_logits)
