"""Winograd convolutions against float64, in every cut of the work; bounds of the error; equal bits."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels import load_backend
from emoref_kernels.cpu import simd, winograd, winograd_cuts
from emoref_kernels.cpu.maps import Maps
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_filters import transform_filters
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
NO_BIAS = np.zeros(0, dtype=np.float32)

# Root mean square and largest error that the modes promise, of the largest magnitude of the result.
BOUNDS = {4: (1e-5, 1e-4), 2: (2e-6, 1e-5)}

# images, channels, height, width, filters, padding
SHAPES = {
    "whole tiles": (3, 16, 8, 8, 32, (1, 1)),
    "odd everything": (2, 19, 7, 10, 21, (1, 1)),
    "one pixel": (3, 17, 1, 1, 5, (1, 1)),
    "one of everything": (1, 1, 1, 1, 1, (1, 1)),
    "no padding": (2, 16, 9, 6, 18, (0, 0)),
    "wide padding": (2, 16, 5, 6, 18, (2, 2)),
    "mixed padding": (5, 35, 4, 6, 50, (0, 2)),
    "vgg": (2, 64, 18, 18, 64, (1, 1)),
    "bands": (1, 16, 70, 66, 20, (1, 1)),
}


def arrays(case):
    images, channels, height, width, filters, padding = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, channels, height, width)).astype(np.float32)
    w = rng.standard_normal((filters, channels, 3, 3)).astype(np.float32)
    b = rng.standard_normal(filters).astype(np.float32)
    dy_shape = (images, filters, height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
    return x, w, b, rng.standard_normal(dy_shape).astype(np.float32)


def guarded(shape, fill=GUARD):
    """Return memory with guard zones, and the part of it between them."""
    memory = np.full(int(np.prod(shape)) + 128, fill, dtype=np.float32)
    return memory, memory[64:-64]


def forward(x, w, b, padding, outputs):
    y_shape = (len(x), len(w), x.shape[2] + 2 * padding[0] - 2, x.shape[3] + 2 * padding[1] - 2)
    memory, y = guarded(y_shape)
    u = transform_filters(w.reshape(-1), w.shape, outputs, turned=False)
    winograd.winograd_conv(x.reshape(-1), x.shape, u, len(w), b, padding, outputs, y)
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return y.reshape(y_shape)


def input_grad(dy, w, x_shape, padding, outputs):
    memory, dx = guarded(x_shape)
    u = transform_filters(w.reshape(-1), w.shape, outputs, turned=True)
    around = 2 - padding[0], 2 - padding[1]
    winograd.winograd_conv(dy.reshape(-1), dy.shape, u, w.shape[1], NO_BIAS, around, outputs, dx)
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return dx.reshape(x_shape)


def weight_grad(dy, x, w_shape, padding, outputs):
    memory, dw = guarded(w_shape)
    winograd.winograd_weight_grad(dy.reshape(-1), x.reshape(-1), x.shape, w_shape[0], padding, outputs, dw)
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return dw.reshape(w_shape)


def all_passes(case, outputs):
    x, w, b, dy = arrays(case)
    padding = case[-1]
    return (
        forward(x, w, b, padding, outputs),
        input_grad(dy, w, x.shape, padding, outputs),
        weight_grad(dy, x, w.shape, padding, outputs),
    )


def guarded_maps(shape):
    """Return memory with guard zones, and the maps between them."""
    pixels = Maps.empty(shape).pixels
    memory, flat = guarded(pixels.shape)
    return memory, Maps(flat.reshape(pixels.shape), shape[1])


def convolve_maps(x, y_shape, u, b, padding, outputs):
    memory, y = guarded_maps(y_shape)
    winograd.winograd_conv(x.flat, x.shape, u, y.channels, b, padding, outputs, y.flat, channels_last=True)
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    assert np.all(y.pixels[..., y.channels :] == 0)
    return y


def all_passes_of_maps(case, outputs):
    x, w, b, dy = arrays(case)
    padding = case[-1]
    maps, gradient = Maps.from_planes(x), Maps.from_planes(dy)
    around = 2 - padding[0], 2 - padding[1]
    u = transform_filters(w.reshape(-1), w.shape, outputs, turned=False)
    y = convolve_maps(maps, dy.shape, u, b, padding, outputs)
    u = transform_filters(w.reshape(-1), w.shape, outputs, turned=True)
    dx = convolve_maps(gradient, x.shape, u, NO_BIAS, around, outputs)
    memory, dw = guarded(w.shape)
    winograd.winograd_weight_grad(
        gradient.flat, maps.flat, x.shape, len(w), padding, outputs, dw, channels_last=True
    )
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return np.asarray(y), np.asarray(dx), dw.reshape(w.shape)


def expected_passes(case):
    x, w, b, dy = (array.astype(np.float64) for array in arrays(case))
    padding = case[-1]
    return (
        reference.conv2d(x, w, b, 1, padding),
        reference.conv2d_input_grad(dy, w, x.shape, 1, padding),
        reference.conv2d_weight_grad(dy, x, w.shape, 1, padding),
    )


def assert_within(got, expected, outputs):
    error = np.abs(got - expected) / np.abs(expected).max()
    mean, largest = BOUNDS[outputs]
    assert np.sqrt(np.mean(error**2)) < mean
    assert error.max() < largest


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_every_pass_agrees_with_the_reference(name, outputs):
    for got, expected in zip(all_passes(SHAPES[name], outputs), expected_passes(SHAPES[name]), strict=True):
        assert_within(got, expected, outputs)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 3),
    channels=st.one_of(st.integers(1, LANES), st.integers(1, 3 * LANES + 1)),
    filters=st.one_of(st.integers(1, LANES), st.integers(1, 4 * LANES + 1)),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    padding=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    outputs=st.sampled_from([2, 4]),
)
def test_any_shape_agrees_with_the_reference(images, channels, filters, size, padding, outputs):
    case = (images, channels, *size, filters, padding)
    for got, expected in zip(all_passes(case, outputs), expected_passes(case), strict=True):
        assert_within(got, expected, outputs)


def few_channels(case):
    """Tell whether maps of a case would not be padded, as those of images are not."""
    return min(case[1], case[4]) < 4


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", [name for name in SHAPES if not few_channels(SHAPES[name])])
def test_maps_give_the_bits_of_planes(name, outputs):
    for got, expected in zip(
        all_passes_of_maps(SHAPES[name], outputs), all_passes(SHAPES[name], outputs), strict=True
    ):
        assert got.tobytes() == expected.tobytes()


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 3),
    channels=st.integers(4, 3 * LANES + 1),
    filters=st.integers(4, 4 * LANES + 1),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    outputs=st.sampled_from([2, 4]),
)
def test_maps_of_any_shape_give_the_bits_of_planes(images, channels, filters, size, padding, outputs):
    height, width = (max(extent, 3 - 2 * around) for extent, around in zip(size, padding, strict=True))
    case = (images, channels, height, width, filters, padding)
    for got, expected in zip(all_passes_of_maps(case, outputs), all_passes(case, outputs), strict=True):
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_channels_stay_zero_whatever_the_images_hold(value):
    x = Maps.zeros((2, 19, 6, 9))
    x.pixels[1, 2, 3, 4] = value
    w = np.ones((21, 19, 3, 3), dtype=np.float32)
    u = transform_filters(w.reshape(-1), w.shape, 4, turned=False)
    y = convolve_maps(x, (2, 21, 6, 9), u, NO_BIAS, (1, 1), 4)
    assert not np.any(np.isfinite(np.asarray(y)[1, :, 1:4, 2:5]))
    assert np.all(np.asarray(y)[0] == 0)


def forget_plans():
    """Have the cut chosen anew: plans are kept by shape."""
    winograd._conv_plan.cache_clear()
    winograd._gradient_plan.cache_clear()


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", ["odd everything", "vgg", "bands"])
def test_the_cut_of_the_work_changes_no_bit_of_a_convolution(monkeypatch, name, outputs):
    case = SHAPES[name]
    expected = all_passes(case, outputs)
    for changes in (
        {"_BLOCK_FLOATS": 0},
        {"_TOGETHER_FLOATS": 0, "_TOGETHER_SUMS": 0},
        {"_PHASE_FLOATS": (0, 0)},
        {"_PIXEL_FLOATS": 0},
    ):
        for setting, value in changes.items():
            monkeypatch.setattr(winograd_cuts if setting == "_PIXEL_FLOATS" else winograd, setting, value)
        forget_plans()
        y, dx, dw = all_passes(case, outputs)
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(dx, expected[1])
        assert_within(dw, expected[2], outputs)
        for got, planes in zip(all_passes_of_maps(case, outputs), (y, dx, dw), strict=True):
            np.testing.assert_array_equal(got, planes)
    forget_plans()


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_images_do_not_depend_on_their_batch(name, outputs):
    case = SHAPES[name]
    x, w, b, _ = arrays(case)
    y = forward(x, w, b, case[-1], outputs)
    for i, j in ((0, 1), (len(x) // 2, len(x)), (len(x) - 1, len(x))):
        np.testing.assert_array_equal(forward(x[i:j], w, b, case[-1], outputs), y[i:j])
    dx = input_grad(y, w, x.shape, case[-1], outputs)
    np.testing.assert_array_equal(input_grad(y[-1:], w, x[-1:].shape, case[-1], outputs), dx[-1:])


def check_threads():
    """Assert equal bits for every number of threads up to the most."""
    most = numba.get_num_threads()
    assert most >= 2
    for case in SHAPES.values():
        for outputs in (2, 4):
            for most_together in (2**30, 0):
                winograd._TOGETHER_FLOATS = winograd._TOGETHER_SUMS = most_together
                forget_plans()
                results = []
                for threads in range(1, most + 1):
                    numba.set_num_threads(threads)
                    passes = all_passes(case, outputs)
                    if not few_channels(case):
                        passes += all_passes_of_maps(case, outputs)
                    results.append([array.tobytes() for array in passes])
                assert all(result == results[0] for result in results)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        images, channels, height, width, filters = (int(n) for n in rng.integers(1, [4, 40, 12, 12, 40]))
        found = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found.append(all_passes((images, channels, height, width, filters, (1, 1)), 2 + 2 * (seed % 2)))
        assert all(np.array_equal(one, two) for one, two in zip(*found, strict=True)), seed


def run_here(code, **settings):
    environment = {
        **os.environ,
        # Threads that spin for a processor which others keep busy wait long.
        "OMP_WAIT_POLICY": "passive",
        **settings,
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)]),
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_bits_do_not_depend_on_the_threads():
    run_here("import test_winograd; test_winograd.check_threads()", NUMBA_NUM_THREADS="2")


OTHER_PROCESSOR = """
import test_winograd as t
from emoref_kernels.cpu.simd import LANES
for name in ("odd everything", "mixed padding", "vgg"):
    for outputs in (2, 4):
        case = t.SHAPES[name]
        for got, expected in zip(t.all_passes(case, outputs), t.expected_passes(case), strict=True):
            t.assert_within(got, expected, outputs)
print(LANES)
"""


@pytest.mark.skipif("avx2" not in simd.enabled_features(), reason="needs a processor with AVX2")
@pytest.mark.parametrize(
    ("name", "features", "lanes"), [("haswell", "+avx2,+fma", "8"), ("nehalem", "", "4")]
)
def test_narrower_vectors_on_other_processors(name, features, lanes):
    found = run_here(OTHER_PROCESSOR, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    assert found.split() == [lanes]


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize("channels", [16, 128, 256])
def test_modes_keep_their_bounds(mode, channels):
    k = load_backend("cpu", mode)
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((2, channels, 8, 8)).astype(np.float32)
    w = rng.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    wide = [array.astype(np.float64) for array in (x, w, dy)]
    outputs = 4 if mode == "fast" else 2
    assert_within(k.conv2d(x, w, None, 1, 1), reference.conv2d(*wide[:2], None, 1, 1), outputs)
    dx = reference.conv2d_input_grad(wide[2], wide[1], x.shape, 1, 1)
    assert_within(k.conv2d_input_grad(dy, w, x.shape, 1, 1), dx, outputs)
    dw = reference.conv2d_weight_grad(wide[2], wide[0], w.shape, 1, 1)
    assert_within(k.conv2d_weight_grad(dy, x, w.shape, 1, 1), dw, outputs)


def test_nan_reaches_its_tile_and_no_other():
    x = np.zeros((2, 16, 12, 12), dtype=np.float32)
    x[0, 3, 1, 1] = np.nan
    y = load_backend("cpu").conv2d(x, np.ones((16, 16, 3, 3), np.float32), None, 1, 1)
    assert np.all(np.isnan(y[0, :, :3, :3]))
    assert np.all(y[0, :, 8:] == 0)
    assert np.all(y[1] == 0)


def test_memory_beyond_the_limit_is_not_kept(monkeypatch):
    workspace = winograd_cuts.Workspace()
    kept = workspace.array("a", 10)
    assert workspace.array("a", 8) is kept
    monkeypatch.setattr(winograd_cuts, "_KEPT_FLOATS", 20)
    assert workspace.array("a", 21) is not workspace.array("a", 21)
    assert workspace.array("a", 8) is kept
