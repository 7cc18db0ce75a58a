"""What is particular to the direct convolutions: every way of cutting the work, and equal bits."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import conv, conv_weight, correlate, weight_panels
from emoref_kernels.cpu.conv import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from emoref_kernels.cpu.planner import Technique
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference


@pytest.fixture(scope="module", autouse=True)
def _direct():
    """Let the planner choose the direct product for every shape."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plan_convolution", "plan_input_grad"):
            patch.setattr(conv, name, lambda *shape: Technique("direct", "forced by the tests"))
        yield


# images, channels, height, width, filters, kernel, stride, padding, groups
SHAPES = {
    "lenet1": (5, 1, 28, 28, 20, (5, 5), (1, 1), (0, 0), 1),
    "lenet2": (5, 20, 12, 12, 50, (5, 5), (1, 1), (0, 0), 1),
    "vgg": (3, 16, 32, 32, 24, (3, 3), (1, 1), (1, 1), 1),
    "small maps": (21, 24, 4, 4, 33, (3, 3), (1, 1), (1, 1), 1),
    "tiny maps": (70, 8, 2, 2, 64, (3, 3), (1, 1), (1, 1), 1),
    "bands": (1, 40, 70, 70, 9, (3, 3), (1, 1), (1, 1), 1),
    "first layer": (9, 3, 6, 2 * LANES, 13, (3, 3), (1, 1), (1, 1), 1),
    "1x1 of whole vectors": (5, 20, 4, LANES, 21, (1, 1), (1, 1), (0, 0), 1),
    "1x1 stride 2 of whole vectors": (5, 20, 7, 2 * LANES, 21, (1, 1), (2, 2), (0, 0), 1),
    "stride 2": (3, 5, 15, 17, 12, (3, 3), (2, 2), (1, 1), 1),
    "1x1 stride 2": (3, 12, 9, 8, 10, (1, 1), (2, 2), (0, 0), 1),
    "stride above kernel": (2, 3, 13, 11, 8, (2, 1), (4, 3), (1, 0), 1),
    "kernel above input": (2, 3, 2, 3, 6, (5, 4), (1, 2), (2, 3), 1),
    "padding above kernel": (2, 3, 4, 3, 6, (1, 2), (1, 1), (3, 4), 1),
    "grouped": (2, 12, 9, 8, 18, (3, 2), (2, 1), (0, 1), 3),
    "depthwise": (3, 6, 11, 9, 6, (3, 3), (1, 1), (1, 1), 6),
    "depthwise stride 2": (3, 6, 11, 9, 12, (3, 3), (2, 2), (1, 1), 6),
    "one of everything": (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0), 1),
}


def arrays(case):
    images, channels, height, width, filters, kernel, stride, padding, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, channels, height, width)).astype(np.float32)
    w = rng.standard_normal((filters, channels // groups, *kernel)).astype(np.float32)
    b = rng.standard_normal(filters).astype(np.float32)
    return x, w, b, (stride, padding, groups)


def assert_near(got, expected, terms):
    """Allow the rounding of a sum of `terms` products of standard normal values, one after the other.

    The k-th addition rounds a sum of about sqrt(k) to 2**-24 of it, so the error is about 2**-24 * terms.
    """
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=4 * 2.0**-24 * terms + 1e-6)


def check_all(x, w, b, how):
    wide_x, wide_w = x.astype(np.float64), w.astype(np.float64)
    y = conv2d(x, w, b, *how)
    assert_near(y, reference.conv2d(wide_x, wide_w, b.astype(np.float64), *how), w[0].size)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    wide_dy = dy.astype(np.float64)
    dx = conv2d_input_grad(dy, w, x.shape, *how)
    assert_near(dx, reference.conv2d_input_grad(wide_dy, wide_w, x.shape, *how), w.size // w.shape[1])
    dw = conv2d_weight_grad(dy, x, w.shape, *how)
    assert_near(dw, reference.conv2d_weight_grad(wide_dy, wide_x, w.shape, *how), dy.size // dy.shape[1])
    assert_near(conv2d_bias_grad(dy), wide_dy.sum(axis=(0, 2, 3)), dy.size // dy.shape[1])


@pytest.mark.parametrize("name", SHAPES)
def test_convolution_and_gradients_agree_with_the_reference(name):
    check_all(*arrays(SHAPES[name]))


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 9),
    filters=st.integers(1, 19),
    groups=st.integers(1, 3),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_any_shape_agrees_with_the_reference(
    images, channels, filters, groups, size, kernel, stride, padding
):
    assume(all(k <= extent + 2 * pad for k, extent, pad in zip(kernel, size, padding, strict=True)))
    case = (images, channels * groups, *size, filters * groups, kernel, stride, padding, groups)
    check_all(*arrays(case))


@settings(deadline=None, max_examples=200)
@given(
    images=st.integers(1, 10),
    channels=st.integers(1, 6),
    filters=st.integers(1, 19),
    groups=st.integers(1, 2),
    rows=st.integers(1, 9),
    width=st.sampled_from([LANES, 2 * LANES]),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 1), (5, 5)]),
    stride=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
)
def test_rows_of_whole_vectors_agree_with_the_reference(
    images, channels, filters, groups, rows, width, kernel, stride
):
    # Both passes: outputs, or inputs, of whole vectors.
    padding = kernel[0] // 2, kernel[1] // 2
    size = (rows - 1) * stride[0] + 1, (width - 1) * stride[1] + 1 + kernel[1] - 2 * padding[1] - 1
    for x_size in (size, (rows, width)):
        assume(all(k <= extent + 2 * pad for k, extent, pad in zip(kernel, x_size, padding, strict=True)))
        case = (images, channels * groups, *x_size, filters * groups, kernel, stride, padding, groups)
        check_all(*arrays(case))


@pytest.mark.parametrize("name", [name for name, case in SHAPES.items() if case[-1] == 1])
def test_filters_and_images_do_not_depend_on_their_neighbours(name):
    x, w, b, how = arrays(SHAPES[name])
    y = conv2d(x, w, b, *how)
    keep = np.random.default_rng(2).random(len(w)) < 0.5
    keep[-1] = True
    for chosen in (keep, slice(0, 1), slice(None, None, 3)):
        np.testing.assert_array_equal(conv2d(x, w[chosen], b[chosen], *how), y[:, chosen])
    for i, j in ((0, 1), (len(x) // 2, len(x)), (len(x) - 1, len(x))):
        np.testing.assert_array_equal(conv2d(x[i:j], w, b, *how), y[i:j])
    dx = conv2d_input_grad(y, w, x.shape, *how)
    np.testing.assert_array_equal(conv2d_input_grad(y[-1:], w, x[-1:].shape, *how), dx[-1:])


@pytest.mark.parametrize("name", ["depthwise", "depthwise stride 2", "grouped"])
def test_groups_do_not_depend_on_other_groups(name):
    x, w, b, (stride, padding, groups) = arrays(SHAPES[name])
    y = conv2d(x, w, b, stride, padding, groups)
    channels, filters = x.shape[1] // groups, len(w) // groups
    for group in range(groups):
        own = slice(group * filters, (group + 1) * filters)
        alone = conv2d(x[:, group * channels : (group + 1) * channels], w[own], b[own], stride, padding)
        np.testing.assert_array_equal(alone, y[:, own])


@pytest.mark.parametrize("name", SHAPES)
def test_bits_do_not_depend_on_the_threads(name):
    x, w, b, how = arrays(SHAPES[name])
    results = []
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            y = conv2d(x, w, b, *how)
            gradients = conv2d_input_grad(y, w, x.shape, *how), conv2d_weight_grad(y, x, w.shape, *how)
            results.append((y, *gradients, conv2d_bias_grad(y)))
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_direct_and_gathered_ways_give_equal_bits(monkeypatch):
    x, w, b, how = arrays(SHAPES["vgg"])
    make_plan = correlate.make_plan
    results = []
    for direct in (2, 1, 0):

        def forced(*arguments, direct=direct):
            plan = make_plan(*arguments)
            return plan._replace(direct=direct)

        monkeypatch.setattr(correlate, "make_plan", forced)
        results.append(conv2d(x, w, b, *how))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_small_scratch_memory_gives_equal_bits(monkeypatch):
    x, w, b, how = arrays(SHAPES["stride 2"])
    expected = conv2d(x, w, b, *how)
    monkeypatch.setattr(correlate, "_SCRATCH_FLOATS", 1)
    np.testing.assert_array_equal(conv2d(x, w, b, *how), expected)


@pytest.mark.parametrize("name", ["vgg", "stride 2", "lenet1", "tiny maps"])
def test_weight_gradient_in_bands_and_one_part(monkeypatch, name):
    x, w, b, how = arrays(SHAPES[name])
    monkeypatch.setattr(conv_weight, "_SCRATCH_FLOATS", 1)
    check_all(x, w, b, how)
    monkeypatch.setattr(conv_weight, "_BUFFER_FLOATS", 1)
    check_all(x, w, b, how)


def test_nothing_outside_the_result_is_written():
    x, w, b, how = arrays(SHAPES["kernel above input"])
    guard = np.float32(-12345.0)
    y_shape = conv2d(x, w, b, *how).shape
    taps = np.arange(20)
    tap_h, tap_w = taps // 4 - 2, taps % 4 - 3
    packed = weight_panels.pack_weights(w.reshape(-1), 1, w.size, 6, 60, 3, 20, taps)
    out = np.full(int(np.prod(y_shape)) + 64, guard, dtype=np.float32)
    place = correlate.Place(*y_shape[2:], *y_shape[2:])
    correlate.correlate(x.reshape(-1), x.shape, packed, 1, 6, b, (1, 2), tap_h, tap_w, place, out[32:])
    np.testing.assert_array_equal(out[32:-32].reshape(y_shape), conv2d(x, w, b, *how))
    assert np.all(out[:32] == guard)
    assert np.all(out[-32:] == guard)


def test_empty_batch():
    x, w = np.zeros((0, 3, 5, 5), np.float32), np.ones((4, 3, 3, 3), np.float32)
    y = conv2d(x, w)
    assert y.shape == (0, 4, 3, 3)
    assert conv2d_input_grad(y, w, x.shape).shape == x.shape
    np.testing.assert_array_equal(conv2d_weight_grad(y, x, w.shape), np.zeros(w.shape))
    np.testing.assert_array_equal(conv2d_bias_grad(y), np.zeros(4))


def test_nan_and_inf_reach_the_result():
    x = np.zeros((1, 2, 4, 4), dtype=np.float32)
    x[0, 0, 1, 1] = np.nan
    x[0, 1, 3, 3] = np.inf
    w = np.ones((3, 2, 1, 1), dtype=np.float32)
    y = conv2d(x, w)
    assert np.all(np.isnan(y[0, :, 1, 1]))
    assert np.all(np.isposinf(y[0, :, 3, 3]))
    assert np.count_nonzero(~np.isfinite(y)) == 6


@pytest.mark.parametrize("size", [(1, 9), (7, 6), (12, 12)])
def test_merged_rows_of_a_pointwise_convolution_change_no_bit(monkeypatch, size):
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 20, *size), (18, 10, 1, 1)))
    results = []
    for most in (0, 10 * size[1], 2**20):  # no rows, some rows, all rows
        monkeypatch.setattr(conv, "_MERGED_FLOATS", most)
        y = conv2d(x, w, groups=2)
        results.append((y, conv2d_input_grad(y, w, x.shape, groups=2)))
    for y, dx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dx, results[0][1])
