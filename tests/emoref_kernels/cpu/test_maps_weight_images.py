"""First layers' weight gradient: tiles against plain loops bit for bit, layers against the reference."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import maps_weight_images
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import Maps
from emoref_kernels.cpu.maps_weight_images import image_tile_loops, image_weight_grad, is_first_layer
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
EDGE = 64


@jit()
def image_tile(sums, numbers, dy, x):
    n = numbers
    maps_weight_images.image_tile(
        sums, n[0], dy, n[1], n[2], n[3], x, n[4], n[5], n[6], n[7], n[8], n[9], n[10]
    )


@pytest.mark.parametrize(
    ("rows", "pairs", "singles", "x_step"), [(1, 0, 1, 3), (3, 2, 1, 3), (2, 3, 0, 3), (3, 0, 4, 6)]
)
def test_tiles_equal_plain_loops(rows, pairs, singles, x_step):
    rng = np.random.default_rng(rows)
    columns, stride = 2 * pairs + singles, LANES + 5
    x_row = columns * x_step + 9
    x = rng.standard_normal(7 + x_row * (rows + 3)).astype(np.float32)
    dy = rng.standard_normal(3 + rows * columns * stride).astype(np.float32)
    sums = rng.standard_normal(27 * LANES + 20).astype(np.float32)
    expected = sums.copy()
    numbers = np.array([11, 3, stride, 0, 7, x_row, x_row, x_step, rows, pairs, singles])
    image_tile(sums, numbers, dy, x)
    image_tile_loops(expected, 11, dy, 3, stride, 0, x, 7, x_row, x_row, x_step, rows, pairs, singles)
    np.testing.assert_array_equal(sums, expected)


def guarded(values, edge):
    """Return a copy between values that would spoil any sum, or would show that they were written to."""
    memory = np.full(values.size + 2 * EDGE, edge, dtype=np.float32)
    memory[EDGE:-EDGE] = values.reshape(-1)
    return memory


def operands(images, filters, size, stride, padding):
    rng = np.random.default_rng(0)
    extents = [(n + 2 * p - 3) // s + 1 for n, p, s in zip(size, padding, stride, strict=True)]
    x = rng.standard_normal((images, 3, *size)).astype(np.float32)
    return x, rng.standard_normal((images, filters, *extents)).astype(np.float32)


def weight_grad(x, dy, stride, padding):
    maps, dy_maps = Maps.from_planes(x), Maps.from_planes(dy)
    shape = (dy.shape[1], 3, 3, 3)
    assert is_first_layer(maps.stride, dy_maps.stride, (3, 3))
    memory = guarded(np.zeros(shape), GUARD)
    dw = memory[EDGE:-EDGE].reshape(shape)
    x_memory, dy_memory = (guarded(side.flat, np.nan)[EDGE:-EDGE] for side in (maps, dy_maps))
    image_weight_grad(dy_memory, dy.shape, dy_maps.stride, x_memory, x.shape, stride, padding, dw)
    assert np.all(memory[:EDGE] == GUARD)
    assert np.all(memory[-EDGE:] == GUARD)
    return dw


def check(images, filters, size, stride, padding):
    x, dy = operands(images, filters, size, stride, padding)
    got = weight_grad(x, dy, stride, padding)
    wide = dy.astype(np.float64), x.astype(np.float64)
    expected = reference.conv2d_weight_grad(*wide, got.shape, stride, padding)
    assert np.abs(got - expected).max() < 2e-6 * max(np.abs(expected).max(), 1.0)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 5),
    filters=st.sampled_from([4, 7, 16, 17, 33, 48]),
    size=st.tuples(st.integers(1, 11), st.integers(1, 19)),
    stride=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.integers(0, 3)] * 2),
)
def test_any_shape_agrees_with_the_reference(images, filters, size, stride, padding):
    assume(all(n + 2 * p >= 3 for n, p in zip(size, padding, strict=True)))
    check(images, filters, size, stride, padding)


LAYERS = {
    "several units an image": (3, 20, (40, 40), (1, 1), (1, 1)),
    "more images than groups": (18, 16, (32, 32), (1, 1), (1, 1)),
    "wide rows": (1, 16, (4, 700), (1, 1), (1, 1)),
    "stride 2": (2, 32, (41, 40), (2, 2), (1, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_with_the_reference(name):
    check(*LAYERS[name])


def test_bits_do_not_depend_on_the_threads():
    results = []
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append([weight_grad(*operands(*layer), *layer[3:]) for layer in LAYERS.values()])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_nan_reaches_its_taps_and_no_other():
    x, dy = operands(2, 20, (6, 7), (1, 1), (1, 1))
    clean = weight_grad(x, dy, (1, 1), (1, 1))
    dy[1, 5, 2, 2] = np.nan
    dw = weight_grad(x, dy, (1, 1), (1, 1))
    assert np.isnan(dw[5]).all()
    np.testing.assert_array_equal(np.delete(dw, 5, axis=0), np.delete(clean, 5, axis=0))
    x, dy = operands(2, 20, (6, 7), (1, 1), (1, 1))
    # The last pixel of the image lies under the last two rows and columns of taps only.
    x[1, 1, 5, 6] = np.nan
    dw = weight_grad(x, dy, (1, 1), (1, 1))
    expected = np.zeros((3, 3, 3), bool)
    expected[1, 1:, 1:] = True
    np.testing.assert_array_equal(np.isnan(dw), np.broadcast_to(expected, dw.shape))


def test_other_layers_are_told_apart():
    assert not is_first_layer(16, 16, (3, 3))
    assert not is_first_layer(3, 16, (5, 5))
    assert not is_first_layer(3, 3, (3, 3))
