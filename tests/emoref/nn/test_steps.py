"""Batch norms that run together with what follows them: which do, and that nothing but time changes."""

import numpy as np
import pytest

from emoref import nn
from emoref.networks import build
from emoref.nn.steps import training_steps


def residual(relu=True):
    """Blocks with a plain shortcut, one with a batch norm, and a sum of a batch norm with its own input."""
    b = nn.NetworkBuilder("residual", (3, 8, 8))
    source = b.conv("stem", 16, 3, padding=1)
    for at in ("a", "b"):
        b.conv(f"{at}_conv", 16, 3, padding=1, source=source)
        b.batch_norm(f"{at}_norm")
        if at == "b":
            b.conv("side_conv", 16, 1, source=source)
            source = b.batch_norm("side_norm")
        b.add(f"{at}_sum", f"{at}_norm", source)
        source = b.relu(f"{at}_relu") if relu else f"{at}_sum"
    b.batch_norm("own_norm", source=source)
    b.add("own_sum", source, "own_norm")
    b.global_avg_pool("pool")
    b.linear("fc", 4)
    return b.build()


def batch(net):
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in net.param_shapes().items()}
    return params, rng.normal(size=(5, *net.input_shape)).astype(np.float32)


def names(steps):
    return [[node.name for node in step.nodes] for step in steps]


def test_a_norm_takes_the_sum_and_the_relu_that_alone_read_it():
    steps = names(training_steps(residual(), frozenset()))
    assert ["a_norm", "a_sum", "a_relu"] in steps
    assert ["b_norm", "b_sum", "b_relu"] in steps
    assert ["side_norm"] in steps
    assert ["own_norm", "own_sum"] in steps
    assert sorted(name for step in steps for name in step) == sorted(n.name for n in residual().nodes)


def test_kept_results_stay_apart():
    steps = names(training_steps(residual(), frozenset({"a_norm", "b_sum", "own_sum"})))
    assert ["a_norm"] in steps
    assert ["a_sum"] in steps
    assert ["a_relu"] in steps
    assert ["b_norm", "b_sum"] in steps
    assert ["own_norm", "own_sum"] in steps


@pytest.mark.parametrize("inputs", [("norm", "norm"), ("norm", "stem", "stem")])
def test_other_sums_are_steps_of_their_own(inputs):
    b = nn.NetworkBuilder("other", (4, 6, 6))
    b.conv("stem", 4, 3)
    b.batch_norm("norm")
    b.add("sum", *inputs)
    assert ["norm"] in names(training_steps(b.build(), frozenset()))


def test_every_block_of_resnet_ends_in_such_a_step():
    steps = training_steps(build("resnet56"), frozenset())
    assert sum(step.has_shortcut for step in steps) == 27


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("relu", [False, True])
def test_steps_change_nothing(backend, relu):
    net = residual(relu)
    params, images = batch(net)
    inner = tuple(node.name for node in net.nodes if node.op in ("batch_norm", "add", "relu"))
    results = []
    for keep in ((), inner):
        tape = nn.forward(net, params, images, backend=backend, keep=keep)
        dy = np.linspace(-1, 1, tape.output.size, dtype=np.float32).reshape(tape.output.shape)
        grads = nn.backward(tape, dy)
        results.append((tape.output, tape.buffer_updates, grads, nn.backward(tape, dy, (*inner, "input"))))
    (output, updates, grads, wanted), (plain_output, plain_updates, plain_grads, plain_wanted) = results
    np.testing.assert_array_equal(output, plain_output)
    assert len(grads) == len(net.trainable())
    for one, two in ((updates, plain_updates), (grads, plain_grads), (wanted, plain_wanted), (wanted, grads)):
        for name in two:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5 * np.abs(two[name]).max())


def test_gradients_that_a_caller_keeps_are_not_written_again():
    net = residual()
    params, images = batch(net)
    tape = nn.forward(net, params, images, keep=("stem", "a_relu"))
    dy = np.ones(tape.output.shape, np.float32)
    first = nn.backward(tape, dy, ("stem", "a_relu", "a_sum"))
    kept = {name: value.copy() for name, value in (first | tape.activations).items()}
    second = nn.backward(tape, dy, ("stem", "a_relu", "a_sum"))
    nn.loss_and_gradients(net, params, -images, np.zeros(5, int))
    for name, value in kept.items():
        np.testing.assert_array_equal((first | tape.activations)[name], value)
        if name in second:
            np.testing.assert_array_equal(second[name], first[name])
