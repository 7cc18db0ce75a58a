"""Weight and bias gradients on channels-last maps against the reference in float64."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.maps import Maps
from emoref_kernels.cpu.maps_weight import direct_weight_grad, maps_bias_grad
from emoref_kernels.cpu.maps_weight_cuts import cut
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
EDGE = 64


def guarded_copy(maps):
    """Return the memory of maps between NaNs, which spoil any sum that they get into."""
    memory = np.full(maps.flat.size + 2 * EDGE, np.nan, dtype=np.float32)
    memory[EDGE:-EDGE] = maps.flat
    return memory[EDGE:-EDGE]


def operands(images, channels, filters, size, kernel, stride, padding):
    rng = np.random.default_rng(0)
    extents = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    x = rng.standard_normal((images, channels, *size)).astype(np.float32)
    dy = rng.standard_normal((images, filters, *extents)).astype(np.float32)
    return x, dy


def weight_grad(x, dy, kernel, stride, padding):
    """Return the gradient as the kernel gives it; what lies round it stays as it is."""
    maps, dy_maps = Maps.from_planes(x), Maps.from_planes(dy)
    shape = (dy.shape[1], x.shape[1], *kernel)
    memory = np.full(int(np.prod(shape)) + 2 * EDGE, GUARD, dtype=np.float32)
    dw = memory[EDGE:-EDGE].reshape(shape)
    dy_memory, x_memory = guarded_copy(dy_maps), guarded_copy(maps)
    sides = (dy_memory, dy.shape, dy_maps.stride, x_memory, x.shape, maps.stride)
    direct_weight_grad(*sides, stride, padding, dw)
    assert np.all(memory[:EDGE] == GUARD)
    assert np.all(memory[-EDGE:] == GUARD)
    return dw


def check(images, channels, filters, size, kernel, stride, padding):
    x, dy = operands(images, channels, filters, size, kernel, stride, padding)
    got = weight_grad(x, dy, kernel, stride, padding)
    wide = dy.astype(np.float64), x.astype(np.float64)
    expected = reference.conv2d_weight_grad(*wide, got.shape, stride, padding)
    assert np.abs(got - expected).max() < 2e-6 * max(np.abs(expected).max(), 1.0)


CHANNELS = st.sampled_from([1, 2, 3, 4, 7, 16, 17, 33, 48, 70])
PAIRS = {"stride": st.tuples(*[st.integers(1, 3)] * 2), "padding": st.tuples(*[st.integers(0, 3)] * 2)}


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 5),
    channels=CHANNELS,
    filters=CHANNELS,
    size=st.tuples(st.integers(1, 11), st.integers(1, 19)),
    kernel=st.one_of(st.just((1, 1)), st.just((3, 3)), st.tuples(*[st.integers(1, 6)] * 2)),
    **PAIRS,
)
def test_any_shape_agrees_with_the_reference(images, channels, filters, size, kernel, stride, padding):
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    check(images, channels, filters, size, kernel, stride, padding)


# images, channels, filters, size, kernel, stride, padding
LAYERS = {
    "1x1": (18, 32, 64, (32, 32), (1, 1), (1, 1), (0, 0)),
    "1x1, shared": (3, 200, 264, (4, 4), (1, 1), (1, 1), (0, 0)),
    "1x1, stride 2, swapped": (5, 16, 32, (31, 32), (1, 1), (2, 2), (0, 0)),
    "3x3, stride 2": (3, 16, 32, (32, 32), (3, 3), (2, 2), (1, 1)),
    "3x3, shared": (3, 144, 140, (4, 4), (3, 3), (1, 1), (1, 1)),
    "3x3, 1x1 maps": (9, 32, 32, (1, 1), (3, 3), (1, 1), (1, 1)),
    "first layer": (2, 3, 16, (32, 32), (3, 3), (1, 1), (1, 1)),
    "lenet1": (2, 1, 20, (28, 28), (5, 5), (1, 1), (0, 0)),
    "lenet2": (3, 20, 50, (12, 12), (5, 5), (1, 1), (0, 0)),
    "7x7, stride 2": (1, 3, 24, (40, 40), (7, 7), (2, 2), (3, 3)),
    "wide rows": (1, 5, 6, (3, 700), (3, 3), (1, 1), (1, 1)),
    "in place, padded above": (2, 16, 24, (9, 40), (3, 1), (1, 1), (1, 0)),
    "few filters": (2, 32, 3, (9, 9), (3, 3), (1, 1), (1, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_with_the_reference(name):
    check(*LAYERS[name])


def test_layers_cover_every_way_of_cutting():
    plans = []
    for images, channels, filters, size, kernel, stride, padding in LAYERS.values():
        x, dy = operands(images, channels, filters, size, kernel, stride, padding)
        strides = Maps.empty(x.shape).stride, Maps.empty(dy.shape).stride
        plans.append(cut(x.shape, strides[0], dy.shape, strides[1], kernel, stride, padding).plan)
    for field in ("swapped", "copied", "folded", "left_copied", "shared"):
        assert {getattr(plan, field) for plan in plans} == {0, 1}, field
    assert any(plan.bands > 1 for plan in plans)
    assert any(plan.parts > plan.groups > 1 for plan in plans)
    assert any(plan.slices > 1 for plan in plans)
    assert any(plan.row_items > 1 for plan in plans)


def test_long_sums_of_a_large_gradient_are_added_in_parts():
    shapes = (2, 96, 64, 72), (2, 96, 64, 72)
    plan = cut(shapes[0], 96, shapes[1], 96, (3, 3), (1, 1), (1, 1)).plan
    assert plan.shared
    assert plan.parts > 1
    check(2, 96, 96, (64, 72), (3, 3), (1, 1), (1, 1))


def test_bits_do_not_depend_on_the_threads():
    results, names = [], ("1x1", "3x3, shared", "first layer")
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append([g for name in names for g in threaded(*LAYERS[name])])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def threaded(images, channels, filters, size, kernel, stride, padding):
    x, dy = operands(images, channels, filters, size, kernel, stride, padding)
    return [weight_grad(x, dy, kernel, stride, padding), bias_grad(dy)]


def bias_grad(dy):
    maps = Maps.from_planes(dy)
    memory = np.full(dy.shape[1] + 2 * EDGE, GUARD, dtype=np.float32)
    maps_bias_grad(guarded_copy(maps), dy.shape, maps.stride, memory[EDGE:-EDGE])
    assert np.all(memory[:EDGE] == GUARD)
    assert np.all(memory[-EDGE:] == GUARD)
    return memory[EDGE:-EDGE]


@settings(deadline=None, max_examples=200)
@given(shape=st.tuples(st.integers(1, 6), CHANNELS, st.integers(1, 40), st.integers(1, 40)))
def test_bias_gradient_agrees_with_the_reference(shape):
    dy = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = dy.sum(axis=(0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(bias_grad(dy), expected, rtol=0, atol=1e-5 * np.sqrt(dy[:, 0].size))


def test_nan_reaches_its_filter_and_no_other():
    x, dy = operands(2, 16, 20, (6, 6), (3, 3), (1, 1), (1, 1))
    dy[1, 5, 2, 2] = np.nan
    dw, db = weight_grad(x, dy, (3, 3), (1, 1), (1, 1)), bias_grad(dy)
    assert np.isnan(dw[5]).all()
    assert np.isnan(db[5])
    assert np.isfinite(np.delete(dw, 5, axis=0)).all()
    assert np.isfinite(np.delete(db, 5)).all()
