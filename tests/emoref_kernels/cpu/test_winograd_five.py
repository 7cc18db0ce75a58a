"""Winograd convolutions of 5 x 5 filters against float64, in every cut of the work; equal bits."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels import load_backend
from emoref_kernels.cpu import simd
from emoref_kernels.cpu import winograd_five as five
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)

# Root mean square and largest error that the mode "fast" promises, of the largest magnitude of the result.
MEAN_ERROR, LARGEST_ERROR = 1e-5, 1e-4

# images, channels, height, width, filters, padding
SHAPES = {
    "lenet2": (9, 20, 12, 12, 50, (0, 0)),
    "odd everything": (2, 17, 7, 9, 18, (2, 1)),
    "one pixel": (3, 17, 1, 1, 5, (2, 2)),
    "one of everything": (1, 1, 5, 5, 1, (0, 0)),
    "wide padding": (2, 16, 6, 5, 18, (4, 3)),
    "whole tiles": (2, 16, 8, 8, 32, (2, 2)),
    "one row of tiles": (2, 5, 8, 22, 18, (0, 2)),
}


def y_shape(case):
    images, _, height, width, filters, padding = case
    return images, filters, height + 2 * padding[0] - 4, width + 2 * padding[1] - 4


def arrays(case):
    images, channels, height, width, filters, _ = case
    rng = np.random.default_rng(0)
    shapes = ((images, channels, height, width), (filters, channels, 5, 5), filters, y_shape(case))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def guarded(function, shape):
    """Return what `function` writes between guard zones."""
    memory = np.full(int(np.prod(shape)) + 128, GUARD, dtype=np.float32)
    function(memory[64:-64])
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return memory[64:-64].reshape(shape)


def all_passes(case, x, w, b, dy):
    filters, padding = case[-2:]

    def forward(y):
        five.five_conv(x.reshape(-1), x.shape, w.reshape(-1), filters, b, padding, y)

    def input_gradient(dx):
        five.five_input_gradient(dy.reshape(-1), w.reshape(-1), filters, padding, dx, x.shape)

    def weight_gradient(dw):
        five.five_weight_gradient(dy.reshape(-1), x.reshape(-1), x.shape, filters, padding, dw)

    return (
        guarded(forward, dy.shape),
        guarded(input_gradient, x.shape),
        guarded(weight_gradient, w.shape),
    )


def expected_passes(case):
    x, w, b, dy = (array.astype(np.float64) for array in arrays(case))
    padding = case[-1]
    return (
        reference.conv2d(x, w, b, 1, padding),
        reference.conv2d_input_grad(dy, w, x.shape, 1, padding),
        reference.conv2d_weight_grad(dy, x, w.shape, 1, padding),
    )


def assert_within(got, expected, terms):
    # A result of few values may be small by chance; sums of standard normal products are about sqrt(terms).
    error = np.abs(got - expected) / max(np.abs(expected).max(), np.sqrt(terms))
    assert np.sqrt(np.mean(error**2)) < MEAN_ERROR
    assert error.max() < LARGEST_ERROR


def check(case):
    x, w, b, dy = arrays(case)
    terms = w[0].size, w[:, 0].size, dy[:, 0].size
    found = all_passes(case, x, w, b, dy)
    for got, expected, count in zip(found, expected_passes(case), terms, strict=True):
        assert_within(got, expected, count)


@pytest.mark.parametrize("name", SHAPES)
def test_every_pass_agrees_with_the_reference(name):
    check(SHAPES[name])


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 4),
    channels=st.one_of(st.integers(1, LANES), st.integers(1, 3 * LANES + 1)),
    filters=st.one_of(st.integers(1, LANES), st.integers(1, 4 * LANES + 1)),
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    padding=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    cut=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_any_shape_agrees_with_the_reference(images, channels, filters, size, padding, cut):
    # Less padding where the map has the pixels for it.
    padding = tuple(
        max(pad - less, 0) if extent > 4 else pad
        for pad, less, extent in zip(padding, cut, size, strict=True)
    )
    check((images, channels, *size, filters, padding))


@pytest.mark.parametrize("name", SHAPES)
def test_images_do_not_depend_on_their_batch(name):
    case = SHAPES[name]
    x, w, b, dy = arrays(case)
    y, dx, _ = all_passes(case, x, w, b, dy)
    for i, j in ((0, 1), (len(x) // 2, len(x)), (len(x) - 1, len(x))):
        own_y, own_dx, _ = all_passes(case, x[i:j], w, b, dy[i:j])
        np.testing.assert_array_equal(own_y, y[i:j])
        np.testing.assert_array_equal(own_dx, dx[i:j])


@pytest.mark.parametrize("name", SHAPES)
def test_the_cut_of_the_work_changes_no_bit_of_a_convolution(monkeypatch, name):
    case = SHAPES[name]
    expected = all_passes(case, *arrays(case))
    for tiles in (1, 40, 1000):
        monkeypatch.setattr(five, "_BLOCK_TILES", tiles)
        y, dx, dw = all_passes(case, *arrays(case))
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(dx, expected[1])
        assert_within(dw, expected[2], 1)


def check_threads():
    """Assert equal bits for every number of threads up to the most."""
    most = numba.get_num_threads()
    assert most >= 2
    cases = [*SHAPES.values()]
    for seed in range(60):
        images, channels, height, width, filters = (
            int(n) for n in np.random.default_rng(seed).integers(1, [12, 40, 12, 12, 40])
        )
        cases.append((images, channels, height, width, filters, (2, 2)))
    for case in cases:
        results = []
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append([array.tobytes() for array in all_passes(case, *arrays(case))])
        assert all(result == results[0] for result in results), case


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
    run_here("import test_winograd_five as t; t.check_threads()", NUMBA_NUM_THREADS="2")


OTHER_PROCESSOR = """
import test_winograd_five as t
from emoref_kernels.cpu.simd import LANES
for name in ("odd everything", "lenet2", "one row of tiles"):
    t.check(t.SHAPES[name])
print(LANES)
"""


@pytest.mark.skipif("avx2" not in simd.enabled_features(), reason="needs a processor with AVX2")
@pytest.mark.parametrize(
    ("name", "features", "lanes"), [("haswell", "+avx2,+fma", "8"), ("nehalem", "", "4")]
)
def test_narrower_vectors_on_other_processors(name, features, lanes):
    found = run_here(OTHER_PROCESSOR, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    assert found.split() == [lanes]


@pytest.mark.parametrize(("mode", "bounds"), [("fast", (1e-5, 1e-4)), ("exact", (2e-6, 1e-5))])
@pytest.mark.parametrize("channels", [20, 64])
def test_modes_keep_their_bounds(mode, bounds, channels):
    k = load_backend("cpu", mode)
    case = (2, channels, 12, 12, 48, (0, 0))
    x, w, b, dy = arrays(case)
    found = k.conv2d(x, w, b), k.conv2d_input_grad(dy, w, x.shape), k.conv2d_weight_grad(dy, x, w.shape)
    for got, expected in zip(found, expected_passes(case), strict=True):
        error = np.abs(got - expected) / np.abs(expected).max()
        assert np.sqrt(np.mean(error**2)) < bounds[0]
        assert error.max() < bounds[1]


def test_nan_reaches_its_tile_and_no_other():
    x = np.zeros((2, 20, 16, 16), dtype=np.float32)
    x[0, 3, 1, 1] = np.nan
    y = load_backend("cpu").conv2d(x, np.ones((48, 20, 5, 5), np.float32), None, 1, 2)
    assert np.all(np.isnan(y[0, :, :4, :4]))
    assert np.all(y[0, :, 8:] == 0)
    assert np.all(y[1] == 0)
