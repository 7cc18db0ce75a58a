"""What training minimises: cross-entropy, smoothed labels, and the soft targets of a teacher."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CROSS_ENTROPY", "Loss"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """The loss of a batch of logits z, with labels y and, for distillation, a teacher's logits t.

    L = CE(z, y) without a teacher, and with one (Hinton et al. 2015, section 2)

    L = (1 - alpha) CE(z, y) + alpha T^2 KL(softmax(t / T) || softmax(z / T)),

    where CE is the softmax cross-entropy with label smoothing. The paper weights a cross-entropy of the soft
    targets, which has the same gradient as the divergence KL; T^2 keeps the two terms' shares as they are
    when the temperature changes. All terms are means over the batch.

    Parameters
    ----------
    label_smoothing : float
        Share of each target that is spread evenly over all classes, in [0, 1).
    temperature : float
        T, above 0.
    alpha : float
        Weight of the teacher's term, in [0, 1].
    """

    label_smoothing: float = 0.0
    temperature: float = 4.0
    alpha: float = 0.5

    def value(
        self, k: Any, logits: Array, labels: NDArray[np.int64], teacher_logits: Array | None = None
    ) -> float:
        """Return the mean loss in nats, computed on `k`; only distillation needs `teacher_logits`."""
        hard = float(k.softmax_cross_entropy(logits, labels, self.label_smoothing))
        if teacher_logits is None:
            return hard
        soft = float(k.distillation_loss(logits, teacher_logits, self.temperature))
        return (1.0 - self.alpha) * hard + self.alpha * soft

    def gradient(
        self, k: Any, logits: Array, labels: NDArray[np.int64], teacher_logits: Array | None = None
    ) -> Array:
        """Return the gradient of :meth:`value` in the logits, of their shape and dtype."""
        hard = k.softmax_cross_entropy_grad(logits, labels, self.label_smoothing)
        if teacher_logits is None:
            return hard
        soft = k.distillation_loss_grad(logits, teacher_logits, self.temperature)
        return (1.0 - self.alpha) * hard + self.alpha * soft


CROSS_ENTROPY = Loss()
"""The plain softmax cross-entropy."""
