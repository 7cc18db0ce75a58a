"""Shared weights: levels by hand, what must hold for any weights, and scikit-learn's k-means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emoref.compress import CodebookTensor, codebook
from emoref.compress.coding.codebook import kmeans_levels
from emoref.errors import ConfigError, DtypeError, NetworkError


def test_by_hand():
    # Three levels besides 0, from -3.5, -1.15, 1.2 on; nothing joins the middle one, and it splits the first.
    tensor = codebook(np.array([[0.0, 1.0, 1.2, -3.0], [0.8, 0.0, -3.0, -3.5]]), bits=2)
    assert tensor.levels.tolist() == [0.0, -3.5, -3.0, 1.0]
    assert tensor.indices.tolist() == [[0, 3, 3, 2], [3, 0, 2, 1]]
    assert tensor.dequantize().tolist() == [[0.0, 1.0, 1.0, -3.0], [1.0, 0.0, -3.0, -3.5]]
    assert (tensor.bits, tensor.shape, tensor.side_bits) == (2, (2, 4), 128)
    assert tensor.symbols().tolist() == [0, 3, 3, 2, 3, 0, 2, 1]


@pytest.mark.parametrize(
    ("weights", "levels", "bits"),
    [([0.0, 0.0], [0.0], 1), ([0.5], [0.0, 0.5], 1), ([2.0, 2.0, 0.0], [0.0, 2.0], 1), ([], [0.0], 1)],
)
def test_few_different_weights_are_kept_exactly(weights, levels, bits):
    tensor = codebook(np.array(weights, np.float32), 4)
    assert tensor.levels.tolist() == levels
    assert tensor.bits == bits
    assert tensor.dequantize().tolist() == weights


def test_one_bit_is_zero_and_the_mean():
    assert codebook(np.array([1.0, 2.0, 0.0, 6.0]), 1).levels.tolist() == [0.0, 3.0]


@given(
    arrays(np.float32, st.integers(0, 60), elements=st.one_of(st.just(0.0), st.floats(-8, 8, width=16))),
    st.integers(1, 5),
)
def test_what_holds_for_any_weights(weights, bits):
    tensor = codebook(weights, bits)
    values, levels = tensor.dequantize(), tensor.levels
    assert len(levels) <= 2**bits
    assert levels[0] == 0
    assert (np.diff(levels[1:]) > 0).all()
    assert (values[weights == 0] == 0).all()
    if (weights != 0).any():
        distance = np.abs(weights[:, None] - levels[None, 1:].astype(np.float64)).min(axis=1)
        np.testing.assert_allclose(np.abs(values - weights)[weights != 0], distance[weights != 0], atol=1e-5)
    assert len(np.unique(weights[weights != 0])) > 2**bits - 1 or (values == weights).all()
    np.testing.assert_array_equal(codebook(weights, bits).indices, tensor.indices)


@pytest.mark.parametrize("count", [2, 7, 15])
def test_as_good_as_the_k_means_of_another_library(count):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(count)
    values = np.concatenate([rng.normal(-1, 0.2, 900), rng.normal(2, 0.5, 600)]).astype(np.float32)
    levels = kmeans_levels(values, count)
    ours = ((values[:, None] - levels[None]) ** 2).min(axis=1).sum()
    theirs = cluster.KMeans(count, n_init=5, random_state=0).fit(values[:, None]).inertia_
    # One start against the best of five: another local optimum, but no bad one.
    assert ours < 1.1 * theirs


def test_levels_of_a_normal_distribution():
    """Max, "Quantizing for minimum distortion", 1960, table I: squared errors 0.1902 and 0.0440."""
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    for count, error in ((3, 0.1902), (7, 0.0440)):
        levels = kmeans_levels(values, count)
        nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]
        assert np.mean((nearest - values) ** 2) == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize("bits", [0, 17, 2.0, True])
def test_bits_out_of_range(bits):
    with pytest.raises(ConfigError, match="bits of a codebook must be 1 to 16"):
        codebook(np.ones(3), bits)


def test_bad_weights():
    with pytest.raises(NetworkError, match=r"weight \(1,\) is nan"):
        codebook(np.array([1.0, np.nan]), 4)
    with pytest.raises(DtypeError):
        codebook(np.arange(4), 4)


@pytest.mark.parametrize(
    ("indices", "levels", "text"),
    [
        ([0], [], "first one 0"),
        ([0], [1.0], "first one 0"),
        ([0], [0.0, np.nan], "finite"),
        ([2], [0, 1], "level 2 is"),
    ],
)
def test_impossible_codebooks(indices, levels, text):
    with pytest.raises(NetworkError, match=text):
        CodebookTensor(np.array(indices, np.uint32), np.array(levels, np.float32))
