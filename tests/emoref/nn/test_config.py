import json
from dataclasses import FrozenInstanceError

import pytest

from emoref.errors import ConfigError
from emoref.nn import TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", -3),
        ("optimizer", "rmsprop"),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "0.1"),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("nesterov", 1),
        ("beta1", 1.0),
        ("beta2", -1),
        ("eps", 0),
        ("weight_decay", -1e-4),
        ("decay_norm_and_bias", None),
        ("schedule", "linear"),
        ("milestones", [3, 2]),
        ("milestones", (0,)),
        ("milestones", (1.5,)),
        ("milestones", 3),
        ("gamma", 1.5),
        ("gamma", 0.0),
        ("lr_min", 1.0),
        ("warmup_fraction", 0.0),
        ("warmup_fraction", 1.0),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("temperature", 0.0),
        ("temperature", float("inf")),
        ("alpha", -0.1),
        ("alpha", 1.5),
        ("div_factor", 0),
        ("final_div_factor", -1),
    ],
)
def test_errors_begin_with_the_field(field, value):
    with pytest.raises(ConfigError, match=f"^{field} must "):
        TrainConfig(**{field: value})


def test_nesterov_needs_sgd_and_momentum():
    for bad in ({"optimizer": "adam"}, {"momentum": 0.0}):
        with pytest.raises(ConfigError, match="nesterov needs"):
            TrainConfig(nesterov=True, **bad)


def test_json_round_trip_and_immutability():
    config = TrainConfig(epochs=3, lr=1, milestones=[1, 2], schedule="step")
    assert type(config.lr) is float
    assert config.milestones == (1, 2)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(FrozenInstanceError):
        config.lr = 2.0
    with pytest.raises(ConfigError, match="unknown training setting 'learning_rate'"):
        TrainConfig.from_dict({"learning_rate": 1})
