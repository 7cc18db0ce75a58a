import math

import pytest

from emoref.nn import TrainConfig, learning_rate


def rates(config, steps_per_epoch):
    return [learning_rate(config, t, steps_per_epoch) for t in range(config.epochs * steps_per_epoch)]


def test_by_hand():
    assert rates(TrainConfig(epochs=2, lr=0.5), 2) == [0.5] * 4
    step = TrainConfig(epochs=4, lr=1.0, schedule="step", milestones=(1, 3), gamma=0.1)
    assert rates(step, 2) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    cosine = TrainConfig(epochs=4, lr=1.0, schedule="cosine", lr_min=0.2)
    r = math.sqrt(0.5)
    assert rates(cosine, 1) == pytest.approx([1.0, 0.2 + 0.4 * (1 + r), 0.6, 0.2 + 0.4 * (1 - r)])
    cycle = TrainConfig(
        epochs=5, lr=1.0, schedule="one-cycle", warmup_fraction=0.6, div_factor=10, final_div_factor=10
    )
    assert rates(cycle, 1) == pytest.approx([0.1, 0.55, 1.0, 0.505, 0.01])


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 20])
def test_one_cycle_stays_between_its_ends(total):
    config = TrainConfig(epochs=1, lr=2.0, schedule="one-cycle")
    values = rates(config, total)
    low = 2.0 / 25 / 1e4
    assert all(low * (1 - 1e-9) <= v <= 2.0 for v in values)
    assert values[-1] == pytest.approx(low if total > 1 else 2.0)


@pytest.fixture
def torch_rates():
    torch = pytest.importorskip("torch")

    def run(make, steps, steps_per_call=1):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        values = []
        for t in range(steps):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if (t + 1) % steps_per_call == 0:
                scheduler.step()
        return values

    return run


def test_step_against_torch(torch_rates):
    config = TrainConfig(epochs=6, lr=0.3, schedule="step", milestones=(2, 5), gamma=0.3)
    wanted = torch_rates(lambda s, o: s.MultiStepLR(o, [2, 5], 0.3), 18, 3)
    assert rates(config, 3) == pytest.approx(wanted)


def test_cosine_against_torch(torch_rates):
    config = TrainConfig(epochs=5, lr=0.3, schedule="cosine", lr_min=0.01)
    wanted = torch_rates(lambda s, o: s.CosineAnnealingLR(o, 20, eta_min=0.01), 20)
    assert rates(config, 4) == pytest.approx(wanted)


@pytest.mark.parametrize("total", [10, 33])
def test_one_cycle_against_torch(torch_rates, total):
    config = TrainConfig(
        epochs=1, lr=0.3, schedule="one-cycle", warmup_fraction=0.25, div_factor=20, final_div_factor=500
    )
    linear, cosine = (
        torch_rates(
            lambda s, o, how=how: s.OneCycleLR(
                o, 0.3, total, pct_start=0.25, anneal_strategy=how, div_factor=20, final_div_factor=500
            ),
            total,
        )
        for how in ("linear", "cos")
    )
    rise = math.floor(0.25 * total - 1) + 1
    assert rates(config, total) == pytest.approx(linear[:rise] + cosine[rise:])
