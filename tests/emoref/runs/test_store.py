"""search.h5: atomic, equal for equal content, readable with h5py alone, honest about damage."""

import h5py
import numpy as np
import pytest

from emoref.errors import FileFormatError, RunFolderError
from emoref.hdf5 import write_attributes
from emoref.runs.store import Generation, SearchStore, front_rows

LAYOUT = {"layers": [["conv1", 3]], "objectives": ["ratio", "error"], "constraints": ["g"], "images": 10}


def generation(seed, rows=4):
    rng = np.random.default_rng(seed)
    return Generation(
        genomes=rng.random((rows, 3)) < 0.5,
        objectives=rng.random((rows, 2)),
        constraints=-rng.random((rows, 1)),
        ranks=np.zeros(rows, dtype=np.int64),
        evaluations=rows * (seed + 1),
    )


def filled(path, count=3):
    store = SearchStore(path, LAYOUT)
    for seed in range(count):
        store.append(generation(seed), {"generation": seed + 1, "X": generation(seed).genomes})
    return store


def test_round_trip(tmp_path):
    filled(tmp_path / "search.h5")
    again = SearchStore.open_or_new(tmp_path / "search.h5", LAYOUT)
    assert len(again.generations) == 3
    for seed, stored in enumerate(again.generations):
        expected = generation(seed)
        np.testing.assert_array_equal(stored.genomes, expected.genomes)
        np.testing.assert_array_equal(stored.objectives, expected.objectives)
        assert stored.evaluations == expected.evaluations
    assert int(again.state["generation"]) == 3
    np.testing.assert_array_equal(again.state["X"], generation(2).genomes)
    again.append(generation(3, rows=2), again.state)
    once_more = SearchStore.open(tmp_path / "search.h5").generations
    assert [len(g.ranks) for g in once_more] == [4, 4, 4, 2], (
        "a smaller generation is padded in the file alone"
    )


def test_equal_content_gives_equal_bytes(tmp_path):
    filled(tmp_path / "a.h5")
    filled(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_it_opens_with_h5py_alone(tmp_path):
    filled(tmp_path / "search.h5")
    with h5py.File(tmp_path / "search.h5") as file:
        assert file["generations/genomes"].shape == (3, 4, 3)
        assert file["generations/objectives"].attrs["names"] == b"ratio, error"


def test_another_problem_is_refused(tmp_path):
    filled(tmp_path / "search.h5")
    with pytest.raises(RunFolderError, match="another network or problem"):
        SearchStore.open_or_new(tmp_path / "search.h5", {**LAYOUT, "images": 11})


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_truncated_files(tmp_path, fraction):
    path = tmp_path / "search.h5"
    filled(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(FileFormatError, match=r"search\.h5"):
        SearchStore.open(path)


def test_newer_format_and_other_class(tmp_path):
    path = tmp_path / "search.h5"
    filled(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(FileFormatError, match="99"):
        SearchStore.open(path)
    with h5py.File(path, "r+") as file:
        write_attributes(file, emoref_class="network", format_version=1)
    with pytest.raises(FileFormatError, match="network"):
        SearchStore.open(path)


def test_front_rows_are_feasible_distinct_and_sorted():
    g = Generation(
        genomes=np.zeros((5, 3), dtype=bool),
        objectives=np.array([[0.5, 0.1], [0.2, 0.4], [0.5, 0.1], [0.1, 0.9], [0.9, 0.9]]),
        constraints=np.array([[0.0], [-1.0], [0.0], [0.5], [0.0]]),
        ranks=np.array([0, 0, 0, 0, 1]),
        evaluations=5,
    )
    assert front_rows(g).tolist() == [1, 0]


@pytest.mark.parametrize(("genes", "dtype"), [("integers", np.int64), ("reals", np.float64)])
def test_genomes_of_numbers_come_back_as_such(tmp_path, genes, dtype):
    bits = generation(1)
    numbers = Generation(
        (bits.genomes * 11.0).astype(dtype), bits.objectives, bits.constraints, bits.ranks, bits.evaluations
    )
    store = SearchStore(tmp_path / "search.h5", {**filled(tmp_path / "bits.h5").layout, "genes": genes})
    store.append(numbers, {"seed": 1})
    found = SearchStore.open(tmp_path / "search.h5").generations[0].genomes
    assert found.dtype == dtype
    assert np.array_equal(found, numbers.genomes)


@pytest.mark.parametrize(
    ("genes", "message"),
    [("reals", "holds int64, but /layout says reals"), ("letters", "genes is 'letters'")],
)
def test_genomes_of_another_kind_than_the_layout_says(tmp_path, genes, message):
    bits = generation(1)
    numbers = Generation(
        bits.genomes.astype(np.int64), bits.objectives, bits.constraints, bits.ranks, bits.evaluations
    )
    store = SearchStore(tmp_path / "search.h5", {**filled(tmp_path / "bits.h5").layout, "genes": genes})
    store.append(numbers, {"seed": 1})
    with pytest.raises(FileFormatError, match=message):
        SearchStore.open(tmp_path / "search.h5")
