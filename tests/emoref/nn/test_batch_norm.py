import numpy as np
import pytest

from emoref import nn
from emoref.errors import ConfigError, DataError, NetworkError


def network(dropout=True, tail=True):
    b = nn.NetworkBuilder("norms", (2, 6, 6))
    b.conv("conv1", 4, 3, padding=1)
    b.batch_norm("bn1", momentum=0.3)
    b.relu("relu1")
    if dropout:
        b.dropout("drop", 0.5)
    b.conv("conv2", 3, 3)
    b.batch_norm("bn2")
    b.relu("relu2")
    b.flatten("flat")
    b.linear("hidden", 5)
    b.batch_norm("bn3")
    if tail:
        b.linear("fc", 3)
    return b.build()


def params_of(net, dtype=np.float64):
    rng = np.random.default_rng(0)
    return {name: rng.normal(0.5, 1, shape).astype(dtype) for name, shape in net.param_shapes().items()}


def data(count=60, dtype=np.float64):
    rng = np.random.default_rng(1)
    return nn.ArrayData(
        (3 * rng.normal(size=(count, 2, 6, 6)) + 1).astype(dtype), rng.integers(3, size=count)
    )


class Watched(nn.ArrayData):
    """Data that note which images were asked for."""

    def __init__(self, plain):
        super().__init__(plain.images, plain.labels)
        self.asked = []

    def batch(self, indices, rng=None):
        self.asked.append(indices.tolist())
        return super().batch(indices, rng)


class Augmented(nn.ArrayData):
    """Data that double every image whose augmentation wants it, and note what they gave."""

    def __init__(self, plain):
        super().__init__(plain.images, plain.labels)
        self.given = []

    def batch(self, indices, rng=None):
        images, labels = super().batch(indices)
        images = images * rng.integers(1, 3, (len(images), *[1] * (images.ndim - 1))).astype(images.dtype)
        self.given.append(images)
        return images, labels


def test_one_batch_norm_by_hand():
    b = nn.NetworkBuilder("one", (2,))
    b.batch_norm("bn")
    net, params = b.build(), params_of(b.build())
    x = np.array([[1.0, 10], [3, 10], [5, 40], [9, 60]])
    watched = Watched(nn.ArrayData(x, np.zeros(4, int)))
    found = nn.reestimate_batch_norm(net, params, watched, 2, 2, backend="reference")
    first, second = (x[indices] for indices in watched.asked)
    assert sorted(i for indices in watched.asked for i in indices) == [0, 1, 2, 3]
    np.testing.assert_allclose(found["bn.running_mean"], x.mean(0), rtol=1e-15)
    # Two values have the unbiased variance (a - b)^2 / 2.
    wanted = ((first[0] - first[1]) ** 2 / 2 + (second[0] - second[1]) ** 2 / 2) / 2
    np.testing.assert_allclose(found["bn.running_var"], wanted, rtol=1e-15)


def test_against_torch():
    torch = pytest.importorskip("torch")
    net = network(dropout=False)
    params, watched = params_of(net), Watched(data())
    found = nn.reestimate_batch_norm(net, params, watched, 4, 15, seed=3, backend="reference")
    modules = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 3, 3),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 5),
        torch.nn.BatchNorm1d(5),
        torch.nn.Linear(5, 3),
    ).double()
    for name, p in zip(net.trainable(), modules.parameters(), strict=True):
        p.data = torch.tensor(params[name])
    batches = [torch.tensor(watched.images[indices]) for indices in watched.asked]
    assert len(batches) == 4
    torch.optim.swa_utils.update_bn(batches, modules)
    for name, i in (("bn1", 1), ("bn2", 4), ("bn3", 8)):
        for leaf in ("running_mean", "running_var"):
            np.testing.assert_allclose(
                found[f"{name}.{leaf}"], getattr(modules[i], leaf).numpy(), rtol=1e-9, atol=1e-12
            )


def test_images_are_augmented_in_the_same_way_at_each_call():
    b = nn.NetworkBuilder("one", (2,))
    b.batch_norm("bn")
    net, params = b.build(), params_of(b.build())
    x = np.random.default_rng(2).normal(size=(40, 2))
    augmented = Augmented(nn.ArrayData(x, np.zeros(40, int)))
    first, second = (
        nn.reestimate_batch_norm(net, params, augmented, 4, 10, backend="reference") for _ in "12"
    )
    batches = augmented.given[:4]
    assert np.abs(np.concatenate(batches).mean(0) - x.mean(0)).min() > 1e-3
    np.testing.assert_allclose(first["bn.running_mean"], np.mean([v.mean(0) for v in batches], 0), rtol=1e-13)
    wanted = np.mean([v.var(0, ddof=1) for v in batches], 0)
    np.testing.assert_allclose(first["bn.running_var"], wanted, rtol=1e-13)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_old_statistics_and_dropout_do_not_matter():
    with_dropout, without = network(), network(dropout=False)
    params = params_of(with_dropout)
    buffers = [name for name in params if "running" in name]
    before = {name: value.copy() for name, value in params.items()}
    first = nn.reestimate_batch_norm(with_dropout, params, data(), 3, 20, backend="reference")
    assert all(np.array_equal(params[name], value) for name, value in before.items())
    poisoned = {**params, **{name: np.full_like(params[name], np.nan) for name in buffers}}
    second = nn.reestimate_batch_norm(without, poisoned, data(), 3, 20, backend="reference")
    for name in buffers:
        np.testing.assert_array_equal(first[name], second[name])
        assert not np.shares_memory(first[name], params[name])
    assert all(first[name] is params[name] for name in params if name not in buffers)
    assert list(first) == list(params)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_reproducible_and_different_for_another_seed(backend):
    net = network()
    params = params_of(net, np.float32)
    runs = [
        nn.reestimate_batch_norm(net, params, data(dtype=np.float32), 2, 10, seed, backend)
        for seed in (1, 1, 2)
    ]
    for name in ("bn1.running_mean", "bn3.running_var"):
        assert runs[0][name].dtype == np.float32
        np.testing.assert_array_equal(runs[0][name], runs[1][name])
        assert (runs[0][name] != runs[2][name]).any()


def test_back_ends_agree():
    net = network(tail=False)  # batch norm as the last node
    params = params_of(net, np.float32)
    plain, fast = (
        nn.reestimate_batch_norm(net, params, data(dtype=np.float32), 3, 20, 0, name)
        for name in ("reference", "cpu")
    )
    for name, value in plain.items():
        np.testing.assert_allclose(fast[name], value, rtol=1e-4, atol=1e-4)


def test_it_repairs_shifted_statistics():
    net = network(dropout=False)
    train = data(400, np.float32)
    params = net.init(0)
    nn.fit(net, params, train, nn.TrainConfig(epochs=8, batch_size=40, lr=0.05), backend="reference")
    right = nn.evaluate_data(net, params, train, "reference")
    shifted = {n: v + 3 if "running_mean" in n else v for n, v in params.items()}
    wrong = nn.evaluate_data(net, shifted, train, "reference")
    again = nn.reestimate_batch_norm(net, shifted, train, 5, 80, backend="reference")
    repaired = nn.evaluate_data(net, again, train, "reference")
    assert repaired.loss < right.loss + 0.05 < wrong.loss


def test_no_batch_norm_and_errors():
    b = nn.NetworkBuilder("none", (2, 6, 6))
    b.flatten("flat")
    b.linear("fc", 3)
    plain = b.build()
    params = params_of(plain)
    same = nn.reestimate_batch_norm(plain, params, data(), 1, 2, backend="reference")
    assert same is not params
    assert all(same[name] is params[name] for name in params)
    net = network()
    params = params_of(net)
    for name, value in (("batches", 0), ("batches", 1.0), ("batch_size", 1), ("batch_size", True)):
        with pytest.raises(ConfigError, match=f"^{name} must be an integer of at least"):
            nn.reestimate_batch_norm(net, params, data(), **{"batches": 2, "batch_size": 3, name: value})
    with pytest.raises(DataError, match="need 80 images, but there are 60"):
        nn.reestimate_batch_norm(net, params, data(), 4, 20)
    other = nn.ArrayData(np.zeros((9, 2, 5, 6)), np.zeros(9, int))
    with pytest.raises(NetworkError, match=r"\(N, 2, 6, 6\)"):
        nn.reestimate_batch_norm(net, params, other, 1, 2, backend="reference")
