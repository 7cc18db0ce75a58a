import subprocess
import sys

import numpy as np
import pytest

from emoref import nn
from emoref.errors import ConfigError, DataError, NetworkError, TrainingDivergedError


def small_net():
    net = nn.NetworkBuilder("small", (1, 8, 8))
    net.conv("conv", 6, 3, padding=1)
    net.batch_norm("norm")
    net.relu("relu")
    net.max_pool("pool", 2)
    net.flatten("flat")
    net.dropout("drop", 0.2)
    net.linear("fc", 3)
    return net.build()


class Noisy(nn.ArrayData):
    """Data whose augmentation adds noise."""

    def batch(self, indices, rng=None):
        images, labels = super().batch(indices)
        if rng is not None:
            images = images + rng.normal(size=images.shape).astype(np.float32) * np.float32(0.1)
        return images, labels


def task(count=50, seed=0):
    """Return images of three classes: noise with a bright row, column or corner."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(3, size=count)
    images[labels == 0, :, 2] += 2
    images[labels == 1, :, :, 5] += 2
    images[labels == 2, :, :3, :3] += 2
    return Noisy(images, labels)


CONFIG = nn.TrainConfig(epochs=4, batch_size=16, lr=0.05, weight_decay=1e-3, schedule="one-cycle")


def train(config=CONFIG, seed=5, **kwargs):
    net = small_net()
    params = net.init(1)
    history = nn.fit(net, params, task(), config, task(30, 9), backend="reference", seed=seed, **kwargs)
    return params, history


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def test_it_learns_and_reports():
    steps, epochs = [], []
    params, history = train(
        nn.TrainConfig(epochs=12, batch_size=16, lr=0.05),
        on_step=steps.append,
        on_epoch=lambda state: epochs.append((state.epoch, state.steps, state.history.train_loss[-1])),
    )
    assert history.epochs == 12
    assert history.train_loss[-1] < 0.3 < history.train_loss[0]
    assert history.validation_error[-1] < 0.2
    assert history.lr == [0.05] * 12
    assert [(e, s) for e, s, _ in epochs] == [(i + 1, 4 * (i + 1)) for i in range(12)]
    assert [x for _, _, x in epochs] == history.train_loss
    assert [(s.epoch, s.step, s.steps) for s in steps[:5]] == [
        (0, 0, 4),
        (0, 1, 4),
        (0, 2, 4),
        (0, 3, 4),
        (1, 0, 4),
    ]
    sizes = [16, 16, 16, 2]
    mean = sum(s.loss * n for s, n in zip(steps[:4], sizes, strict=True)) / 50
    assert history.train_loss[0] == pytest.approx(mean, rel=1e-12)
    assert (params["norm.running_mean"] != 0).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_same_seed_same_bits_other_seed_other_bits(optimizer):
    config = nn.TrainConfig(epochs=2, batch_size=16, lr=0.01, optimizer=optimizer)
    (a, history_a), (b, history_b), (c, _) = train(config), train(config), train(config, seed=6)
    assert same(a, b)
    assert history_a == history_b
    assert not same(a, c)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_resumed_training_is_the_uninterrupted_one(optimizer, tmp_path):
    config = nn.TrainConfig(epochs=4, batch_size=16, lr=0.02, optimizer=optimizer, schedule="cosine")
    whole, history = train(config)

    def interrupt(state):
        nn.save_state(tmp_path / "state.h5", state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_epoch=interrupt)
    resumed, resumed_history = train(config, resume=nn.load_state(tmp_path / "state.h5"))
    assert same(whole, resumed)
    assert resumed_history == history


def test_state_copy_is_a_snapshot():
    states = []
    params, _ = train(on_epoch=lambda state: states.append((state, state.copy())))
    live, copy = states[0]
    assert same(live.params, params)
    assert not same(copy.params, params)
    resumed, _ = train(resume=copy)
    assert same(resumed, params)


def test_resuming_a_finished_training_changes_nothing():
    states = []
    params, history = train(on_epoch=lambda state: states.append(state.copy()))
    again, same_history = train(resume=states[-1])
    assert same(again, params)
    assert same_history == history


def test_resume_must_fit():
    states = []
    train(on_epoch=lambda state: states.append(state.copy()))
    state = states[0]
    with pytest.raises(ConfigError, match=r"^lr is 0.1, the training to resume had 0.05"):
        train(nn.TrainConfig(**{**CONFIG.to_dict(), "lr": 0.1}), resume=state)
    with pytest.raises(ConfigError, match=r"^seed is 6"):
        train(seed=6, resume=state)
    net = small_net()
    with pytest.raises(DataError, match="10 training images"):
        nn.fit(net, net.init(0), task(10), CONFIG, backend="reference", seed=5, resume=state)
    other = nn.NetworkBuilder("other", (1, 8, 8))
    other.flatten("flat")
    other.linear("fc", 3)
    with pytest.raises(NetworkError, match="another network"):
        nn.fit(
            other.build(), other.build().init(0), task(), CONFIG, backend="reference", seed=5, resume=state
        )


def test_divergence_restores_the_last_completed_epoch():
    class Poisoned(Noisy):
        visits = 0

        def batch(self, indices, rng=None):
            images, labels = super().batch(indices, rng)
            self.visits += 1
            if self.visits == 4 + 3:  # epoch 2, step 3
                images[0, 0, 0, 0] = np.nan
            return images, labels

    net = small_net()
    params, good = net.init(1), []
    plain = task()
    data = Poisoned(plain.images, plain.labels)
    with pytest.raises(
        TrainingDivergedError, match=r"loss became NaN or infinite in epoch 2, step 3, .*rate 0.01"
    ):
        nn.fit(
            net,
            params,
            data,
            nn.TrainConfig(epochs=3, batch_size=16, lr=0.01),
            backend="reference",
            on_epoch=lambda state: good.append(state.copy()),
        )
    assert len(good) == 1
    assert same(params, good[0].params)


def test_too_large_a_rate_is_reported_and_undone():
    net = small_net()
    params = net.init(1)
    before = {n: v.copy() for n, v in params.items()}
    with pytest.raises(TrainingDivergedError, match="epoch 1"):
        nn.fit(net, params, task(), nn.TrainConfig(epochs=3, lr=1e38, batch_size=10), backend="reference")
    assert same(params, before)


def test_what_does_not_fit_is_refused_before_anything_changes():
    net, data = small_net(), task()
    params = net.init(0)
    for broken, text in (
        ({**params, "x.weight": params["fc.weight"]}, 'no parameter "x.weight"'),
        ({n: v for n, v in params.items() if n != "fc.bias"}, r'"fc.bias" \(3,\) is missing'),
        ({**params, "fc.bias": np.zeros(3, int)}, '"fc.bias" must be a float32'),
        ({**params, "fc.bias": np.zeros(4, np.float32)}, r'"fc.bias" must have shape \(3,\), got \(4,\)'),
    ):
        with pytest.raises(NetworkError, match=text):
            nn.fit(net, broken, data, CONFIG, backend="reference")
    frozen = net.init(0)
    frozen["fc.bias"].flags.writeable = False
    with pytest.raises(NetworkError, match="read-only"):
        nn.fit(net, frozen, data, CONFIG, backend="reference")
    with pytest.raises(DataError, match="no training images"):
        nn.fit(net, params, nn.ArrayData(data.images[:0], []), CONFIG, backend="reference")
    with pytest.raises(DataError, match=r"0\.\.2"):
        nn.fit(net, params, nn.ArrayData(data.images, data.labels + 1), CONFIG, backend="reference")
    with pytest.raises(NetworkError, match=r"\(N, 1, 8, 8\)"):
        nn.fit(net, params, nn.ArrayData(data.images[..., :7], data.labels), CONFIG, backend="reference")
    assert same(params, net.init(0))


def test_against_torch_for_ten_steps():
    torch = pytest.importorskip("torch")
    net = small_net()
    nodes = [n for n in net.nodes if n.op != "dropout"]
    nodes[-1] = nn.Node("fc", "linear", ("flat",), {"units": 3})
    net = nn.Network("small", (1, 8, 8), tuple(nodes))
    params = {n: v.astype(np.float64) for n, v in net.init(3).items()}
    data = task(50)
    data = nn.ArrayData(data.images.astype(np.float64), data.labels)
    modules = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(96, 3),
    ).double()
    theirs = dict(zip(net.trainable(), modules.parameters(), strict=True))
    for name, p in theirs.items():
        p.data = torch.tensor(params[name])
    optimizer = torch.optim.SGD(modules.parameters(), 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)
    config = nn.TrainConfig(epochs=1, batch_size=5, lr=0.05, nesterov=True, weight_decay=1e-3)
    losses, batches = [], []

    class Watched(nn.ArrayData):
        def batch(self, indices, rng=None):
            batches.append(super().batch(indices))
            return batches[-1]

    nn.fit(
        net,
        params,
        Watched(data.images, data.labels),
        config,
        backend="reference",
        on_step=lambda s: losses.append(s.loss),
    )
    for (images, labels), loss in zip(batches, losses, strict=True):
        optimizer.zero_grad()
        other = torch.nn.functional.cross_entropy(modules(torch.tensor(images)), torch.tensor(labels))
        other.backward()
        optimizer.step()
        assert loss == pytest.approx(other.item(), rel=1e-9)
    for name, p in theirs.items():
        np.testing.assert_allclose(params[name], p.detach().numpy(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(params["norm.running_var"], modules[1].running_var.numpy(), rtol=1e-8)


def smooth(**changes):
    return nn.TrainConfig(epochs=3, batch_size=10, lr=0.05, label_smoothing=0.1, **changes)


def teacher_of(seed=8):
    b = nn.NetworkBuilder("teacher", (1, 8, 8))
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build(), b.build().init(seed)


def test_smoothing_and_distillation_against_torch():
    torch = pytest.importorskip("torch")
    net, (teacher, teacher_params) = teacher_of()[0], teacher_of(9)
    params = {n: v.astype(np.float64) for n, v in net.init(3).items()}
    teacher_params = {n: v.astype(np.float64) for n, v in teacher_params.items()}
    w, bias = (torch.tensor(params[n], requires_grad=True) for n in ("fc.weight", "fc.bias"))
    optimizer = torch.optim.SGD([w, bias], 0.05, momentum=0.9)
    plain, batches, losses = task(30), [], []

    class Watched(nn.ArrayData):
        def batch(self, indices, rng=None):
            batches.append(super().batch(indices))
            return batches[-1]

    data = Watched(plain.images.astype(np.float64), plain.labels)
    config = smooth(temperature=3.0, alpha=0.7)
    nn.fit(
        net,
        params,
        data,
        config,
        backend="reference",
        on_step=lambda s: losses.append(s.loss),
        teacher=(teacher, teacher_params),
    )
    f = torch.nn.functional
    for (images, labels), loss in zip(batches, losses, strict=True):
        x = torch.tensor(images.reshape(len(images), -1))
        z = x @ w.T + bias
        t = x @ torch.tensor(teacher_params["fc.weight"]).T + torch.tensor(teacher_params["fc.bias"])
        soft = f.kl_div(torch.log_softmax(z / 3, 1), torch.softmax(t / 3, 1), reduction="batchmean")
        whole = 0.3 * f.cross_entropy(z, torch.tensor(labels), label_smoothing=0.1) + 0.7 * 9 * soft
        optimizer.zero_grad()
        whole.backward()
        optimizer.step()
        assert loss == pytest.approx(whole.item(), rel=1e-9)
    np.testing.assert_allclose(params["fc.weight"], w.detach().numpy(), rtol=1e-8, atol=1e-10)


def test_validation_loss_is_the_plain_cross_entropy():
    net = small_net()
    params = net.init(1)
    history = nn.fit(net, params, task(), smooth(), task(30, 9), backend="reference", teacher=teacher_of())
    plain = nn.evaluate_data(net, params, task(30, 9), "reference")
    assert history.validation_loss[-1] == plain.loss


def test_student_follows_its_teacher():
    net, (teacher, teacher_params) = small_net(), teacher_of()
    config = nn.TrainConfig(epochs=40, batch_size=25, lr=0.05, alpha=1.0, temperature=2.0)
    images = task(50)
    params = net.init(2)
    before = {n: v.copy() for n, v in teacher_params.items()}
    nn.fit(net, params, images, config, backend="reference", teacher=(teacher, teacher_params))
    assert same(teacher_params, before)
    taught = nn.predict(teacher, teacher_params, images.images, "reference").argmax(1)
    learnt = nn.predict(net, params, images.images, "reference").argmax(1)
    assert (taught == learnt).mean() > 0.9 > (taught == images.labels).mean()


def test_distillation_resumes_with_its_own_teacher_alone(tmp_path):
    states = []
    whole, _ = train(smooth(), teacher=teacher_of(), on_epoch=lambda state: states.append(state.copy()))
    nn.save_state(tmp_path / "state.h5", states[0])
    state = nn.load_state(tmp_path / "state.h5")
    assert state.teacher == states[0].teacher > 0
    resumed, _ = train(smooth(), teacher=teacher_of(), resume=state)
    assert same(whole, resumed)
    with pytest.raises(ConfigError, match="teacher is given, the training to resume had another"):
        train(smooth(), teacher=teacher_of(7), resume=state)
    with pytest.raises(ConfigError, match="teacher is left out, the training to resume had one"):
        train(smooth(), resume=state)
    train(smooth(), on_epoch=lambda state: states.append(state.copy()))
    assert states[-1].teacher == 0
    with pytest.raises(ConfigError, match="teacher is given, the training to resume had none"):
        train(smooth(), teacher=teacher_of(), resume=states[-1])


def test_teacher_must_fit():
    net, data = small_net(), task()
    for shape, classes, text in (((1, 8, 7), 3, "images of shape"), ((1, 8, 8), 4, "classes of 4")):
        b = nn.NetworkBuilder("teacher", shape)
        b.flatten("flat")
        b.linear("fc", classes)
        other = b.build()
        with pytest.raises(NetworkError, match=f'^teacher "teacher" has .*{text}'):
            nn.fit(net, net.init(0), data, CONFIG, backend="reference", teacher=(other, other.init(0)))
    teacher, teacher_params = teacher_of()
    del teacher_params["fc.bias"]
    with pytest.raises(NetworkError, match=r"fc\.bias"):
        nn.fit(net, net.init(0), data, CONFIG, backend="reference", teacher=(teacher, teacher_params))


SCRIPT = """
import sys, zlib, numpy as np
from emoref import nn
net = nn.NetworkBuilder("n", (1, 8, 8))
net.conv("conv", 6, 3, padding=1); net.batch_norm("norm"); net.relu("relu"); net.max_pool("pool", 2)
net.conv("conv2", 8, 3); net.relu("relu2"); net.flatten("flat"); net.dropout("drop"); net.linear("fc", 3)
net = net.build()
rng = np.random.default_rng(0)
data = nn.ArrayData(rng.normal(size=(40, 1, 8, 8)).astype(np.float32), rng.integers(3, size=40))
params = net.init(0)
nn.fit(net, params, data, nn.TrainConfig(epochs=2, batch_size=16), data, backend="cpu")
print([zlib.crc32(v.tobytes()) for v in params.values()])
"""


def test_cpu_training_has_the_same_bits_for_any_number_of_threads(monkeypatch):
    outputs = []
    for threads in ("1", "2"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1] != ""
