import numpy as np
import pytest

from emoref import nn
from emoref.errors import ConfigError, DataError, EmorefError, NetworkError
from emoref.networks import build
from emoref_kernels import load_backend

K = load_backend("reference")


def dag(norm=True, dropout=True):
    """Small network with every operation, a residual sum of three, a concatenation and shared inputs."""
    net = nn.NetworkBuilder("dag", (3, 8, 8))
    stem = net.conv("stem", 4, 3, padding=1)
    if norm:
        stem = net.batch_norm("norm")
    net.tanh("tanh1")
    net.conv("dw", 4, 3, padding=1, groups=4, bias=False)
    net.add("sum", "dw", stem, "tanh1")
    relu = net.relu("relu")
    net.max_pool("max", 3, stride=2, padding=1)
    net.avg_pool("avg", 3, stride=2, padding=1, source=relu)
    net.concat("both", "max", "avg", "max")
    net.pad_channels("pad", before=1, after=3)
    net.local_response_norm("lrn", size=3, alpha=0.5)
    if dropout:
        net.dropout("drop", 0.3)
    net.conv("mix", 6, 1, groups=2)
    net.global_avg_pool("gap")
    net.flatten("flat", source="mix")
    net.linear("wide", 6, source="flat")
    net.add("join", "gap", "wide")
    if norm:
        net.batch_norm("norm2")
    net.linear("fc", 5)
    return net.build()


def random_params(net, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in net.param_shapes().items():
        value = rng.normal(size=shape) * 0.4
        params[name] = (np.abs(value) + 0.5 if name.endswith(("var", "gamma")) else value).astype(dtype)
    return params


def images_for(net, count, seed=1, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(count, *net.input_shape)).astype(dtype)


def labels_for(net, count, seed=2):
    return np.random.default_rng(seed).integers(net.classes, size=count)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("direction", range(3))
def test_whole_network_gradient_is_the_directional_derivative(mode, direction):
    net, rng = dag(), np.random.default_rng(direction)
    params, images, labels = random_params(net), images_for(net, 6), labels_for(net, 6)

    def loss_at(values, x):
        # The same generator state gives the same dropout mask each time.
        tape = nn.forward(
            net, values, x, mode=mode, backend="reference", rng=np.random.default_rng(3), keep=["relu"]
        )
        return K.softmax_cross_entropy(tape.output, labels), tape

    _, tape = loss_at(params, images)
    grads = nn.backward(tape, K.softmax_cross_entropy_grad(tape.output, labels), nodes=["input", "relu"])
    assert set(grads) == {*net.trainable(), "input", "relu"}
    assert grads["relu"].shape == tape.activations["relu"].shape == (6, 4, 8, 8)

    step = 1e-6
    vs = {name: rng.normal(size=params[name].shape) for name in net.trainable()}
    u = rng.normal(size=images.shape)

    def moved(sign):
        values = {n: v + sign * step * vs[n] if n in vs else v for n, v in params.items()}
        return loss_at(values, images + sign * step * u)[0]

    numeric = (moved(1) - moved(-1)) / (2 * step)
    exact = sum((grads[n] * v).sum() for n, v in vs.items()) + (grads["input"] * u).sum()
    assert numeric == pytest.approx(exact, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["stem.weight", "stem.bias", "norm.gamma", "norm2.beta", "dw.weight", "mix.bias"]
)
def test_gradient_of_each_kind_of_parameter(name):
    net = dag(dropout=False)
    params, images, labels = random_params(net, 4), images_for(net, 5), labels_for(net, 5)
    result = nn.loss_and_gradients(net, params, images, labels, backend="reference")
    v = np.random.default_rng(5).normal(size=params[name].shape)

    def loss(t):
        values = {**params, name: params[name] + t * v}
        return nn.loss_and_gradients(net, values, images, labels, backend="reference").loss

    exact = (result.grads[name] * v).sum()
    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_node_gradient_through_the_rest_of_the_network():
    net = dag()
    params, images, labels = random_params(net), images_for(net, 4), labels_for(net, 4)
    tape = nn.forward(net, params, images, mode="eval", backend="reference", keep=["relu"])
    grad = nn.backward(tape, K.softmax_cross_entropy_grad(tape.output, labels), ["relu"])["relu"]
    # Zeros stay as they are: max pooling has a kink where they tie.
    v = np.random.default_rng(0).normal(size=grad.shape) * (tape.activations["relu"] > 0)

    def loss(t):
        known = {"relu": tape.activations["relu"] + t * v}
        logits = nn.run_nodes(net, params, known, ["fc"], "reference")["fc"]
        return K.softmax_cross_entropy(logits, labels)

    assert (loss(1e-6) - loss(-1e-6)) / 2e-6 == pytest.approx((grad * v).sum(), rel=1e-6)


def test_forward_changes_nothing_and_reports_running_statistics():
    net = dag()
    params, images = random_params(net), images_for(net, 6)
    before = {n: v.copy() for n, v in params.items()}
    tape = nn.forward(net, params, images, backend="reference", rng=np.random.default_rng(0), keep=["stem"])
    assert all((params[n] == v).all() for n, v in before.items())
    x = tape.activations["stem"]
    updates = tape.buffer_updates
    assert set(updates) == {f"{n}.running_{s}" for n in ("norm", "norm2") for s in ("mean", "var")}
    np.testing.assert_allclose(
        updates["norm.running_mean"], 0.9 * params["norm.running_mean"] + 0.1 * x.mean((0, 2, 3)), rtol=1e-12
    )
    np.testing.assert_allclose(
        updates["norm.running_var"],
        0.9 * params["norm.running_var"] + 0.1 * x.var((0, 2, 3), ddof=1),
        rtol=1e-12,
    )
    assert nn.forward(net, params, images, mode="eval", backend="reference").buffer_updates == {}


def test_first_layer_input_gradient_is_not_computed():
    net = build("lenet")
    calls = []

    class Spy:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(K, name)

    images = images_for(net, 2, dtype=np.float32)
    nn.loss_and_gradients(net, net.init(0), images, np.array([1, 2]), backend=Spy())
    assert calls.count("conv2d_weight_grad") == 2
    assert calls.count("conv2d_input_grad") == 1


def test_partial_execution_equals_whole_execution():
    net = dag()
    params, images = random_params(net), images_for(net, 5)
    whole = nn.forward(net, params, images, mode="eval", backend="reference", keep=["relu", "both", "fc"])
    first = nn.run_nodes(net, params, {"input": images}, ["relu", "stem"], "reference")
    assert set(first) == {"relu", "stem"}
    known = {"relu": first["relu"]}
    head = {n: v for n, v in params.items() if not n.startswith(("stem", "norm.", "dw"))}
    second = nn.run_nodes(net, head, known, ["fc", "both"], "reference")
    assert (second["fc"] == whole.output).all()
    assert (second["both"] == whole.activations["both"]).all()
    assert set(known) == {"relu"}
    assert nn.run_nodes(net, params, {"fc": second["fc"]}, ["fc"], "reference")["fc"] is second["fc"]


def test_intermediate_results_are_dropped():
    # The last convolution must see at most its own input and the input image alive, not the whole chain.
    net = nn.NetworkBuilder("chain", (1, 4, 4))
    for i in range(5):
        net.conv(f"c{i}", 1, 1)
    chain = net.build()
    import weakref

    alive: list = []

    class Watch:
        def __getattr__(self, name):
            def conv2d(*args):
                y = K.conv2d(*args)
                alive.append(weakref.ref(y))
                counts.append(sum(ref() is not None for ref in alive))
                return y

            return conv2d

    counts: list[int] = []
    nn.run_nodes(chain, chain.init(0), {"input": images_for(chain, 1, dtype=np.float32)}, ["c4"], Watch())
    assert counts == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("known", "outputs", "text"),
    [
        ({"relu": (5, 4, 8, 7)}, ["fc"], r'node "relu".*\(5, 4, 8, 8\), got \(5, 4, 8, 7\)'),
        ({"relu": (5, 4, 8, 8), "max": (4, 4, 4, 4)}, ["fc"], r'node "max"'),
        ({"relu": (5, 4, 8, 8)}, ["stem"], '"input" is needed'),
        ({"relu": (5, 4, 8, 8)}, ["fcc"], "did you mean 'fc'"),
        ({"rel": (5, 4, 8, 8)}, ["fc"], "did you mean 'relu'"),
        ({"relu": ()}, ["fc"], 'node "relu"'),
    ],
)
def test_partial_execution_errors(known, outputs, text):
    net = dag()
    given = {name: np.zeros(shape) for name, shape in known.items()}
    with pytest.raises(NetworkError, match=text):
        nn.run_nodes(net, random_params(net), given, outputs, "reference")


def test_images_and_parameters_that_do_not_fit():
    net = build("lenet")
    params = net.init(0)
    with pytest.raises(NetworkError, match=r'"lenet".*\(N, 1, 28, 28\), got \(2, 3, 32, 32\)'):
        nn.predict(net, params, np.zeros((2, 3, 32, 32), np.float32), "reference")
    with pytest.raises(NetworkError, match="uint8"):
        nn.predict(net, params, np.zeros((2, 1, 28, 28), np.uint8), "reference")
    wrong = {**params, "fc1.weight": params["fc1.weight"][:, 1:]}
    with pytest.raises(NetworkError, match=r'node "fc1".*\(500, 800\), got \(500, 799\)'):
        nn.predict(net, wrong, np.zeros((2, 1, 28, 28), np.float32), "reference")
    del wrong["fc1.weight"]
    with pytest.raises(NetworkError, match=r'node "fc1".*missing'):
        nn.forward(net, wrong, np.zeros((2, 1, 28, 28), np.float32), backend="reference")
    with pytest.raises(EmorefError, match="back end"):
        nn.predict(net, params, np.zeros((2, 1, 28, 28), np.float32), "refrence")
    with pytest.raises(NetworkError, match="mode"):
        nn.forward(net, params, np.zeros((2, 1, 28, 28), np.float32), mode="test", backend="reference")


def test_backward_errors_and_missing_generator():
    net = dag()
    params, images = random_params(net), images_for(net, 2)
    with pytest.raises(NetworkError, match=r'node "drop".*rng'):
        nn.forward(net, params, images, backend="reference")
    tape = nn.forward(net, params, images, mode="eval", backend="reference")
    with pytest.raises(NetworkError, match="dy must have the shape"):
        nn.backward(tape, np.zeros((2, 4)))
    with pytest.raises(NetworkError, match="no node"):
        nn.backward(tape, np.zeros((2, 5)), nodes=["x"])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_counts_do_not_depend_on_the_batch_size(backend):
    net = build("lenet", widths=(3, 4, 8))
    params = net.init(3)
    images, labels = images_for(net, 101, dtype=np.float32), labels_for(net, 101)
    results = [nn.evaluate(net, params, images, labels, backend, size) for size in (1, 7, 50, 101, 250)]
    assert len({(r.wrong, r.total) for r in results}) == 1
    np.testing.assert_allclose([r.loss for r in results], results[0].loss, rtol=1e-6)
    logits = nn.predict(net, params, images, backend, 33)
    assert results[0].wrong == (logits.argmax(1) != labels).sum()
    assert results[0].error == results[0].wrong / 101


def test_ties_go_to_the_first_class_and_nan_is_wrong():
    net = nn.NetworkBuilder("n", (3,))
    net.relu("r")
    n = net.build()
    images = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [np.nan, 0, 0], [np.nan, 0, 0]], np.float32)
    result = nn.evaluate(n, {}, images, [0, 1, 0, 0, 1], "reference")
    assert (result.wrong, result.total) == (3, 5)
    assert np.isnan(result.loss)


def test_evaluate_refuses_bad_labels_and_batch_sizes():
    net = build("mlp", input_shape=(4,), hidden=(), classes=3)
    params, images = net.init(0), np.zeros((2, 4), np.float32)
    for labels in ([0, 3], [-1, 0], [0], [0.0, 1.0], [[0], [1]]):
        with pytest.raises(DataError, match="labels"):
            nn.evaluate(net, params, images, labels, "reference")
    with pytest.raises(DataError, match="no images"):
        nn.evaluate(net, params, images[:0], np.zeros(0, int), "reference")
    for size in (0, -1, 2.0, True):
        with pytest.raises(ConfigError, match="batch_size"):
            nn.predict(net, params, images, "reference", size)
    assert nn.predict(net, params, images[:0], "reference").shape == (0, 3)


def test_cpu_training_step_agrees_with_the_reference():
    net = dag()
    params = random_params(net, dtype=np.float32)
    images, labels = images_for(net, 9, dtype=np.float32), labels_for(net, 9)
    plain, fast = (
        nn.loss_and_gradients(net, params, images, labels, backend=name, rng=np.random.default_rng(1))
        for name in ("reference", "cpu")
    )
    assert fast.loss == pytest.approx(plain.loss, rel=1e-5)
    assert fast.wrong == plain.wrong
    for name, grad in plain.grads.items():
        np.testing.assert_allclose(fast.grads[name], grad, rtol=1e-3, atol=1e-5 * np.abs(grad).max() + 1e-7)
    for name, value in plain.buffer_updates.items():
        np.testing.assert_allclose(fast.buffer_updates[name], value, rtol=1e-5, atol=1e-6)
