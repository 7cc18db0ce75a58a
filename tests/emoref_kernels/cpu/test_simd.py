"""Tiles in vector registers against plain loops, bit for bit, with guard zones around what they write."""

import os
import subprocess
import sys

import numpy as np
import pytest

from emoref_kernels.cpu import simd
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, VECTORS

GUARD = np.float32(-12345.0)


def operands(depth, rng):
    a = rng.standard_normal(ROWS * depth + 3).astype(np.float32)
    b = rng.standard_normal(depth * 7 + TILE + 40).astype(np.float32)
    offsets = rng.integers(0, depth * 7 + 1, depth + 2).astype(np.int64)
    return a, b, offsets


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("vectors", range(1, VECTORS + 1))
@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("depth", [0, 1, 2, 37])
def test_tile_equals_plain_loops(rows, vectors, accumulate, depth):
    rng = np.random.default_rng(depth)
    a, b, offsets = operands(depth, rng)
    stride = TILE + 5
    got = np.full(ROWS * stride + 40, GUARD, dtype=np.float32)
    start = 11
    written = np.zeros(got.size, dtype=bool)
    for m in range(rows):
        row = slice(start + m * stride, start + m * stride + vectors * LANES)
        got[row] = rng.standard_normal(vectors * LANES)
        written[row] = True
    expected = got.copy()
    arguments = (start, stride, a, 3, b, 17, offsets, 2, depth, accumulate, rows, vectors)
    simd.multiply_tile(got, *arguments)
    simd.multiply_tile_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert np.all(got[~written] == GUARD)


def test_tile_agrees_with_float64():
    rng = np.random.default_rng(1)
    depth = 50
    a, b, offsets = operands(depth, rng)
    c = np.empty(ROWS * TILE, dtype=np.float32)
    simd.multiply_tile(c, 0, TILE, a, 0, b, 0, offsets, 0, depth, 0, ROWS, VECTORS)
    rows_of_b = np.stack([b[o : o + TILE] for o in offsets[:depth]]).astype(np.float64)
    expected = a[: depth * ROWS].reshape(depth, ROWS).T.astype(np.float64) @ rows_of_b
    np.testing.assert_allclose(c.reshape(ROWS, TILE), expected, rtol=0, atol=1e-5)


def test_cutting_the_sum_changes_no_bit():
    rng = np.random.default_rng(2)
    depth = 60
    a, b, offsets = operands(depth, rng)
    whole = np.empty(ROWS * TILE, dtype=np.float32)
    parts = np.empty_like(whole)
    simd.multiply_tile(whole, 0, TILE, a, 0, b, 0, offsets, 0, depth, 0, ROWS, VECTORS)
    for first, last in ((0, 1), (1, 40), (40, depth)):
        simd.multiply_tile(
            parts, 0, TILE, a, first * ROWS, b, 0, offsets, first, last - first, int(first > 0), ROWS, VECTORS
        )
    np.testing.assert_array_equal(parts, whole)


def test_panels_are_tiles_below_each_other():
    rng = np.random.default_rng(3)
    depth, panels = 9, 3
    a = rng.standard_normal(panels * depth * ROWS).astype(np.float32)
    _, b, offsets = operands(depth, rng)
    got = np.full(panels * ROWS * TILE + 8, GUARD, dtype=np.float32)
    simd.multiply_panels(got, 4, TILE, a, 0, depth * ROWS, panels, b, 0, offsets, 0, depth, 0, ROWS, VECTORS)
    for panel in range(panels):
        tile = np.empty(ROWS * TILE, dtype=np.float32)
        simd.multiply_tile_loops(
            tile, 0, TILE, a, panel * depth * ROWS, b, 0, offsets, 0, depth, 0, ROWS, VECTORS
        )
        np.testing.assert_array_equal(got[4 + panel * tile.size : 4 + (panel + 1) * tile.size], tile)
    assert np.all(got[:4] == GUARD)
    assert np.all(got[-4:] == GUARD)


@pytest.mark.parametrize(
    ("features", "arm", "lanes", "registers"),
    [
        ({"avx512f", "avx2", "fma"}, False, 16, 32),
        ({"avx2", "fma"}, False, 8, 16),
        ({"sse2"}, False, 4, 16),
        (set(), True, 4, 32),
    ],
)
def test_a_tile_fits_into_the_registers(features, arm, lanes, registers):
    got_lanes, rows, vectors, _ = simd.tile_geometry(frozenset(features), arm)
    assert got_lanes == lanes
    assert rows * vectors + vectors + 1 <= registers


@pytest.mark.parametrize(
    ("setting", "name", "expected", "missing"),
    [
        ("+avx2,+fma", "haswell", {"avx2", "fma"}, {"avx512f"}),
        ("-avx512f", None, set(), {"avx512f"}),
        ("", "generic", set(), {"avx2", "avx512f"}),
    ],
)
def test_numba_settings_decide_the_features(monkeypatch, setting, name, expected, missing):
    monkeypatch.setattr(simd._settings, "CPU_FEATURES", setting)
    monkeypatch.setattr(simd._settings, "CPU_NAME", name)
    features = simd.enabled_features()
    assert expected <= features
    assert not missing & features


OTHER_PROCESSOR = """
import numpy as np
from emoref_kernels.cpu import conv, simd
from emoref_kernels.reference import conv as reference
print(simd.LANES)
rng = np.random.default_rng(0)
x = rng.standard_normal((3, 5, 9, 7)).astype(np.float32)
w = rng.standard_normal((11, 5, 3, 3)).astype(np.float32)
y = conv.conv2d(x, w, None, 2, 1)
np.testing.assert_allclose(y, reference.conv2d(x, w, None, 2, 1), atol=1e-5)
dw = conv.conv2d_weight_grad(y, x, w.shape, 2, 1)
np.testing.assert_allclose(dw, reference.conv2d_weight_grad(y, x, w.shape, 2, 1), rtol=1e-4, atol=1e-4)
np.testing.assert_array_equal(conv.conv2d(x, w[::4], None, 2, 1), y[:, ::4])
"""


@pytest.mark.skipif("avx2" not in simd.enabled_features(), reason="needs a processor with AVX2")
def test_kernels_on_a_processor_without_avx512():
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    result = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESSOR], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["8"]
