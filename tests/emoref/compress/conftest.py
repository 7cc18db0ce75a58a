"""Small networks with everything that pruning has to follow, and parameters without any zeros."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from emoref.compress import channel_groups
from emoref.nn import Network, NetworkBuilder


def full_params(net: Network, seed: int, dtype: type = np.float64) -> dict[str, NDArray]:
    """Parameters whose biases and batch norms all matter."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, value in net.init(seed).items():
        drawn = rng.normal(0.1, 0.5, value.shape)
        drawn = 0.5 + np.abs(drawn) if name.endswith("running_var") else drawn
        params[name] = drawn.astype(dtype)
    return params


KINDS = ("plain", "residual", "projected", "padded", "padded-alone", "concat", "depthwise")


def random_network(seed: int, kinds: Sequence[str] | None = None) -> Network:
    """One stage for each of the kinds (one to three random ones by default), then a classifier."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder("random", (int(rng.integers(1, 4)), 12, 12))
    b.conv("stem", int(rng.integers(2, 6)), 3, padding=1, bias=bool(rng.integers(2)))
    channels = b.nodes[-1].attrs["filters"]
    for i, kind in enumerate(rng.choice(KINDS, rng.integers(1, 4)) if kinds is None else kinds):
        source, n = b.last, int(rng.integers(2, 6))
        if kind in ("projected", "padded"):
            n = _resized_block(b, i, source, channels, str(kind), rng)
        elif kind == "padded-alone":
            before, after = (int(count) for count in rng.integers(0, 3, 2))
            b.pad_channels(f"z{i}", before, after)
            n = before + channels + after
        elif kind == "plain":
            b.conv(f"c{i}", n, 3, padding=1, stride=int(rng.integers(1, 3)))
        elif kind == "residual":
            b.conv(f"c{i}", n, 3, padding=1)
            b.relu(f"cr{i}")
            b.conv(f"d{i}", channels, 1)
            b.add(f"add{i}", b.last, source)
            n = channels
        elif kind == "concat":
            left = b.conv(f"c{i}", n, 3, padding=1, source=source)
            right = b.conv(f"d{i}", 2, 1, source=source)
            b.concat(f"cat{i}", left, source, right)
            n += channels + 2
        else:
            n = channels * int(rng.integers(1, 3))
            b.conv(f"dw{i}", n, 3, padding=1, groups=channels)
        channels = n
        if rng.integers(2):
            b.batch_norm(f"bn{i}")
        if rng.integers(2):
            b.relu(f"r{i}")
        else:
            b.tanh(f"t{i}")
        if rng.integers(2):
            b.dropout(f"do{i}")
    (b.max_pool if rng.integers(2) else b.avg_pool)("pool", 2)
    if rng.integers(2):
        b.global_avg_pool("gap")
    else:
        b.flatten("flat")
    if rng.integers(2):
        b.linear("hidden", 5)
        b.batch_norm("hidden_bn")
        b.relu("hidden_relu")
    b.linear("classes", 4)
    return b.build()


def _resized_block(
    b: NetworkBuilder, i: int, source: str, channels: int, kind: str, rng: np.random.Generator
) -> int:
    """Append a residual block whose shortcut changes size, by projection or by padding (option A)."""
    stride, before, after = int(rng.integers(1, 3)), *(int(count) for count in rng.integers(0, 4, 2))
    wider = before + channels + after
    b.conv(f"c{i}", int(rng.integers(2, 6)), 3, padding=1, stride=stride)
    b.relu(f"cr{i}")
    main = b.conv(f"d{i}", wider, 3, padding=1)
    if rng.integers(2):
        main = b.batch_norm(f"dn{i}")
    if kind == "projected":
        skip = b.conv(f"p{i}", wider, 1, stride=stride, bias=False, source=source)
    else:
        skip = b.pad_channels(f"z{i}", before, after, source=b.avg_pool(f"s{i}", 1, stride, source=source))
    b.add(f"add{i}", *((main, skip) if rng.integers(2) else (skip, main)))
    return wider


def random_masks(net: Network, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Masks of all prunable layers that keep at least one filter of each and agree where tied."""
    rng = np.random.default_rng(seed)
    masks = {}
    for group in channel_groups(net, linear=True):
        bits = rng.random(group.size) < 0.6
        for index in group.index.values():
            bits[rng.choice(index)] = True
        masks.update({name: bits[index] for name, index in group.index.items()})
    return masks


@pytest.fixture(scope="session", name="full_params")
def _full_params() -> Callable[..., dict[str, NDArray]]:
    return full_params


@pytest.fixture(scope="session", name="random_network")
def _random_network() -> Callable[..., Network]:
    return random_network


@pytest.fixture(scope="session", name="random_masks")
def _random_masks() -> Callable[[Network, int], dict[str, NDArray[np.bool_]]]:
    return random_masks


@pytest.fixture(scope="session")
def lenet() -> Network:
    """Caffe's LeNet, 20-50-500."""
    b = NetworkBuilder("lenet", (1, 28, 28))
    b.conv("conv1", 20, 5)
    b.relu("relu1")
    b.max_pool("pool1", 2)
    b.conv("conv2", 50, 5)
    b.relu("relu2")
    b.max_pool("pool2", 2)
    b.flatten("flat")
    b.linear("fc1", 500)
    b.relu("relu3")
    b.linear("fc2", 10)
    return b.build()
