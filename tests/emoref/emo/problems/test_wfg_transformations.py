import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo.problems.wfg_transformations import (
    b_flat,
    b_param,
    b_poly,
    r_nonsep,
    r_sum,
    s_decept,
    s_linear,
    s_multi,
)

Y = np.linspace(0.0, 1.0, 997)
"""Places that are not exactly at a jump of floor()."""


def test_b_poly():
    np.testing.assert_allclose(b_poly(np.array([0.0, 0.25, 1.0]), 0.5), [0.0, 0.5, 1.0])


def test_b_flat():
    y = np.array([0.0, 0.375, 0.75, 0.8, 0.85, 0.925, 1.0])
    np.testing.assert_allclose(b_flat(y, 0.8, 0.75, 0.85), [0.0, 0.4, 0.8, 0.8, 0.8, 0.9, 1.0])
    assert b_flat(np.zeros(1), 0.8, 0.75, 0.85)[0] == 0.0


@pytest.mark.parametrize(("a", "b", "c"), [(0.8, 0.75, 0.85), (0.3, 0.2, 0.9)])
def test_b_flat_is_the_published_formula(a, b, c):
    published = (
        a
        + np.minimum(0, np.floor(Y - b)) * a * (b - Y) / b
        - np.minimum(0, np.floor(c - Y)) * (1 - a) * (Y - c) / (1 - c)
    )
    np.testing.assert_allclose(b_flat(Y, a, b, c), published, atol=1e-14)


def test_b_param():
    # Exponents: B = 0.02 at 0, B + (C - B) A = 1 at 1/2, C = 50 at 1.
    y, u = np.full(3, 0.5), np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(b_param(y, u, 0.98 / 49.98, 0.02, 50.0), [0.5**0.02, 0.5, 0.5**50])


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=100)
def test_b_param_is_the_published_formula(y, u):
    a, b, c = 0.98 / 49.98, 0.02, 50.0
    v = a - (1.0 - 2.0 * u) * abs(math.floor(0.5 - u) + a)
    ours = b_param(np.array([y]), np.array([u]), a, b, c)[0]
    assert ours == pytest.approx(y ** (b + (c - b) * v), rel=1e-10, abs=1e-300)
    assert 0.0 <= ours <= 1.0


def test_s_linear():
    y = np.array([0.0, 0.175, 0.35, 0.675, 1.0])
    np.testing.assert_allclose(s_linear(y, 0.35), [1.0, 0.5, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(s_linear(Y, 0.35), np.abs(Y - 0.35) / np.abs(np.floor(0.35 - Y) + 0.35))
    assert s_linear(np.array([0.35]), 0.35)[0] == 0.0


def test_s_decept():
    y = np.array([0.0, 0.349, 0.35, 0.351, 1.0])
    np.testing.assert_allclose(s_decept(y, 0.35, 0.001, 0.05), [0.05, 1.0, 0.0, 1.0, 0.05])


def test_s_decept_is_the_published_formula():
    a, b, c = 0.35, 0.001, 0.05
    left = np.floor(Y - a + b) * (1 - c + (a - b) / b) / (a - b)
    right = np.floor(a + b - Y) * (1 - c + (1 - a - b) / b) / (1 - a - b)
    published = 1 + (np.abs(Y - a) - b) * (left + right + 1 / b)
    np.testing.assert_allclose(s_decept(Y, a, b, c), published, atol=1e-11)


@pytest.mark.parametrize(("a", "b"), [(30, 10.0), (30, 95.0), (5, 10.0)])
def test_s_multi_is_the_published_formula(a, b):
    c = 0.35
    t = np.abs(Y - c) / (2 * (np.floor(c - Y) + c))
    published = (1 + np.cos((4 * a + 2) * np.pi * (0.5 - t)) + 4 * b * t**2) / (b + 2)
    np.testing.assert_allclose(s_multi(Y, a, b, c), published, atol=1e-11)


def test_s_multi_by_hand():
    # With A = 1 and t = 1/12 the cosine is cos(pi / 2) = 0.
    at = 0.35 * (1 - 1 / 6)
    expected = (1 + 40 / 144) / 12
    np.testing.assert_allclose(s_multi(np.array([0.35, at, 0.0, 1.0]), 1, 10.0, 0.35), [0, expected, 1, 1])


def test_r_sum():
    y = np.array([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(r_sum(y), [0.5, 1.0])
    np.testing.assert_allclose(r_sum(y, np.array([1.0, 2.0, 5.0])), [0.75, 1.0])
    assert r_sum(np.ones((1, 7)), 0.1 * np.arange(1.0, 8.0))[0] == 1.0


def test_r_nonsep():
    y = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(r_nonsep(y, 1), [0.5, 0.5, 1.0, 0.0])
    # (0 + 1 + 1 + 1) / 3 and (0.5 + 0.5) / 3
    np.testing.assert_allclose(r_nonsep(y, 2), [1.0, 1 / 3, 2 / 3, 0.0])


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**16))
@settings(deadline=None, max_examples=60)
def test_r_nonsep_is_the_published_formula(a, times, seed):
    y = np.random.default_rng(seed).random(a * times)
    n = len(y)
    total = sum(y[j] + sum(abs(y[j] - y[(j + k + 1) % n]) for k in range(a - 1)) for j in range(n))
    half = math.ceil(a / 2)
    published = total / (n / a * half * (1 + 2 * a - 2 * half))
    assert r_nonsep(y[None], a)[0] == pytest.approx(min(published, 1.0), abs=1e-13)


@given(st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=200)
def test_all_stay_in_the_unit_interval(value):
    y = np.array([value])
    for result in (
        b_poly(y, 0.02),
        b_flat(y, 0.8, 0.75, 0.85),
        s_linear(y, 0.35),
        s_decept(y, 0.35, 0.001, 0.05),
        s_multi(y, 30, 95.0, 0.35),
    ):
        assert 0.0 <= result[0] <= 1.0
