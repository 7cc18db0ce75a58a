"""Which kernel computes a convolution of maps; that it is right, `test_operations.py` tests."""

import numpy as np
import pytest

from emoref_kernels import load_backend
from emoref_kernels.cpu import maps_conv
from emoref_kernels.cpu.maps import as_maps


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_taps_inside_are_counted(size, outputs, padding):
    extent = size + 2 * padding - 2
    if extent < 1:
        return
    inside = sum(0 <= i + t - padding < size for i in range(extent) for t in range(3))
    tiles = -(-extent // outputs) * (outputs + 2)
    found = maps_conv._fewer_taps(outputs, (extent, extent), (size, size), (padding, padding))
    assert found == (inside**2 <= tiles**2)


@pytest.mark.parametrize(("size", "called"), [(2, "direct"), (4, "winograd"), (8, "winograd")])
def test_tiny_maps_go_direct(size, called, monkeypatch):
    seen = []
    for name in ("direct_conv", "direct_input_grad", "winograd_conv"):
        kernel = getattr(maps_conv, name)
        monkeypatch.setattr(
            maps_conv,
            name,
            lambda *a, kernel=kernel, name=name, **k: seen.append(name) or kernel(*a, **k),
        )
    rng = np.random.default_rng(0)
    x = as_maps(rng.standard_normal((2, 32, size, size)).astype(np.float32))
    w = rng.standard_normal((32, 32, 3, 3)).astype(np.float32)
    k = load_backend("cpu", layout="channels-last")
    y = k.conv2d(x, w, None, 1, 1)
    k.conv2d_input_grad(y, w, x.shape, 1, 1)
    assert [name.split("_")[0] for name in seen] == [called, called]


def test_groups_that_are_not_depthwise_are_computed_on_planes():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((2, 32, 5, 5), (32, 16, 3, 3)))
    maps, planes = load_backend("cpu", layout="channels-last"), load_backend("cpu")
    np.testing.assert_array_equal(
        np.asarray(maps.conv2d(x, w, None, 1, 1, 2)), planes.conv2d(x, w, None, 1, 1, 2)
    )
