import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.compress import slim_network
from emoref.errors import NetworkError, ProblemError, ShapeError
from emoref.nn import NetworkBuilder
from emoref.search import FilterGenome


def two_layers():
    b = NetworkBuilder("two", (1, 6, 6))
    b.conv("a", 3, 3)
    b.conv("b", 40, 3)
    b.flatten("flat")
    b.linear("hidden", 5)
    b.linear("fc", 2)
    return b.build()


def tied_layers():
    b = NetworkBuilder("tied", (1, 6, 6))
    b.conv("a", 3, 1)
    b.conv("b", 2, 1)
    b.conv("c", 3, 1)
    b.add("sum", "a", "c")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    return b.build()


def test_layout_is_the_concatenation_of_the_layers():
    genome = FilterGenome(two_layers())
    assert genome.names == ("a", "b")
    assert genome.sizes.tolist() == [3, 40]
    assert genome.offsets.tolist() == [0, 3]
    assert genome.n_bits == 43
    assert genome.floors.tolist() == [1, 2]
    row = np.zeros(43, bool)
    row[[1, 3, 42]] = True
    masks = genome.masks(row)
    assert np.flatnonzero(masks["a"]).tolist() == [1]
    assert np.flatnonzero(masks["b"]).tolist() == [0, 39]
    np.testing.assert_array_equal(genome.genome(masks), row)
    assert genome.kept(row[None]).tolist() == [[1, 2]]
    assert genome.remaining_ratio(row[None]).tolist() == [3 / 43]
    assert slim_network(two_layers(), masks).node("b").attrs["filters"] == 2


def test_layers_can_be_chosen():
    genome = FilterGenome(two_layers(), layers=["hidden", "a"])
    assert genome.names == ("a", "hidden")
    assert genome.n_bits == 8
    with pytest.raises(NetworkError, match="'fc' cannot be pruned; prunable are a, b, hidden"):
        FilterGenome(two_layers(), layers=["fc"])
    with pytest.raises(NetworkError, match="no layer to prune"):
        FilterGenome(two_layers(), layers=[])


def test_tied_layers_share_their_bits():
    genome = FilterGenome(tied_layers())
    assert genome.n_bits == 5
    assert genome.index["c"].tolist() == genome.index["a"].tolist() == [0, 1, 2]
    assert genome.offsets.tolist() == [0, 3, 5]
    row = np.array([True, False, True, False, True])
    masks = genome.masks(row)
    assert masks["a"].tolist() == masks["c"].tolist() == [True, False, True]
    assert genome.kept(row[None]).tolist() == [[2, 1, 2]]
    assert genome.remaining_ratio(row[None]).tolist() == [5 / 8]
    np.testing.assert_array_equal(genome.genome({"c": masks["c"], "b": masks["b"]}), row)


def test_floors():
    b = NetworkBuilder("wide", (1, 2, 2))
    b.conv("a", 100, 1)
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    floors = {r: FilterGenome(b.build(), floor_ratio=r).floors.tolist() for r in (0, 0.005, 0.07, 0.071, 1)}
    assert floors == {0: [1], 0.005: [1], 0.07: [7], 0.071: [8], 1: [100]}
    with pytest.raises(ProblemError, match="floor_ratio"):
        FilterGenome(b.build(), floor_ratio=1.5)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), tied=st.booleans(), ratio=st.floats(0, 1))
def test_repair_lifts_to_the_floor_and_nothing_more(seed, tied, ratio):
    genome = FilterGenome(tied_layers() if tied else two_layers(), floor_ratio=ratio)
    rng = np.random.default_rng(seed)
    rows = rng.random((6, genome.n_bits)) < rng.random((6, 1)) ** 2
    before = rows.copy()
    repaired = genome.repair(rows, rng)
    np.testing.assert_array_equal(rows, before)
    assert not genome.shortfall(repaired).any()
    assert (repaired >= before).all()
    fine = ~genome.shortfall(before).any(axis=1)
    np.testing.assert_array_equal(repaired[fine], before[fine])
    if not tied:
        lacking = genome.shortfall(before)
        np.testing.assert_array_equal(genome.kept(repaired), genome.kept(before) + lacking)


def test_repair_is_random_but_reproducible():
    genome = FilterGenome(two_layers())
    nothing = np.zeros((20, 43), bool)
    once = genome.repair(nothing, np.random.default_rng(7))
    again = genome.repair(nothing, np.random.default_rng(7))
    np.testing.assert_array_equal(once, again)
    assert len(np.unique(once, axis=0)) > 10


def test_random_genomes_have_their_ratios():
    genome = FilterGenome(two_layers())
    rows = genome.random([0.0, 0.5, 1.0], np.random.default_rng(0))
    assert genome.kept(rows)[0].tolist() == [1, 2]
    assert 0.2 < genome.remaining_ratio(rows)[1] < 0.8
    assert rows[2].all()


def test_packing():
    genome = FilterGenome(two_layers())
    rows = np.random.default_rng(0).random((5, 43)) < 0.5
    packed = genome.pack(rows)
    assert packed.shape == (5, 6)
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(genome.unpack(packed), rows)
    first = np.zeros((1, 43), bool)
    first[0, 0] = True
    assert genome.pack(first)[0].tolist() == [128, 0, 0, 0, 0, 0]
    with pytest.raises(ShapeError, match=r"shape \(P, 6\)"):
        genome.unpack(packed[:, :5])


def test_ranks_within_each_layer():
    scores = {"a": np.array([0.5, 2.0, 0.5]), "b": np.arange(40.0)}
    ranks, sizes = FilterGenome(two_layers()).ranked(scores)
    assert sizes == (3, 40)
    np.testing.assert_allclose(ranks[:3], [2 / 3, 1, 1 / 3])
    np.testing.assert_allclose(ranks[3:], np.arange(1, 41) / 40)


def test_shared_bits_are_ranked_once():
    shared = np.array([3.0, 1.0, 2.0])
    genome = FilterGenome(tied_layers())
    ranks, sizes = genome.ranked({"a": shared, "b": np.array([1.0, 2.0]), "c": shared})
    assert sizes == (3, 2)
    np.testing.assert_allclose(ranks, [1, 1 / 3, 2 / 3, 1 / 2, 1])
    scores = genome.bit_scores({"a": shared, "b": np.array([1.0, 2.0]), "c": shared})
    assert scores.tolist() == [3, 1, 2, 1, 2]


@pytest.mark.parametrize("rows", [np.ones((2, 42), bool), np.ones(43, bool), np.ones((2, 43))])
def test_wrong_genomes(rows):
    with pytest.raises(ShapeError, match=r"booleans of shape \(P, 43\)"):
        FilterGenome(two_layers()).kept(rows)


def test_wrong_masks():
    genome = FilterGenome(two_layers())
    with pytest.raises(NetworkError, match="'hidden': this genome has the layers a, b"):
        genome.genome({"hidden": np.ones(5, bool)})
    with pytest.raises(ShapeError, match="expected 3 booleans"):
        genome.genome({"a": np.ones(4, bool)})
