"""Softmax, the cross-entropy loss and the distillation loss, in plain NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layer_checks

Array = NDArray[Any]


def _shifted(logits: Array) -> Array:
    """Subtract each row's maximum, which leaves the softmax as it is and keeps exp from overflowing."""
    # A row with an infinite maximum has no softmax; it becomes NaN, which is the answer and no accident.
    with np.errstate(invalid="ignore"):
        return logits - logits.max(axis=1, keepdims=True)


def softmax(logits: Array) -> Array:
    """Turn scores into probabilities: ``p[n, k] = exp(z[n, k]) / sum over j of exp(z[n, j])``.

    Parameters
    ----------
    logits
        Scores z (N, K).

    Returns
    -------
    ndarray
        (N, K); each row sums to 1. A row with a NaN is NaN throughout.

    Raises
    ------
    ShapeError
        If logits have not two dimensions.
    DtypeError
        If logits are neither float32 nor float64.
    """
    layer_checks.check_logits(logits, float64=True)
    powers = np.exp(_shifted(logits))
    return powers / powers.sum(axis=1, keepdims=True)


def softmax_cross_entropy(logits: Array, labels: NDArray[np.integer], smoothing: float = 0.0) -> float:
    """Return the mean cross-entropy of softmax probabilities and labels.

    ``loss = mean over n of (log(sum over k of exp(z[n, k])) - z[n, label[n]])``, computed in float64. With
    label smoothing (Szegedy et al. 2016, section 7) the true class counts 1 - smoothing, and the rest is
    spread over all K classes, the true one included: the last term becomes
    ``(1 - smoothing) z[n, label[n]] + smoothing * mean over k of z[n, k]``.

    Parameters
    ----------
    logits
        Scores z (N, K).
    labels
        Class of each example (N,), integers in 0..K-1.

    smoothing
        Share of the target that is spread evenly over all classes, in [0, 1).

    Returns
    -------
    float
        Mean loss in nats; NaN if any score is NaN.

    Raises
    ------
    ShapeError
        If the sizes do not fit together, the batch is empty, or a label is out of range.
    DtypeError
        If logits are neither float32 nor float64, or labels no integers.
    """
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=True)
    shifted = _shifted(logits.astype(np.float64))
    chosen = shifted[np.arange(len(labels)), labels]
    if smoothing:
        chosen = (1.0 - smoothing) * chosen + smoothing * shifted.mean(axis=1)
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def softmax_cross_entropy_grad(logits: Array, labels: NDArray[np.integer], smoothing: float = 0.0) -> Array:
    """Return the gradient of the mean loss in the logits.

    ``(p[n, k] - (1 - smoothing) [k = label[n]] - smoothing / K) / N``.

    Parameters
    ----------
    logits
        Scores z (N, K).
    labels
        Class of each example (N,), integers in 0..K-1.
    smoothing
        As given to ``softmax_cross_entropy``.

    Returns
    -------
    ndarray
        (N, K).

    Raises
    ------
    ShapeError
        If the sizes do not fit together, the batch is empty, or a label is out of range.
    DtypeError
        If logits are neither float32 nor float64, or labels no integers.
    """
    layer_checks.check_cross_entropy(logits, labels, smoothing, float64=True)
    dlogits = softmax(logits)
    dlogits[np.arange(len(labels)), labels] -= 1.0 - float(smoothing)
    if smoothing:
        dlogits -= float(smoothing) / logits.shape[1]
    return dlogits / len(labels)


def distillation_loss(logits: Array, teacher_logits: Array, temperature: float = 1.0) -> float:
    """Return how far softened probabilities are from a teacher's (Hinton et al. 2015, section 2).

    With p = softmax(logits / T) and q = softmax(teacher_logits / T) the loss is the mean over n of the
    Kullback-Leibler divergence, ``sum over k of q (log q - log p)``, times T^2, computed in float64. The
    paper states the cross-entropy, ``- sum of q log p``, which differs by a constant and has the same
    gradient; T^2 keeps the size of the gradient, which softening divides by about T^2.

    Parameters
    ----------
    logits
        Scores z of the student (N, K).
    teacher_logits
        Scores of the teacher (N, K).
    temperature
        T, above 0.

    Returns
    -------
    float
        Mean loss in nats times T^2; 0 where the probabilities agree; NaN if any score is NaN.

    Raises
    ------
    ShapeError
        If the sizes do not fit together, the batch is empty, or the temperature is not positive.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=True)
    log_p = _log_softmax(logits.astype(np.float64) / temperature)
    log_q = _log_softmax(teacher_logits.astype(np.float64) / temperature)
    return float(temperature**2 * np.mean(np.sum(np.exp(log_q) * (log_q - log_p), axis=1)))


def _log_softmax(logits: Array) -> Array:
    shifted = _shifted(logits)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def distillation_loss_grad(logits: Array, teacher_logits: Array, temperature: float = 1.0) -> Array:
    """Return the gradient of ``distillation_loss`` in the student's logits: ``T (p - q) / N``.

    Parameters
    ----------
    logits, teacher_logits, temperature
        As given to ``distillation_loss``.

    Returns
    -------
    ndarray
        (N, K).

    Raises
    ------
    ShapeError
        If the sizes do not fit together, the batch is empty, or the temperature is not positive.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_distillation(logits, teacher_logits, temperature, float64=True)
    temperature = float(temperature)
    return (softmax(logits / temperature) - softmax(teacher_logits / temperature)) * (
        temperature / len(logits)
    )
