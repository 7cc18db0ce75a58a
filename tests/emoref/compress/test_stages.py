"""Where networks are divided into stages, and that slim stages fit together and save what they say."""

import numpy as np
import pytest

from emoref import networks, nn
from emoref.compress import count, divide, find_stages, prunable_layers, slim, slim_network
from emoref.compress.stages import Stages
from emoref.errors import NetworkError


def build(name, shape=(3, 32, 32)):
    return networks.build(name, input_shape=shape, classes=10)


@pytest.mark.parametrize(
    ("name", "shape", "stem", "ends"),
    [
        ("resnet20", (3, 32, 32), "relu", ("s1b3_relu", "s2b3_relu", "s3b3_relu")),
        ("resnet50", (3, 224, 224), "pool", ("s1b3_relu", "s2b4_relu", "s3b6_relu", "s4b3_relu")),
        ("vgg16", (3, 32, 32), "", ("relu2", "relu4", "relu7", "relu10", "pool5")),
        ("alexnet", (3, 32, 32), "", ("relu2", "pool5")),
        ("conv4", (1, 28, 28), "", ("relu2", "pool4")),
        ("lenet", (1, 28, 28), "", ("pool2",)),
    ],
)
def test_stages_end_where_maps_change_size(name, shape, stem, ends):
    net = build(name, shape)
    stages = find_stages(net)
    assert stages == Stages(stem, ends)
    division = divide(net, stages)
    assert nn.join(division.parts) == net
    assert (division.stem is None) == (stem == "")
    assert [part.output.name for part in division.stages] == list(ends)
    for k in range(len(ends)):
        before, after = division.before(k), division.after(k)
        parts = [part for part in (before, division.stages[k], after) if part is not None]
        assert nn.join(parts).nodes == net.nodes


def test_only_inner_filters_of_residual_blocks_are_pruned():
    division = divide(build("resnet20"), find_stages(build("resnet20")))
    assert [list(prunable_layers(stage)) for stage in division.stages] == [
        [f"s{s}b{b}_conv1" for b in (1, 2, 3)] for s in (1, 2, 3)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["resnet20", "vgg16", "mobilenet-v1", "resnet18"])
def test_a_network_joined_from_slim_stages_is_the_slim_network_and_saves_their_sum(name, seed):
    net, rng = build(name), np.random.default_rng(seed)
    division = divide(net, find_stages(net))
    masks = {}
    for stage in division.stages:
        for layer, filters in prunable_layers(stage).items():
            masks[layer] = rng.permutation(filters) < rng.integers(1, filters + 1)
    parts, saved = [], 0
    for part in division.parts:
        small = slim_network(part, {n: m for n, m in masks.items() if n in {x.name for x in part.nodes}})
        assert (small.input_shape, small.shapes[small.output.name]) == (
            part.input_shape,
            part.shapes[part.output.name],
        )
        saved += count(part).macs - count(small).macs
        parts.append(small)
    assert nn.join(parts) == slim_network(net, masks)
    assert count(nn.join(parts)).macs == count(net).macs - saved


def test_parameters_of_slim_parts_are_those_of_the_slim_network():
    net = build("resnet20")
    params, mask = net.init(0), np.arange(16) % 3 == 0
    division = divide(net, find_stages(net))
    _, whole = slim(net, params, {"s1b2_conv1": mask})
    own = nn.split_params(division.parts, params)
    own[1] = slim(division.parts[1], own[1], {"s1b2_conv1": mask})[1]
    joined = nn.join_params(own)
    assert all(joined[name].tobytes() == whole[name].tobytes() for name in whole)


def test_impossible_divisions_say_why():
    net = build("resnet20")
    with pytest.raises(NetworkError, match=r'the stage that ends with "s1b1_relu" .* has nothing prunable'):
        divide(net, Stages("s1b1_add", ("s1b1_relu",)))
    with pytest.raises(NetworkError, match='"relu" is named after "s1b3_relu", but lies before it'):
        divide(net, Stages("s1b3_relu", ("relu",)))
    with pytest.raises(NetworkError, match="there is no stage"):
        divide(net, Stages("", ()))
    with pytest.raises(NetworkError, match='from "relu" to "s1b1_add"'):
        divide(net, Stages("relu", ("s1b1_conv1",)))
    with pytest.raises(NetworkError, match='network "conv1" cannot be divided'):
        find_stages(build("conv1", (1, 28, 28)))
