"""How a network is trained: every choice in one validated, immutable record."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from emoref.errors import ConfigError

__all__ = ["OPTIMIZERS", "SCHEDULES", "TrainConfig"]

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "step", "cosine", "one-cycle")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training.

    Parameters
    ----------
    epochs : int
        Passes over the training data, at least 1.
    batch_size : int
        Images a step, at least 1. The last step of an epoch takes what is left.
    optimizer : {"sgd", "adam"}
        See :mod:`emoref.nn.optim`.
    lr : float
        Learning rate; the largest one of the schedule.
    momentum : float
        SGD's momentum, in [0, 1).
    nesterov : bool
        SGD with Nesterov's look-ahead; needs a momentum.
    beta1, beta2, eps : float
        Adam's constants.
    weight_decay : float
        L2 penalty added to the gradient.
    decay_norm_and_bias : bool
        Whether the penalty also applies to biases and to batch norm's gamma and beta (PyTorch's default).
    schedule : {"constant", "step", "cosine", "one-cycle"}
        See :func:`emoref.nn.schedule.learning_rate`.
    milestones : tuple of int
        Schedule "step": epochs (counted from 0) from which on the rate is multiplied by `gamma` once more.
    gamma : float
        Schedule "step": the factor, in (0, 1].
    lr_min : float
        Schedule "cosine": the rate that is approached at the end.
    warmup_fraction : float
        Schedule "one-cycle": share of all steps spent on the rise, in (0, 1).
    div_factor, final_div_factor : float
        Schedule "one-cycle": it begins with ``lr / div_factor`` and ends with that divided by
        `final_div_factor`.
    label_smoothing : float
        Share of each target that is spread evenly over all classes, in [0, 1) (Szegedy et al. 2016).
    temperature : float
        Distillation, when :func:`emoref.nn.fit` is given a teacher: T, by which both networks' logits are
        divided. Hinton et al. 2015 used 1 to 20; emoref's default is 4.
    alpha : float
        Distillation: weight of the teacher's soft targets in [0, 1]; the labels have 1 - alpha. Not published
        as one number; emoref uses 0.5 by default.

    Raises
    ------
    ConfigError
        If a value is impossible; the text begins with the field.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_norm_and_bias: bool = True
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    lr_min: float = 0.0
    warmup_fraction: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    label_smoothing: float = 0.0
    temperature: float = 4.0
    alpha: float = 0.5

    def __post_init__(self) -> None:
        self._check_types()
        self._at_least("epochs", 1)
        self._at_least("batch_size", 1)
        self._one_of("optimizer", OPTIMIZERS)
        self._one_of("schedule", SCHEDULES)
        for name in ("lr", "gamma", "eps", "div_factor", "final_div_factor", "temperature"):
            self._within(name, 0.0, math.inf, open_low=True)
        for name in ("momentum", "beta1", "beta2", "label_smoothing"):
            self._within(name, 0.0, 1.0)
        self._within("weight_decay", 0.0, math.inf)
        self._within("lr_min", 0.0, math.inf)
        self._within("alpha", 0.0, math.inf)
        self._within("warmup_fraction", 0.0, 1.0, open_low=True)
        for name in ("gamma", "alpha"):
            if getattr(self, name) > 1.0:
                raise ConfigError(f"{name} must be at most 1, got {getattr(self, name)!r}")
        if self.lr_min > self.lr:
            raise ConfigError(f"lr_min must not exceed lr = {self.lr!r}, got {self.lr_min!r}")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0.0):
            raise ConfigError("nesterov needs optimizer 'sgd' with a momentum above 0")
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise ConfigError(f"milestones must be rising epochs from 1, got {self.milestones!r}")

    def _check_types(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, field.name, float(value))
            elif field.name == "milestones" and isinstance(value, (list, tuple)):
                if any(isinstance(m, bool) or not isinstance(m, int) for m in value):
                    raise ConfigError(f"milestones must be integers, got {value!r}")
                object.__setattr__(self, field.name, tuple(value))
            elif type(value) is not field.type:
                wanted = getattr(field.type, "__name__", str(field.type))
                raise ConfigError(f"{field.name} must be of type {wanted}, got {value!r}")

    def _at_least(self, name: str, low: int) -> None:
        if getattr(self, name) < low:
            raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)!r}")

    def _one_of(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def _within(self, name: str, low: float, high: float, open_low: bool = False) -> None:
        value = getattr(self, name)
        if not (low < value if open_low else low <= value) or not value < high:
            left = "above" if open_low else "at least"
            right = "finite" if high == math.inf else f"below {high:g}"
            raise ConfigError(f"{name} must be {left} {low:g} and {right}, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as JSON-able values."""
        return {**asdict(self), "milestones": list(self.milestones)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrainConfig":
        """Return the settings that :meth:`to_dict` gave; ConfigError names an unknown field."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise ConfigError(f"unknown training setting {unknown[0]!r}; known: {', '.join(known)}")
        return cls(**data)
