"""Cutting networks apart and joining them: exact inverses, and errors that name nodes and edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks, nn
from emoref.errors import NetworkError
from emoref.nn.split import cut_points, join, join_params, split, split_params

RESNET = networks.build("resnet20", input_shape=(3, 32, 32), classes=10)


@st.composite
def random_networks(draw):
    """A chain of plain and residual pieces, with batch norms and branches, ending in a classifier."""
    b = nn.NetworkBuilder("random", (2, 8, 8))
    b.conv("first", 3, 3, padding=1)
    for i in range(draw(st.integers(1, 5))):
        kind, source = draw(st.sampled_from(["conv", "norm", "relu", "block", "fork", "pad"])), b.last
        if kind == "conv":
            b.conv(f"n{i}", draw(st.integers(1, 4)), 3, padding=1)
        elif kind == "norm":
            b.batch_norm(f"n{i}")
        elif kind == "relu":
            b.relu(f"n{i}")
        elif kind == "pad":
            b.pad_channels(f"n{i}", after=draw(st.integers(1, 2)))
        elif kind == "block":
            b.relu(f"n{i}a")
            b.add(f"n{i}", b.tanh(f"n{i}b"), source)
        else:
            left, right = b.conv(f"n{i}a", 2, 1, source=source), b.relu(f"n{i}b", source=source)
            b.concat(f"n{i}", left, right)
    b.flatten("flat")
    b.linear("fc", 4)
    return b.build()


def random_params(net, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.1, 1, shape).astype(np.float32) for name, shape in net.param_shapes().items()}


@settings(deadline=None, max_examples=40)
@given(random_networks(), st.data())
def test_join_is_the_inverse_of_split_and_predicts_the_same_bits(net, data):
    points = cut_points(net)
    cuts = data.draw(st.lists(st.sampled_from(points), unique=True)) if points else []
    parts, params = net.split(cuts), random_params(net)
    assert len(parts) == len(cuts) + 1
    assert join(parts) == net
    own = split_params(parts, params)
    joined = join_params(own)
    assert list(joined) == list(params)
    assert all(joined[name] is params[name] for name in params)

    images = np.random.default_rng(1).normal(size=(3, 2, 8, 8)).astype(np.float32)
    values = images
    for part, some in zip(parts, own, strict=True):
        assert part.input_shape == values.shape[1:]
        values = nn.predict(part, some, values, "reference")
    assert values.tobytes() == nn.predict(net, params, images, "reference").tobytes()


@settings(deadline=None, max_examples=40)
@given(random_networks())
def test_a_cut_is_possible_exactly_where_cut_points_says(net):
    points = cut_points(net)
    for node in net.nodes:
        if node.name in points:
            assert len(net.split([node.name])) == 2
        else:
            with pytest.raises(NetworkError, match=f'"{node.name}"'):
                net.split([node.name])


def test_parts_are_named_and_numbered_and_cuts_may_come_in_any_order():
    parts = RESNET.split(["s2b3_relu", "relu", "s1b3_relu"])
    assert [part.name for part in parts] == [f"resnet20:{i}" for i in (1, 2, 3, 4)]
    assert [part.output.name for part in parts] == ["relu", "s1b3_relu", "s2b3_relu", "fc"]
    assert [part.input_shape for part in parts] == [(3, 32, 32), (16, 32, 32), (16, 32, 32), (32, 16, 16)]
    assert join(parts, name="again").name == "again"
    assert RESNET.split([]) == (join([RESNET], name="resnet20:1"),)


@pytest.mark.parametrize(
    ("cuts", "says"),
    [
        (["s1b1_rel"], ["no node 's1b1_rel'", "did you mean 's1b1_relu'"]),
        (
            ["s1b1_relu1"],
            ['"s1b1_relu1" goes through a branch', 'from "relu" to "s1b1_add"', 'behind "relu"'],
        ),
        (["s2b1_skip_pool"], ['from "s2b1_bn2" to "s2b1_add"']),
        (["fc"], ['"fc" is the last node']),
        (["relu", "relu"], ['"relu" is named twice']),
    ],
)
def test_impossible_cuts_say_why(cuts, says):
    with pytest.raises(NetworkError) as caught:
        split(RESNET, cuts)
    for words in says:
        assert words in str(caught.value)


def test_parts_that_do_not_fit_together_are_named():
    stem, stage, *_ = RESNET.split(["relu", "s1b3_relu", "s2b3_relu"])
    with pytest.raises(NetworkError, match=r'node "s1b3_relu" gives \(16, 32, 32\), but "conv" takes \(3'):
        join([stage, stem])
    with pytest.raises(NetworkError, match='both have a node "s1b1_conv1"'):
        join([stage, stage])
    with pytest.raises(NetworkError, match="no networks to join"):
        join([])
    with pytest.raises(NetworkError, match=r'part "resnet20:1": parameter "conv.weight" is missing'):
        split_params([stem], {})
