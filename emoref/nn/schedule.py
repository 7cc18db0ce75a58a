"""Learning rates over the course of a training, step by step."""

import math

from emoref.nn.config import TrainConfig

__all__ = ["learning_rate"]


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step.

    With ``t = step``, ``T = epochs * steps_per_epoch`` and ``e = t // steps_per_epoch``:

    ``constant``
        ``lr``.
    ``step``
        ``lr * gamma ** (number of milestones <= e)``; PyTorch's MultiStepLR, stepped once an epoch.
    ``cosine``
        ``lr_min + (lr - lr_min) * (1 + cos(pi * t / T)) / 2``; Loshchilov and Hutter 2017, eq. 5, one cycle;
        PyTorch's CosineAnnealingLR with ``T_max = T``, stepped every step.
    ``one-cycle``
        Linear rise from ``lr / div_factor`` at t = 0 to ``lr`` at ``t1 = warmup_fraction * T - 1``, then half
        a cosine down to ``lr / div_factor / final_div_factor`` at t = T - 1; PyTorch's OneCycleLR, whose
        ``anneal_strategy`` is "linear" in the first part and "cos" in the second. Where the rise has no
        length (t1 <= 0), the first step has the rate ``lr``.

    Parameters
    ----------
    config : TrainConfig
        Schedule and its numbers.
    step : int
        From 0, counted over the whole training.
    steps_per_epoch : int
        Steps in one epoch.

    Returns
    -------
    float
        The rate.
    """
    total = config.epochs * steps_per_epoch
    if config.schedule == "step":
        epoch = step // steps_per_epoch
        return config.lr * config.gamma ** sum(m <= epoch for m in config.milestones)
    if config.schedule == "cosine":
        return _cosine(config.lr, config.lr_min, step / total)
    if config.schedule == "one-cycle":
        return _one_cycle(config, step, total)
    return config.lr


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * share)) / 2.0


def _one_cycle(config: TrainConfig, step: int, total: int) -> float:
    first, top = config.lr / config.div_factor, config.lr
    end_of_rise = max(config.warmup_fraction * total - 1.0, 0.0)
    if step <= end_of_rise:
        return top if end_of_rise == 0.0 else first + (top - first) * step / end_of_rise
    share = (step - end_of_rise) / (total - 1 - end_of_rise)
    return _cosine(top, first / config.final_div_factor, share)
