"""Softmax and the cross-entropy loss, in plain NumPy."""

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


def softmax_cross_entropy(logits: Array, labels: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy of softmax probabilities and labels.

    ``loss = mean over n of (log(sum over k of exp(z[n, k])) - z[n, label[n]])``, computed in float64.

    Parameters
    ----------
    logits
        Scores z (N, K).
    labels
        Class of each example (N,), integers in 0..K-1.

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
    layer_checks.check_cross_entropy(logits, labels, float64=True)
    shifted = _shifted(logits.astype(np.float64))
    chosen = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))


def softmax_cross_entropy_grad(logits: Array, labels: NDArray[np.integer]) -> Array:
    """Return the gradient of the mean loss in the logits: ``(p[n, k] - [k = label[n]]) / N``.

    Parameters
    ----------
    logits
        Scores z (N, K).
    labels
        Class of each example (N,), integers in 0..K-1.

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
    layer_checks.check_cross_entropy(logits, labels, float64=True)
    dlogits = softmax(logits)
    dlogits[np.arange(len(labels)), labels] -= 1
    return dlogits / len(labels)
