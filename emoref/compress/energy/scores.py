"""One number for accuracy and cost together: the aggregation score of EMOMC, as far as it can be told."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import ConfigError

__all__ = ["aggregation_score"]


def aggregation_score(
    accuracy: ArrayLike,
    cost: ArrayLike,
    base_accuracy: float,
    base_cost: float,
    reward_over_penalty: float,
) -> NDArray[np.float64]:
    """Score compressed networks by the reward that they earn for their cost.

    Each right answer earns a reward r, each wrong one costs a penalty tau; the balance is divided by the
    cost, and the quotient by that of the uncompressed network. This is a reconstruction: the formula of Wang
    et al. 2021 could not be read. It gives the published 125.6 and 97.0 for VGG-16 (r / tau = 5 and 1) with
    one and the same network, but does not explain the scores of the paper's peers at r / tau = 0.2.

    Parameters
    ----------
    accuracy : float or array
        Share of right answers, 0 to 1.
    cost : float or array
        Energy or size, above 0; in any unit.
    base_accuracy, base_cost : float
        Those of the uncompressed network, the cost in the same unit.
    reward_over_penalty : float
        r / tau, above 0.

    Returns
    -------
    float64 array
        ``(r A - tau (1 - A)) / E`` over that of the uncompressed network; higher is better, 1 is as good as
        uncompressed.

    Raises
    ------
    ConfigError
        If an argument is out of range, or the uncompressed network earns no reward, so that nothing can be
        measured by it.

    Examples
    --------
    >>> float(aggregation_score(0.9, 2.0, 0.92, 20.0, reward_over_penalty=1.0).round(3))
    9.524
    """
    right, price = np.asarray(accuracy, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    if not ((right >= 0) & (right <= 1)).all() or not 0 <= base_accuracy <= 1:
        raise ConfigError("aggregation score: accuracies must be 0 to 1")
    if not (price > 0).all() or not base_cost > 0 or not reward_over_penalty > 0:
        raise ConfigError("aggregation score: costs and reward over penalty must be above 0")

    def balance(a: NDArray[np.float64] | float) -> NDArray[np.float64] | float:
        return reward_over_penalty * a - (1 - a)

    base = balance(base_accuracy) / base_cost
    if not base > 0:
        raise ConfigError(
            f"aggregation score: the uncompressed network, with accuracy {base_accuracy:g}, earns no reward "
            f"at reward over penalty {reward_over_penalty:g}"
        )
    return np.asarray(balance(right) / price / base)
