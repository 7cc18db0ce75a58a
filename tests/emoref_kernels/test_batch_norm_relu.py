"""Batch normalisation with a shortcut and ReLU in the same pass: the same as one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels import ShapeError, load_backend
from emoref_kernels.cpu.maps import as_maps

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


# ------------------------------------------------------------------------------------------ with a shortcut

TABLES = {name: load_backend(name) for name in BACKENDS} | {
    "channels-last": load_backend("cpu", layout="channels-last")
}


def planes(results):
    return [np.asarray(result) for result in results]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("shape", [(4, 5, 3, 3), (3, 2, 4, 5), (6, 7)])
@pytest.mark.parametrize("table", TABLES)
def test_a_shortcut_equals_an_addition(table, shape, terms, relu):
    k, rng = TABLES[table], np.random.default_rng(4)
    x, shortcut, dy, more = rng.standard_normal((4, *shape)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, shape[1])).astype(np.float32)
    reference = load_backend("reference")
    y, mean, var = planes(k.batch_norm_train(x, gamma, beta, relu=relu, shortcut=shortcut))
    plain, *statistics = planes(k.batch_norm_train(x, gamma, beta))
    expected = reference.add(plain, shortcut)
    np.testing.assert_array_equal(y, reference.relu(expected) if relu else expected)
    np.testing.assert_array_equal([mean, var], statistics)

    result, more = y if relu else None, more if terms == 2 else None
    found = planes(k.batch_norm_sum_grad(dy, x, gamma, mean, var, y=result, more=more))
    passing = dy if more is None else dy + more
    passing = reference.relu_grad(passing, y) if relu else passing
    np.testing.assert_array_equal(found[3], passing)
    expected = planes(k.batch_norm_train_grad(passing, x, gamma, mean, var))
    for one, two in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one, two)
    wanted = reference.batch_norm_sum_grad(dy, x, gamma, mean, var, y=result, more=more)
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5 * np.abs(two).max())


@pytest.mark.parametrize("table", TABLES)
def test_a_shortcut_of_another_shape_is_refused(table):
    x, gamma, beta, dy = arrays(3)
    k = TABLES[table]
    with pytest.raises(ShapeError, match="shortcut has shape"):
        k.batch_norm_train(x, gamma, beta, shortcut=x[:-1])
    with pytest.raises(ShapeError, match="more has shape"):
        k.batch_norm_sum_grad(dy, x, gamma, gamma, beta, more=dy[:-1])


@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("table", TABLES)
def test_gradients_that_may_be_written_over_change_no_result(table, terms):
    k, rng = TABLES[table], np.random.default_rng(6)
    x, y, dy, more = (as_maps(a) for a in rng.standard_normal((4, 3, 20, 5, 4)).astype(np.float32))
    if table != "channels-last":
        x, y, dy, more = (np.asarray(maps) for maps in (x, y, dy, more))
    gamma, mean, var = rng.random((3, 20)).astype(np.float32)
    given = np.asarray(dy).copy()
    options = {"more": more} if terms == 2 else {}
    for function, how in ((k.batch_norm_train_grad, {"y": y}), (k.batch_norm_sum_grad, {"y": y, **options})):
        expected = planes(function(dy, x, gamma, mean, var, **how))
        np.testing.assert_array_equal(np.asarray(dy), given)
        own = {name: as_maps(np.array(value)) for name, value in {"dy": dy, **how}.items()}
        if table != "channels-last":
            own = {name: np.asarray(value) for name, value in own.items()}
        found = function(own.pop("dy"), x, gamma, mean, var, **own, reuse=True)
        for one, two in zip(planes(found), expected, strict=True):
            np.testing.assert_array_equal(one, two)
