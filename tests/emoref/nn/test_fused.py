"""Fused plans beside the reference back end, and what their bits may depend on: one image, nothing else."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks, nn
from emoref.errors import NetworkError
from emoref.nn import NetworkBuilder
from emoref.nn.fused import compile_plan, is_fusible
from emoref.nn.fused_planes import planes_layers
from emoref_kernels import load_backend
from emoref_kernels.cpu import fused_layout

CPU, EXACT = load_backend("cpu"), load_backend("cpu", "exact")
FAST_BOUND, EXACT_BOUND = 2e-5, 5e-6
"""Largest error of a logit, as a share of the largest logit: float32 against float64."""


def random_params(net, seed):
    rng = np.random.default_rng(seed)
    params = {}
    for name, value in net.init(seed).items():
        drawn = rng.normal(0.05, 0.3, value.shape)
        if name.endswith(("gamma", "running_var")):
            drawn = 0.5 + np.abs(drawn)
        params[name] = (value if name.endswith("weight") else drawn).astype(np.float32)
    return params


def random_images(net, count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, *net.input_shape)).astype(np.float32)


def _layer(b, i, rng):
    """Append a convolution of any kind, and some of what can follow it."""
    channels, height, width = b.build().shapes[b.last] if b.nodes else b.input_shape
    kernel = int(rng.integers(1, 1 + min(5, height, width)))
    stride, filters = int(rng.integers(1, 3)), int(rng.choice([1, 3, 8, 17, 20, 33]))
    kind = rng.choice(["conv", "conv", "same", "depthwise", "grouped", "norm", "pool", "tanh"])
    source = b.last
    if kind == "conv":
        b.conv(f"c{i}", filters, kernel, stride=stride, padding=int(rng.integers(0, 3)))
    elif kind == "same":
        b.conv(f"c{i}", filters, 3, padding=1, bias=bool(rng.integers(2)))
    elif kind == "depthwise":
        b.conv(f"c{i}", channels, 3, stride=stride, padding=1, groups=channels)
    elif kind == "grouped":
        b.conv(f"c{i}", 2 * channels, 3, padding=1, groups=channels)
    elif kind == "norm":
        b.local_response_norm(f"lrn{i}", size=3, alpha=0.5)
    elif kind == "pool":
        pool = b.max_pool if rng.integers(2) else b.avg_pool
        pool(f"p{i}", min(kernel, 3), stride=stride, padding=min(kernel, 3) // 2)
    else:
        b.tanh(f"t{i}")
    shapes = b.build().shapes
    if rng.integers(2):
        b.batch_norm(f"bn{i}")
    same = source != b.last and source in shapes and shapes[source] == b.build().shapes[b.last]
    if same and rng.integers(2):
        pair = (b.last, source) if rng.integers(2) else (source, b.last)
        b.add(f"add{i}", *pair, *((source,) if rng.integers(4) == 0 else ()))
    elif same and rng.integers(3) == 0:
        b.concat(f"cat{i}", b.last, source)
    if rng.integers(2):
        b.relu(f"r{i}")
    if rng.integers(4) == 0:
        b.pad_channels(f"pad{i}", int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    _, height, width = b.build().shapes[b.last]
    if rng.integers(3) == 0 and min(height, width) >= 2:
        b.max_pool(f"max{i}", 2)
    if rng.integers(4) == 0:
        b.dropout(f"drop{i}", 0.5)


def random_network(seed):
    """A network of up to six layers of all kinds, on maps of any size."""
    rng = np.random.default_rng(seed)
    size = [int(n) for n in rng.choice([4, 5, 8, 9, 12, 16], 2)]
    b = NetworkBuilder("random", (int(rng.choice([1, 3, 8, 16])), *size))
    for i in range(int(rng.integers(1, 7))):
        _layer(b, i, rng)
    (b.global_avg_pool if rng.integers(2) else b.flatten)("flat")
    if rng.integers(2):
        b.linear("hidden", 21)
        b.batch_norm("hidden_bn")
        b.relu("hidden_relu")
    b.linear("classes", 4)
    return b.build()


def lenet_like(seed):
    """A network that runs in one pass: one or two stages and linear layers."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder(
        "like", (int(rng.integers(1, 4)), int(rng.integers(12, 30)), int(rng.integers(12, 30)))
    )
    for i in range(int(rng.integers(1, 3))):
        _, height, width = b.build().shapes[b.last] if b.nodes else b.input_shape
        kernel, padding = int(rng.integers(4, 6)), int(rng.integers(0, 3))
        if min(height, width) + 2 * padding < kernel + 1:
            break
        b.conv(f"c{i}", int(rng.choice([1, 5, 6, 17])), kernel, padding=padding, bias=bool(rng.integers(2)))
        if rng.integers(2):
            b.batch_norm(f"bn{i}")
        if rng.integers(2):
            b.relu(f"r{i}")
        b.max_pool(f"p{i}", 2)
    b.flatten("flat")
    for i in range(int(rng.integers(0, 3))):
        b.linear(f"f{i}", int(rng.choice([3, 16, 70])))
        b.relu(f"fr{i}")
    b.linear("classes", 4)
    return b.build()


def plan_of(net, params, backend=CPU):
    out = net.output.name
    plan = compile_plan(net, params, ["input"], [out], backend)
    return lambda images: plan({"input": images})[out]


def reference(net, params, images):
    double = {name: value.astype(np.float64) for name, value in params.items()}
    return nn.predict(net, double, images.astype(np.float64), "reference")


def check(net, seed, bound, backend=CPU):
    params, images = random_params(net, seed), random_images(net, 5)
    run, expected = plan_of(net, params, backend), reference(net, params, images)
    found = run(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= bound * max(1.0, np.abs(expected).max())
    for size in (1, 2, 3):
        parts = [run(images[i : i + size]) for i in range(0, 5, size)]
        np.testing.assert_array_equal(np.concatenate(parts), found)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6))
def test_random_networks_agree_with_the_reference(seed):
    check(random_network(seed), seed, FAST_BOUND)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_random_networks_in_exact_mode(seed):
    check(random_network(seed), seed, EXACT_BOUND, EXACT)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_networks_of_the_lenet_kind_agree_with_the_reference(seed):
    net = lenet_like(seed)
    assert planes_layers(net) is not None
    check(net, seed, EXACT_BOUND)


SMALL = {
    "lenet": {"widths": (7, 18, 30)},
    "lenet5": {"widths": (3, 4, 6, 5)},
    "mlp": {"hidden": (7, 6)},
    "alexnet": {"widths": (9, 12, 10, 10, 9), "hidden": (8, 7), "lrn": True},
    "vgg16": {"widths": (9, 10, 12, 12, 9, 10, 11, 12, 16, 17, 16, 20, 16)},
    "mobilenet-v1": {"width_multiplier": 0.25},
    "resnet20": {"widths": (9, 10, 18)},
    "resnet50": {"input_shape": (3, 32, 32), "widths": (3, 4, 4, 5)},
}


@pytest.mark.parametrize("name", SMALL)
def test_standard_networks(name):
    net = networks.build(name, **SMALL[name])
    check(net, 0, FAST_BOUND)
    check(net, 0, EXACT_BOUND, EXACT)


def one_layer(seed):
    """A network of one convolution of any shape, with some of what can follow it, and no more."""
    rng = np.random.default_rng(seed)
    channels, height, width = (int(n) for n in rng.integers(1, (20, 12, 12)))
    b = NetworkBuilder("one", (channels, height, width))
    kind = rng.choice(["winograd", "winograd", "direct", "depthwise"])
    if kind == "direct":
        kernel = int(rng.integers(1, 1 + min(5, height, width)))
        filters, stride, padding = (int(n) for n in rng.integers((1, 1, 0), (36, 4, 3)))
        b.conv("c", filters, kernel, stride=stride, padding=padding)
    elif kind == "depthwise":
        b.conv("c", channels, 3, stride=int(rng.integers(1, 3)), padding=1, groups=channels)
    else:
        b.conv("c", channels if rng.integers(2) else int(rng.integers(1, 52)), 3, padding=1)
    same = b.build().shapes["c"] == b.input_shape
    if rng.integers(2):
        b.batch_norm("n")
    if same and rng.integers(2):
        b.add("a", b.last, "input")
    if rng.integers(2):
        b.relu("r")
    if rng.integers(3) == 0 and min(b.build().shapes[b.last][1:]) >= 2:
        b.max_pool("p", 2)
    return b.build()


def test_five_hundred_layers_agree_with_the_reference():
    for seed in range(20 if numba.config.DISABLE_JIT else 500):
        net, exact = one_layer(seed), seed % 3 == 0
        params, images = random_params(net, seed), random_images(net, 2, seed)
        found = plan_of(net, params, EXACT if exact else CPU)(images)
        expected = reference(net, params, images)
        bound = EXACT_BOUND if exact else FAST_BOUND
        assert np.abs(found - expected).max() <= bound * max(1.0, np.abs(expected).max()), seed


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "alexnet"])
def test_sharing_the_tiles_changes_no_bit(monkeypatch, name):
    net = networks.build(name, **SMALL[name])
    params, images = random_params(net, 2), random_images(net, 11)
    expected = plan_of(net, params)(images)
    monkeypatch.setattr(fused_layout, "_SHARED_FILTERS", 0)
    for most in (10**6, 0):  # all images at once, and one by one
        monkeypatch.setattr(fused_layout, "_SHARED_TILES", most)
        run = plan_of(net, params)
        np.testing.assert_array_equal(run(images), expected)
        np.testing.assert_array_equal(run(images[:3]), expected[:3])


def test_lenet_qualifies_whatever_is_pruned_and_others_do_not():
    for widths in ((20, 50, 500), (1, 1, 1)):
        assert planes_layers(networks.build("lenet", widths=widths)) is not None
    for name in ("conv3", "lenet5", "mlp", "vgg16", "resnet20"):
        assert planes_layers(networks.build(name)) is None


def test_predict_and_evaluate_use_plans():
    net = networks.build("vgg16", **SMALL["vgg16"])
    params, images = random_params(net, 3), random_images(net, 7)
    run = plan_of(net, params)
    for size in (1, 4, 250):
        np.testing.assert_array_equal(nn.predict(net, params, images, batch_size=size), run(images))
    labels = run(images).argmax(axis=1)
    assert nn.evaluate(net, params, images, labels).wrong == 0
    assert nn.predict(net, params, images[:0]).shape == (0, 10)
    assert run(images[:0]).shape == (0, 10)


def test_more_images_than_memory_is_laid_out_for():
    net = networks.build("conv3", (1, 8, 8), widths=(4, 5, 6))
    params, images = random_params(net, 0), random_images(net, 300)
    run = plan_of(net, params)
    found = run(images)
    np.testing.assert_array_equal(found[250:], run(images[250:]))


@pytest.mark.parametrize("cut", ["r1", "out2", "pool"])
def test_parts_put_together_have_the_bits_of_the_whole(cut):
    b = NetworkBuilder("cut", (3, 8, 8))
    b.conv("c1", 9, 3, padding=1)
    b.batch_norm("bn1")
    trunk = b.relu("r1")
    b.conv("c2", 9, 3, padding=1)
    b.batch_norm("bn2")
    b.add("sum2", b.last, trunk)
    b.relu("out2")
    b.conv("c3", 5, 3)
    b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("fc", 4)
    net = b.build()
    params, images = random_params(net, 0), random_images(net, 6)
    first = compile_plan(net, params, ["input"], [cut], CPU)({"input": images})
    second = compile_plan(net, params, [cut], ["fc"], CPU)(first)["fc"]
    np.testing.assert_array_equal(second, plan_of(net, params)(images))
    both = compile_plan(net, params, ["input"], [cut, "fc"], CPU)({"input": images})
    np.testing.assert_array_equal(both[cut], first[cut])
    np.testing.assert_array_equal(both["fc"], second)
    assert first[cut].shape == (6, *net.shapes[cut])


@pytest.mark.parametrize("name", ["lenet", "resnet20"])
def test_not_a_number_stays_in_its_image(name):
    net = networks.build(name, **SMALL[name])
    params, images = random_params(net, 1), random_images(net, 6)
    expected = nn.predict(net, params, images)
    images[2, 0, 5, 5] = np.nan
    found = nn.predict(net, params, images)
    assert np.isnan(found[2]).all()
    others = np.arange(6) != 2
    np.testing.assert_array_equal(found[others], expected[others])


def test_memory_is_bounded():
    net = networks.build("vgg16")
    plan = compile_plan(net, net.init(0), ["input"], [net.output.name], CPU).__self__
    layout = plan._layout
    assert 4 * layout.own < 64e6  # a thread's
    assert 4 * layout.shared < 80e6  # for all images of a batch, however many there are in all
    assert layout.weights.nbytes < 300e6


def test_memory_is_kept_only_on_demand():
    net = networks.build("conv3", (1, 8, 8), widths=(4, 5, 6))
    params, images = random_params(net, 0), random_images(net, 3)
    for keep in (True, False):
        plan = compile_plan(net, params, ["input"], ["fc"], CPU, keep_memory=keep)
        first = plan({"input": images})["fc"]
        np.testing.assert_array_equal(plan({"input": images})["fc"], first)
        assert len(plan.__self__._free) == keep


def test_what_is_not_fusible_runs_node_by_node():
    net = networks.build("lenet", **SMALL["lenet"])
    params, images = random_params(net, 0), random_images(net, 2)
    assert is_fusible(params, [images], CPU)
    assert not is_fusible(params, [images], load_backend("reference"))
    assert not is_fusible(params, [images.astype(np.float64)], CPU)
    assert not is_fusible({"w": np.zeros(1)}, [images], CPU)
    with pytest.raises(TypeError, match="float32"):
        nn.predict(net, params, images.astype(np.float64))


def test_parameters_that_do_not_fit_name_the_layer():
    net = networks.build("resnet20", **SMALL["resnet20"])
    params = random_params(net, 0)
    wrong = {**params, "fc.weight": params["fc.weight"][:, 1:]}
    with pytest.raises(NetworkError, match=r'node "fc".*got \(10, 17\)'):
        nn.predict(net, wrong, random_images(net, 1))
    del wrong["fc.weight"]
    with pytest.raises(NetworkError, match=r'node "fc".*missing'):
        nn.predict(net, wrong, random_images(net, 1))


def test_parameters_are_copied():
    net = networks.build("conv3", (1, 8, 8), widths=(4, 5, 6))
    params, images = random_params(net, 0), random_images(net, 2)
    run = plan_of(net, params)
    before = run(images)
    for value in params.values():
        value += 1
    np.testing.assert_array_equal(run(images), before)


THREADS = """
import sys
import numba, numpy as np
sys.path.insert(0, {folder!r})
from test_fused import SMALL, fused_layout, networks, plan_of, random_images, random_params
for name in ("lenet", "resnet20", "mobilenet-v1", "alexnet", "vgg16"):
    net = networks.build(name, **SMALL[name])
    fused_layout._SHARED_FILTERS = 0 if name == "vgg16" else 10**9
    run, images = plan_of(net, random_params(net, 0)), random_images(net, 70)
    found = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        found.append(run(images))
    assert (found[0] == found[1]).all(), name
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="interpreted kernels have one thread")
def test_bits_do_not_depend_on_threads():
    code = THREADS.format(folder=os.path.dirname(__file__))
    # Threads that spin for a processor which others keep busy wait long.
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
