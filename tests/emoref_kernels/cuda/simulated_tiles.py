"""Products in tiles of the extents that a GPU runs, on the simulator.

Elsewhere the simulator's tiles are 16 x 16 for 16 threads, each of which owns one group of 4 x 4 values. Here
a block has up to 256 threads with four groups each, so that every index of the real tiles is computed once.
Collected by test_simulator.py in a process of its own.
"""

import os

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

from emoref_kernels import load_backend
from emoref_kernels.cuda import conv, conv_weight, correlate, product
from emoref_kernels.cuda.array import upload
from emoref_kernels.cuda.jit import KERNELS
from emoref_kernels.cuda.planner import DIRECT
from emoref_kernels.cuda.tile import DEVICE_TILES, Tile

# A kernel's name is known once; those of the simulator's tiles are taken.
REAL = {tile.name: tile._replace(name=f"real_{tile.name}") for tile in DEVICE_TILES}
on_every_tile = pytest.mark.parametrize("tile", REAL.values(), ids=REAL.keys())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "left_inner", "right_inner"),
    [("large", False, False), ("medium", False, False), ("medium", True, True), ("medium", True, False)],
)
def test_products(
    name: str, left_inner: bool, right_inner: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = REAL[name]
    inner = left_inner, right_inner
    monkeypatch.setitem(product._TILES, inner, (tile,))
    monkeypatch.setitem(product._KERNELS, (tile.name, *inner), product._make_product(tile, *inner))
    product._plan.cache_clear()
    # Two blocks along the columns, the second nearly empty; the last slab has 3 of 8 steps.
    rows, columns, length = tile.rows - 3, tile.columns + 5, 19
    left, right = rng.random((1, length, rows), np.float32), rng.random((1, length, columns), np.float32)
    given = [
        np.ascontiguousarray(factor.transpose(0, 2, 1) if turned else factor)
        for factor, turned in ((left, left_inner), (right, right_inner))
    ]
    found = product.product(
        *(upload(factor) for factor in given), (1, rows, columns, length),
        left_inner=left_inner, right_inner=right_inner,
    )  # fmt: skip
    product._plan.cache_clear()
    assert KERNELS[f"product_{tile.name}_{'oi'[left_inner]}{'oi'[right_inner]}"].launches == 1
    _close(np.asarray(found)[0], left[0].T @ right[0])


@on_every_tile
def test_convolutions(tile: Tile, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlate, "TILES", (tile,))
    monkeypatch.setitem(correlate._KERNELS, (tile.name, False), correlate._make_correlate(tile, False))
    _convolve(tile, 9, rng, monkeypatch)


@pytest.mark.parametrize("tile", [REAL["tiny"], REAL["medium"]], ids=["tiny", "medium"])
def test_first_layers(tile: Tile, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlate, "TILES", (tile,))
    monkeypatch.setitem(correlate._KERNELS, (tile.name, True), correlate._make_correlate(tile, True))
    _convolve(tile, 3, rng, monkeypatch)


def _convolve(tile: Tile, channels: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolve 140 pixels in two images, more than the columns of a tile, into nearly all rows of one."""
    monkeypatch.setattr(conv, "plan_convolution", lambda *arguments: DIRECT)
    correlate._plan.cache_clear()
    x = rng.random((2, channels, 7, 19), np.float32) - np.float32(0.5)
    w, b = rng.random((tile.rows - 3, channels, 2, 1), np.float32), rng.random(tile.rows - 3, np.float32)
    how = (1, 2), (1, 0)
    found = conv.conv2d(x, w, b, *how)
    correlate._plan.cache_clear()
    _close(found, load_backend("reference").conv2d(x, w, b, *how))


@on_every_tile
def test_gradients_of_filters(tile: Tile, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "plan_convolution", lambda *arguments: DIRECT)
    monkeypatch.setattr(conv_weight, "TILES", (tile,))
    monkeypatch.setattr(conv_weight, "tile_for", lambda filters: tile)
    monkeypatch.setitem(conv_weight._KERNELS, tile.name, (conv_weight._make_kernel(tile), tile))
    conv_weight._plan.cache_clear()
    # 34 * 4 = 136 pairs of channel and tap; 2 * 9 pixels, the last slab with 2 of 8.
    x = rng.random((2, 34, 4, 3), np.float32) - np.float32(0.5)
    w_shape, how = (tile.rows - 3, 34, 2, 2), (1, (0, 1), 1)
    dy = rng.random((2, tile.rows - 3, 3, 4), np.float32) - np.float32(0.5)
    found = conv.conv2d_weight_grad(dy, x, w_shape, *how)
    conv_weight._plan.cache_clear()
    _close(found, load_backend("reference").conv2d_weight_grad(dy, x, w_shape, *how))
