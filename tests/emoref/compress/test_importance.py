import math

import numpy as np
import pytest

from emoref import nn
from emoref.compress import CRITERIA, filter_importance, masks_from_importance, slim, tied_importance
from emoref.errors import ConfigError, DataError, NetworkError
from emoref.nn import NetworkBuilder


def one_conv(filters, kernel=1, input_shape=(1, 2, 2), relu=True):
    b = NetworkBuilder("one", input_shape)
    b.conv("c", filters, kernel)
    if relu:
        b.relu("r")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    return b.build()


def with_weights(net, weight):
    params = {name: value.astype(np.float64) for name, value in net.init(0).items()}
    params["c.weight"] = np.array(weight, dtype=np.float64).reshape(params["c.weight"].shape)
    return params


@pytest.mark.parametrize(
    ("criterion", "scores"),
    [
        ("l1", [7, 0, 14]),
        ("l2", [5, 0, 10]),
        # The points (3, -4), (0, 0), (6, -8) lie on a line at distances 5: the middle one is redundant.
        ("geometric-median", [10, 15, 15]),
    ],
)
def test_criteria_from_weights_by_hand(criterion, scores):
    net = one_conv(3, input_shape=(2, 2, 2))
    params = with_weights(net, [[3, -4], [0, 0], [6, -8]])
    found = filter_importance(criterion, net, params)
    assert list(found) == ["c"]
    assert found["c"].dtype == np.float64
    np.testing.assert_allclose(found["c"], scores, rtol=1e-15)


def test_apoz_by_hand():
    net = one_conv(3)
    images = np.array([[1, -2, 3, 0], [5, 6, 7, -8]], dtype=np.float64).reshape(2, 1, 2, 2)
    found = filter_importance(
        "apoz", net, with_weights(net, [1, -1, 0]), (images, np.zeros(2, int)), backend="reference"
    )
    np.testing.assert_array_equal(found["c"], [5 / 8, 2 / 8, 0])


def test_taylor_by_hand():
    # Maps (1, 3) and (2, 6), means 2 and 4 = logits. With p = 1 / (1 + exp(-2)) the gradient of the loss in
    # the logits is (-p, p) for label 0 and (1-p, p-1) for label 1; half of it reaches each of the 2 pixels.
    net = one_conv(2, input_shape=(1, 1, 2))
    params = with_weights(net, [1, 2])
    params["fc.weight"] = np.eye(2)
    image = np.array([1.0, 3.0]).reshape(1, 1, 1, 2)
    p = 1 / (1 + math.exp(-2))

    def taylor(labels):
        data = (np.repeat(image, len(labels), axis=0), np.array(labels))
        return filter_importance("taylor", net, params, data, backend="reference")["c"]

    np.testing.assert_allclose(taylor([0]), [p, 2 * p], rtol=1e-12)
    np.testing.assert_allclose(taylor([1]), [1 - p, 2 * (1 - p)], rtol=1e-12)
    # Absolute values before the mean over images: (p + 1 - p) / 2.
    np.testing.assert_allclose(taylor([0, 1]), [0.5, 1.0], rtol=1e-12)


def test_taylor_is_the_derivative_of_a_gate_on_the_filter(full_params):
    b = NetworkBuilder("gate", (2, 6, 6))
    b.conv("a", 3, 3, padding=1)
    b.relu("ra")
    b.conv("b", 4, 3)
    b.relu("rb")
    b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("fc", 3)
    net, pixels = b.build(), {"a": 36, "b": 16}
    params = full_params(net, 5)
    image, label = np.random.default_rng(5).normal(size=(1, 2, 6, 6)), np.array([2])
    scores = filter_importance("taylor", net, params, (image, label), backend="reference")
    for layer, m in pixels.items():
        for j in range(len(scores[layer])):
            losses = []
            for gate in (1 - 1e-6, 1 + 1e-6):
                gated = {name: value.copy() for name, value in params.items()}
                gated[f"{layer}.weight"][j] *= gate
                gated[f"{layer}.bias"][j] *= gate
                losses.append(nn.evaluate(net, gated, image, label, backend="reference").loss)
            slope = (losses[1] - losses[0]) / 2e-6
            assert scores[layer][j] == pytest.approx(abs(slope) / m, rel=1e-4, abs=1e-8)


def test_block_size_does_not_matter(lenet, full_params, monkeypatch):
    params = full_params(lenet, 0)
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(7, 1, 28, 28)), rng.integers(0, 10, 7))
    for criterion in ("apoz", "taylor"):
        whole = filter_importance(criterion, lenet, params, data, backend="reference", linear=True)
        monkeypatch.setattr("emoref.compress.importance._BLOCK", 3)
        parts = filter_importance(criterion, lenet, params, data, backend="reference", linear=True)
        monkeypatch.undo()
        assert list(whole) == ["conv1", "conv2", "fc1"]
        for name, scores in whole.items():
            np.testing.assert_allclose(parts[name], scores, rtol=1e-12)


def test_activation_behind_concat_and_add():
    b = NetworkBuilder("joined", (1, 1, 1))
    b.conv("a", 2, 1, source="input")
    b.conv("b", 2, 1, source="input")
    b.concat("cat", "a", "b")
    b.conv("c", 4, 1, source="input")
    b.add("sum", "cat", "c")
    b.relu("r")
    b.flatten("flat")
    b.linear("fc", 2)
    net = b.build()
    params = {name: np.zeros_like(value, dtype=np.float64) for name, value in net.init(0).items()}
    params["b.bias"][:] = [1.0, -1.0]
    params["c.bias"][:] = [-2.0, 2.0, 0.0, 0.0]
    found = filter_importance(
        "apoz", net, params, (np.ones((3, 1, 1, 1)), np.zeros(3, int)), backend="reference"
    )
    # After the addition the four channels are 0, 2, 1, 0; a has the first two of them, b the last two.
    assert {name: scores.tolist() for name, scores in found.items()} == {
        "a": [0, 1],
        "b": [1, 0],
        "c": [0, 1, 1, 0],
    }


def test_random_needs_and_uses_its_generator(lenet):
    first = filter_importance("random", lenet, {}, rng=np.random.default_rng(1))
    second = filter_importance("random", lenet, {}, rng=np.random.default_rng(1))
    assert {name: len(scores) for name, scores in first.items()} == {"conv1": 20, "conv2": 50}
    for name, scores in first.items():
        np.testing.assert_array_equal(scores, second[name])


def test_masks_keep_the_top_scores_and_the_lower_index_of_equal_ones():
    scores = {"a": np.array([1.0, 3.0, 2.0, 2.0, 0.0]), "b": np.array([5.0, 5.0, 5.0])}
    masks = masks_from_importance(scores, {"a": 2, "b": 1})
    assert masks["a"].tolist() == [False, True, True, False, False]
    assert masks["b"].tolist() == [True, False, False]
    assert list(masks_from_importance(scores, {"b": 3})) == ["b"]


def test_tied_scores_make_masks_that_agree():
    b = NetworkBuilder("residual", (1, 4, 4))
    b.conv("a", 3, 1)
    b.relu("r")
    b.conv("free", 2, 1)
    b.conv("b", 3, 1)
    b.add("sum", "b", "r")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    scores = {"a": np.array([1.0, 2.0, 3.0]), "free": np.array([1.0, 0.0]), "b": np.array([9.0, 0.0, 1.0])}
    tied = tied_importance(net, scores)
    assert tied["a"].tolist() == tied["b"].tolist() == [5.0, 1.0, 2.0]
    assert tied["free"].tolist() == [1.0, 0.0]
    small, _ = slim(net, net.init(0), masks_from_importance(tied, {"a": 2, "b": 2, "free": 1}))
    assert [small.node(name).attrs["filters"] for name in ("a", "free", "b")] == [2, 1, 2]


def test_errors(lenet):
    images, labels = np.zeros((2, 1, 28, 28), np.float32), np.zeros(2, int)
    with pytest.raises(ConfigError, match="did you mean 'geometric-median'"):
        filter_importance("geometric_median", lenet, {})
    with pytest.raises(ConfigError, match=r"rng=\.\.\."):
        filter_importance("random", lenet, {})
    for criterion in ("apoz", "taylor"):
        with pytest.raises(ConfigError, match="needs data"):
            filter_importance(criterion, lenet, {})
        with pytest.raises(DataError, match="2, 1"):
            filter_importance(criterion, lenet, {}, (images, labels[:1]))
    net = one_conv(2, relu=False)
    with pytest.raises(NetworkError, match="no ReLU follows"):
        filter_importance("apoz", net, net.init(0), (np.zeros((1, 1, 2, 2), np.float32), labels[:1]))
    with pytest.raises(NetworkError, match="1 to 2 filters, not 3"):
        masks_from_importance({"c": np.ones(2)}, {"c": 3})
    with pytest.raises(NetworkError, match="no importance scores"):
        masks_from_importance({"c": np.ones(2)}, {"d": 1})
    assert set(CRITERIA) == {"random", "l1", "l2", "geometric-median", "apoz", "taylor"}
