"""Channels-last maps: their memory, and what they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.maps import Maps, as_maps, pixel_stride
from emoref_kernels.cpu.simd import LANES

EXTENTS = st.tuples(st.integers(0, 3), st.integers(1, 2 * LANES + 3), st.integers(1, 6), st.integers(1, 6))


def planes_of(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(EXTENTS)
@settings(deadline=None, max_examples=100)
def test_there_and_back_is_the_same_array(shape):
    planes = planes_of(shape)
    maps = Maps.from_planes(planes)
    np.testing.assert_array_equal(np.asarray(maps), planes)
    images, channels, height, width = shape
    assert maps.pixels.shape == (images, height, width, maps.stride)
    np.testing.assert_array_equal(maps.pixels[..., :channels], planes.transpose(0, 2, 3, 1))
    assert not maps.pixels[..., channels:].any()
    assert (maps.shape, maps.ndim, maps.size, len(maps)) == (shape, 4, planes.size, images)
    assert (maps.dtype, maps.nbytes) == (np.float32, maps.pixels.nbytes)


@pytest.mark.parametrize(("channels", "vectors"), [(4, 1), (LANES, 1), (LANES + 1, 2), (2 * LANES, 2)])
def test_pixels_are_whole_vectors(channels, vectors):
    assert pixel_stride(channels) == vectors * LANES


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_are_not_padded(channels):
    assert pixel_stride(channels) == channels


@pytest.mark.parametrize("plane", [(1, 1), (2, 3)])
def test_features_come_in_the_order_of_planes(plane):
    planes = planes_of((4, 5, *plane))
    flat = as_maps(planes).reshape(4, -1)
    np.testing.assert_array_equal(flat, planes.reshape(4, -1))
    assert flat.flags.c_contiguous


def test_strided_arrays_are_converted():
    planes = planes_of((4, 6, 5, 8))[::2, ::3, :, ::2]
    np.testing.assert_array_equal(np.asarray(Maps.from_planes(planes)), planes)


def test_maps_are_not_copied():
    maps = Maps.zeros((1, 2, 3, 4))
    assert as_maps(maps) is maps
    assert not np.asarray(maps).any()
    assert repr(maps) == "Maps(shape=(1, 2, 3, 4))"
