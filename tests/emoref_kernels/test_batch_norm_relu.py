"""Batch normalisation with ReLU in the same pass: the same as one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels import ShapeError, load_backend

BACKENDS = ("reference", "cpu")


def arrays(seed, rows=4, channels=5, extent=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, channels, extent, extent)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, channels)).astype(np.float32)
    return x, gamma, beta, rng.standard_normal(x.shape).astype(np.float32)


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=25)
@given(st.integers(0, 9999), st.integers(2, 6), st.integers(1, 20), st.integers(1, 6))
def test_one_pass_equals_two(name, seed, rows, channels, extent):
    k = load_backend(name)
    x, gamma, beta, dy = arrays(seed, rows, channels, extent)
    plain, mean, var = k.batch_norm_train(x, gamma, beta)
    y, *statistics = k.batch_norm_train(x, gamma, beta, relu=True)
    np.testing.assert_array_equal(y, k.relu(plain))
    np.testing.assert_array_equal(statistics, [mean, var])
    expected = k.batch_norm_train_grad(k.relu_grad(dy, y), x, gamma, mean, var)
    found = k.batch_norm_train_grad(dy, x, gamma, mean, var, y=y)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5 * np.abs(two).max(initial=1e-3))


def test_back_ends_agree():
    x, gamma, beta, dy = arrays(1)
    results = []
    for name in BACKENDS:
        k = load_backend(name)
        y, mean, var = k.batch_norm_train(x, gamma, beta, relu=True)
        results.append((y, *k.batch_norm_train_grad(dy, x, gamma, mean, var, y=y)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", BACKENDS)
def test_nan_goes_through(name):
    x, gamma, beta, _ = arrays(2)
    x[0, 1, 0, 0] = np.nan
    with np.errstate(invalid="ignore"):
        y = load_backend(name).batch_norm_train(x, gamma, beta, relu=True)[0]
    assert np.isnan(y[:, 1]).all()
    assert not np.isnan(np.delete(y, 1, axis=1)).any()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_result_of_another_shape_is_refused(name):
    x, gamma, beta, dy = arrays(3)
    k = load_backend(name)
    y, mean, var = k.batch_norm_train(x, gamma, beta, relu=True)
    with pytest.raises(ShapeError, match="y has shape"):
        k.batch_norm_train_grad(dy, x, gamma, mean, var, y=y[:-1])
