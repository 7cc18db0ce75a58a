import numpy as np
import pytest

from emoref.nn import SGD, Adam, NetworkBuilder, TrainConfig, make_optimizer
from emoref_kernels import load_backend

K = load_backend("reference")


@pytest.fixture
def net():
    builder = NetworkBuilder("n", (2, 4, 4))
    builder.conv("c", 3, 3)
    builder.batch_norm("b")
    return builder.build()


CONFIGS = {
    "plain": {"momentum": 0.0},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.01},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_ten_steps_against_torch(net, name):
    torch = pytest.importorskip("torch")
    config = TrainConfig(**CONFIGS[name])
    rng = np.random.default_rng(0)
    params = {n: rng.normal(size=s) for n, s in net.param_shapes().items()}
    theirs = {n: torch.nn.Parameter(torch.tensor(params[n])) for n in net.trainable()}
    if name == "adam":
        other = torch.optim.Adam(theirs.values(), betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01)
    else:
        other = torch.optim.SGD(
            theirs.values(),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
    ours = make_optimizer(net, params, config)
    mean = params["b.running_mean"].copy()
    for step in range(10):
        lr = 0.1 / (step + 1)
        grads = {n: rng.normal(size=params[n].shape) for n in net.trainable()}
        ours.step(K, params, grads, lr)
        other.param_groups[0]["lr"] = lr
        for n, p in theirs.items():
            p.grad = torch.tensor(grads[n])
        other.step()
    for n, p in theirs.items():
        np.testing.assert_allclose(params[n], p.detach().numpy(), rtol=1e-10, atol=1e-12)
    assert (params["b.running_mean"] == mean).all()
    assert ours.steps == 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_decay_can_leave_out_norm_and_bias(net, optimizer):
    config = TrainConfig(optimizer=optimizer, momentum=0.0, weight_decay=0.5, decay_norm_and_bias=False)
    params = {n: np.ones(s, np.float32) for n, s in net.param_shapes().items()}
    zeros = {n: np.zeros_like(params[n]) for n in net.trainable()}
    make_optimizer(net, params, config).step(K, params, zeros, 0.1)
    assert (params["c.weight"] < 1).all()
    assert all((v == 1).all() for n, v in params.items() if n != "c.weight")


def test_state_starts_at_zero(net):
    params = net.init(0)
    assert set(SGD(net, params, TrainConfig()).slots) == {"velocity"}
    adam = Adam(net, params, TrainConfig(optimizer="adam"))
    assert set(adam.slots) == {"m", "v"}
    assert set(adam.slots["m"]) == set(net.trainable())
    assert not any(v.any() for slot in adam.slots.values() for v in slot.values())
