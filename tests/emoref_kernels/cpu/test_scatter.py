"""The scattered input gradient against float64, and equal bits however the images are cut."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.scatter import scatter_input_grad
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)

# images, channels, height, width, filters, kernel, stride, padding
SHAPES = {
    "lenet2": (9, 20, 12, 12, 50, (5, 5), (1, 1), (0, 0)),
    "one output pixel": (3, 16, 5, 5, 30, (5, 5), (1, 1), (0, 0)),
    "stride 2": (8, 16, 9, 11, 7, (3, 3), (2, 2), (1, 1)),
    "stride above kernel": (2, 3, 13, 11, 8, (2, 1), (4, 3), (1, 0)),
    "kernel above input": (2, 3, 2, 3, 6, (5, 4), (1, 2), (2, 3)),
    "padding above kernel": (2, 3, 4, 3, 6, (1, 2), (1, 1), (3, 4)),
    "many filters": (1, 2, 4, 5, 140, (3, 2), (1, 1), (1, 0)),
    "one of everything": (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
}


def arrays(case):
    images, channels, height, width, filters, kernel, stride, padding = case
    rng = np.random.default_rng(0)
    y_size = [
        (x + 2 * pad - size) // step + 1
        for x, pad, size, step in zip((height, width), padding, kernel, stride, strict=True)
    ]
    dy = rng.standard_normal((images, filters, *y_size)).astype(np.float32)
    return dy, rng.standard_normal((filters, channels, *kernel)).astype(np.float32)


def gradient(dy, w, case):
    """Compute the gradient between guard zones."""
    x_shape = (len(dy), *case[1:4])
    memory = np.full(int(np.prod(x_shape)) + 128, GUARD, dtype=np.float32)
    stride, padding = case[-2:]
    dx = memory[64:-64]
    scatter_input_grad(dy.reshape(-1), dy.shape, w.reshape(-1), w.shape, stride, padding, dx, x_shape)
    assert np.all(memory[:64] == GUARD)
    assert np.all(memory[-64:] == GUARD)
    return dx.reshape(x_shape)


def check(case):
    dy, w = arrays(case)
    dx = gradient(dy, w, case)
    expected = reference.conv2d_input_grad(dy.astype(np.float64), w.astype(np.float64), dx.shape, *case[-2:])
    # The k-th addition rounds a sum of about sqrt(k) to 2**-24 of it.
    terms = w.size // w.shape[1]
    np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=4 * 2.0**-24 * terms + 1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_the_reference(name):
    check(SHAPES[name])


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 10),
    channels=st.integers(1, 21),
    filters=st.integers(1, 19),
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_any_shape_agrees_with_the_reference(images, channels, filters, size, kernel, stride, padding):
    assume(all(k <= extent + 2 * pad for k, extent, pad in zip(kernel, size, padding, strict=True)))
    check((images, channels, *size, filters, kernel, stride, padding))


@pytest.mark.parametrize("name", SHAPES)
def test_images_do_not_depend_on_their_batch(name):
    dy, w = arrays(SHAPES[name])
    dx = gradient(dy, w, SHAPES[name])
    for i, j in ((0, 1), (len(dy) // 2, len(dy)), (len(dy) - 1, len(dy))):
        np.testing.assert_array_equal(gradient(dy[i:j], w, SHAPES[name]), dx[i:j])


def test_bits_do_not_depend_on_the_threads():
    most = numba.get_num_threads()
    rng = np.random.default_rng(3)
    cases = [*SHAPES.values()]
    cases += [(40, int(rng.integers(1, 20)), 8, 7, 12, (3, 5), (1, 1), (0, 1)) for _ in range(10)]
    try:
        for case in cases:
            dy, w = arrays(case)
            found = []
            for threads in range(1, most + 1):
                numba.set_num_threads(threads)
                found.append(gradient(dy, w, case))
            for dx in found[1:]:
                np.testing.assert_array_equal(dx, found[0])
    finally:
        numba.set_num_threads(most)


def test_nan_stays_with_its_image():
    case = (9, 3, 6, 6, 4, (3, 3), (1, 1), (0, 0))
    dy, w = arrays(case)
    expected = gradient(dy, w, case)
    dy[4, 3, 2, 2] = np.nan
    dx = gradient(dy, w, case)
    assert np.all(np.isnan(dx[4, :, 2:5, 2:5]))
    np.testing.assert_array_equal(np.delete(dx, 4, axis=0), np.delete(expected, 4, axis=0))
