"""Panels of weights, against indexing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.simd import ROWS
from emoref_kernels.cpu.weight_panels import pack_weights, tile_height


@pytest.mark.parametrize(("filters", "height"), [(1, 1), (2, 1), (3, ROWS), (ROWS + 1, ROWS)])
def test_tile_height(filters, height):
    assert tile_height(filters) == height


@settings(deadline=None, max_examples=200)
@given(
    groups=st.integers(1, 3),
    filters=st.integers(1, 21),
    channels=st.integers(1, 5),
    taps=st.integers(1, 9),
    data=st.data(),
)
def test_every_weight_is_where_the_sum_reads_it(groups, filters, channels, taps, data):
    chosen = data.draw(st.lists(st.integers(0, taps - 1), min_size=1, unique=True).map(sorted))
    w = np.arange(1.0, groups * filters * channels * taps + 1, dtype=np.float32)
    w = w.reshape(groups, filters, channels, taps)
    # As the convolution sees them, and as its input gradient does, with filters for channels.
    for rows, depth, row_stride, depth_stride, weights in (
        (filters, channels, channels * taps, taps, w),
        (channels, filters, taps, channels * taps, w.transpose(0, 2, 1, 3)),
    ):
        height = int(tile_height(rows))
        panels = -(-rows // height)
        packed = pack_weights(
            w.reshape(-1), groups, w[0].size, rows, row_stride, depth, depth_stride, np.array(chosen)
        )
        expected = np.zeros((groups, panels * height, depth, len(chosen)), np.float32)
        expected[:, :rows] = weights[..., chosen]
        expected = expected.reshape(groups, panels, height, -1).swapaxes(2, 3)
        np.testing.assert_array_equal(packed, expected.reshape(-1))
