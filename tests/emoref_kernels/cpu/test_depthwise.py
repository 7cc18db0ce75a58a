"""Depthwise convolutions against the reference, and their vector loops against plain ones."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import depthwise, depthwise_strips
from emoref_kernels.cpu.depthwise_rows import LEAST_SEGMENT
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)
NO_BIAS = np.zeros(0, dtype=np.float32)


@jit()
def stencil_run(out, out_start, x, x_start, x_row, w, w_start, w_step, count):
    depthwise.stencil_run(out, out_start, x, x_start, x_row, w, w_start, w_step, count)


@jit()
def dots_run(sums, sums_start, dy, dy_start, x, x_start, x_row, count):
    depthwise.dots_run(sums, sums_start, dy, dy_start, x, x_start, x_row, count)


@jit()
def even_run(out, out_start, x, x_start, count, addend):
    depthwise.even_run(out, out_start, x, x_start, count, addend)


@pytest.mark.parametrize("count", [1, LANES - 1, LANES, 2 * LANES + 3])
def test_vector_loops_equal_plain_loops(count):
    rng = np.random.default_rng(count)
    x, w = rng.standard_normal(300).astype(np.float32), rng.standard_normal(30).astype(np.float32)
    start = rng.standard_normal(9 * LANES + 200).astype(np.float32)
    for function, arguments in (
        (stencil_run, (7, x, 5, 20, w, 11, -1, count)),
        (stencil_run, (7, x, 5, 20, w, 3, 2, count)),
        (dots_run, (7, x, 90, x, 5, 20, count)),
        (even_run, (7, x, 5, count, np.float32(0.3))),
    ):
        got, expected = start.copy(), start.copy()
        function(got, *arguments)
        depthwise.LOOPS[function.__name__](expected, *arguments)
        np.testing.assert_array_equal(got, expected)


def guarded(shape):
    memory = np.full(int(np.prod(shape)) + 64, GUARD, dtype=np.float32)
    return memory, memory[32:-32]


def intact(memory):
    return bool(np.all(memory[:32] == GUARD) and np.all(memory[-32:] == GUARD))


def all_passes(images, channels, size, stride, padding):
    """Return output and gradients, and what float64 gives."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, channels, *size)).astype(np.float32)
    w, b = rng.standard_normal((channels, 1, 3, 3)).astype(np.float32), rng.random(channels, np.float32)
    wide = [array.astype(np.float64) for array in (x, w, b)]
    expected = reference.conv2d(*wide, stride, padding, channels)
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    memories = [guarded(shape) for shape in (expected.shape, x.shape, w.shape)]
    y, dx, dw = (memory[1] for memory in memories)
    flat = [array.reshape(-1) for array in (x, w, dy)]
    depthwise.depthwise_planes(flat[0], x.shape, flat[1], b, stride, padding, y, expected.shape)
    depthwise.depthwise_planes(
        flat[2], dy.shape, flat[1], NO_BIAS, stride, padding, dx, x.shape, gradient=True
    )
    depthwise.depthwise_weight_grad(flat[2], dy.shape, flat[0], x.shape, stride, padding, dw)
    assert all(intact(memory) for memory, _ in memories)
    how = stride, padding, channels
    wide_dy = dy.astype(np.float64)
    gradients = (
        reference.conv2d_input_grad(wide_dy, wide[1], x.shape, *how),
        reference.conv2d_weight_grad(wide_dy, wide[0], w.shape, *how),
    )
    return (y, dx, dw), (expected, *gradients)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 2),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 2 * LANES + 3), st.integers(1, 2 * LANES + 3)),
    stride=st.sampled_from([1, 2]),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_any_shape_agrees_with_the_reference(images, channels, size, stride, padding):
    assume(all(extent + 2 * pad >= 3 for extent, pad in zip(size, padding, strict=True)))
    for got, expected in zip(*all_passes(images, channels, size, stride, padding), strict=True):
        scale = max(np.abs(expected).max(), 1.0)
        assert np.abs(got - expected.reshape(-1)).max() < 2e-6 * scale


@pytest.mark.parametrize("stride", [1, 2])
def test_bits_do_not_depend_on_the_threads(stride):
    results = []
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append(all_passes(3, 5, (9, 11), stride, (1, 1))[0])
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 10),
    channels=st.integers(1, 9),
    rows=st.integers(2, 9),
    columns=st.sampled_from([LEAST_SEGMENT, 8, LANES, LANES + 3, 2 * LANES]),
    odd=st.booleans(),
    stride=st.sampled_from([1, 2]),
)
def test_strips_of_any_shape_agree_with_the_reference(images, channels, rows, columns, odd, stride):
    size = rows * stride - (odd and stride == 2), columns * stride
    for got, expected in zip(*all_passes(images, channels, size, stride, (1, 1)), strict=True):
        scale = max(np.abs(expected).max(), 1.0)
        assert np.abs(got - expected.reshape(-1)).max() < 2e-6 * scale


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("columns", [LANES // 2, LANES])
def test_bits_of_strips_depend_neither_on_threads_nor_on_blocks(monkeypatch, stride, columns):
    outcomes, most = [], numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            outcomes.append(all_passes(9, 7, (6, columns * stride), stride, (1, 1))[0])
    finally:
        numba.set_num_threads(most)
    monkeypatch.setattr(depthwise_strips, "_BLOCK_FLOATS", 1)
    outcomes.append(all_passes(9, 7, (6, columns * stride), stride, (1, 1))[0])
    for outcome in outcomes[1:]:
        for got, expected in zip(outcome, outcomes[0], strict=True):
            np.testing.assert_array_equal(got, expected)
