"""Pointwise convolution and its input gradient on planes, bit for bit against the chain that they state."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pointwise import pointwise_conv, pointwise_fits, pointwise_input_grad
from emoref_kernels.cpu.simd import LANES, fma
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)


@jit()
def chains(x, w, out):
    """Compute out[p, f], the chain of multiply-adds over channels of the pixels x[p] and the filters w[f]."""
    for p in range(x.shape[0]):
        for f in range(w.shape[0]):
            total = np.float32(0)
            for c in range(x.shape[1]):
                total = fma(w[f, c], x[p, c], total)
            out[p, f] = total


def product(x, w):
    """Return the chains of planes (N, C, H, W) and filters (F, C) as planes."""
    pixels = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1, x.shape[1])
    out = np.empty((pixels.shape[0], w.shape[0]), np.float32)
    chains(pixels, np.ascontiguousarray(w), out)
    return out.reshape(x.shape[0], *x.shape[2:], -1).transpose(0, 3, 1, 2)


def guarded(shape, compute):
    """Return a result of `shape` that `compute` writes, and check what lies around it."""
    memory = np.full(int(np.prod(shape)) + 64, GUARD, np.float32)
    compute(memory[32:-32])
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
    return memory[32:-32].reshape(shape).copy()


def forward(x, w, bias, stride):
    y_shape = (x.shape[0], w.shape[0], *((np.array(x.shape[2:]) - 1) // stride + 1).tolist())
    flat = x.reshape(-1), x.shape, w.reshape(-1), bias, stride
    return guarded(y_shape, lambda out: pointwise_conv(*flat, out, y_shape))


def gradient(dy, w, x_shape, stride):
    flat = dy.reshape(-1), dy.shape, w.reshape(-1), stride
    return guarded(x_shape, lambda out: pointwise_input_grad(*flat, out, x_shape))


def arrays(images, channels, extents, filters):
    rng = np.random.default_rng(images * filters)
    x, w = (
        rng.standard_normal(s).astype(np.float32) for s in ((images, channels, *extents), (filters, channels))
    )
    return x, w, rng.standard_normal(filters).astype(np.float32)


def check(images, channels, extents, filters, stride, biased):
    x, w, bias = arrays(images, channels, extents, filters)
    seen = x[:, :, :: stride[0], :: stride[1]]
    if not pointwise_fits((1, 1), (0, 0), 1, seen[0, 0].size, 3):
        return
    bias = bias if biased else bias[:0]
    expected = product(seen, w)
    y = forward(x, w, bias, stride)
    np.testing.assert_array_equal(y, expected + bias[:, None, None] if biased else expected)
    dy = y - np.float32(0.5)
    expected_dx = np.zeros_like(x)
    expected_dx[:, :, :: stride[0], :: stride[1]] = product(dy, w.T)
    np.testing.assert_array_equal(gradient(dy, w, x.shape, stride), expected_dx)


@settings(deadline=None, max_examples=400)
@given(
    images=st.integers(1, 7),
    channels=st.integers(1, 37),
    extents=st.tuples(st.integers(1, 20), st.integers(1, 2 * LANES + 3)),
    filters=st.integers(1, 37),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    biased=st.booleans(),
)
@example(3, 5, (6, 2 * LANES), 11, (2, 2), True)
@example(3, 5, (7, LANES), 11, (2, 2), True)
@example(3, 5, (7, 3 * LANES), 11, (3, 2), False)
@example(3, 5, (4, LANES), 16, (1, 1), False)
def test_any_shape_has_the_bits_of_the_chain(images, channels, extents, filters, stride, biased):
    check(images, channels, extents, filters, stride, biased)


@settings(deadline=None, max_examples=150)
@given(
    images=st.integers(1, 4),
    halves=st.integers(1, 5),
    rows=st.integers(1, 9),
    channels=st.integers(1, 20),
    filters=st.integers(3, 20),
    stride=st.integers(1, 3),
)
def test_rows_of_half_vectors_at_a_stride_of_two(images, halves, rows, channels, filters, stride):
    check(images, channels, (rows, halves * LANES), filters, (stride, 2), biased=True)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (3, 1)])
def test_the_reference_agrees(stride):
    x, w, bias = arrays(3, 70, (11, 24), 29)
    wide = x.astype(np.float64), w.astype(np.float64)[:, :, None, None]
    expected = reference.conv2d(*wide, bias.astype(np.float64), stride, 0)
    y = forward(x, w, bias, stride)
    assert np.abs(y - expected).max() < 2e-6 * np.abs(expected).max()
    expected_dx = reference.conv2d_input_grad(expected, wide[1], x.shape, stride, 0)
    dx = gradient(expected.astype(np.float32), w, x.shape, stride)
    assert np.abs(dx - expected_dx).max() < 2e-6 * np.abs(expected_dx).max()


@pytest.mark.parametrize(
    ("images", "filters", "extents"), [(5, 21, (5, 7)), (1, 700, (4, 5)), (9, 16, (4, LANES))]
)
def test_bits_do_not_depend_on_the_threads(images, filters, extents):
    """One image and many filters: the filters are shared; else the pixels."""
    x, w, bias = arrays(images, 6, extents, filters)
    most, results = numba.get_num_threads(), []
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            y = forward(x, w, bias, (1, 1))
            results.append((y, gradient(y, w, x.shape, (1, 1))))
    finally:
        numba.set_num_threads(most)
    for y, dx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][1])


def test_an_image_does_not_depend_on_the_others():
    x, w, bias = arrays(6, 9, (5, 5), 13)
    together = forward(x, w, bias, (1, 1))
    x[1:] = np.nan
    np.testing.assert_array_equal(forward(x, w, bias, (1, 1))[0], together[0])
    np.testing.assert_array_equal(forward(x[:1], w, bias, (1, 1))[0], together[0])


def test_which_shapes_fit():
    fitting = (1, 1), (0, 0), 1, LANES, 3
    assert pointwise_fits(*fitting)
    for place, value in ((0, (1, 2)), (1, (1, 0)), (2, 3), (3, LANES - 1), (4, 2)):
        changed = list(fitting)
        changed[place] = value
        assert not pointwise_fits(*changed)
