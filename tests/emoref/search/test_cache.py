"""Counts that are remembered: bounded, in a file, never wrong."""

import logging
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import nn
from emoref.compress import PrunedModel
from emoref.search import (
    FAILED,
    CountCache,
    FilterGenome,
    MaskedEvaluator,
    MaskGenome,
    PopulationEvaluator,
    QuantizedEvaluator,
    Recalibration,
    WorkerEvaluator,
    candidate_rows,
    workers,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(20, 1, 6, 6)).astype(np.float32)
LABELS = RNG.integers(3, size=20)
ROWS = np.arange(40, dtype=np.uint8)[:, None]


def counts_of(rows):
    """Return what a pretended evaluation finds: the row's own number, up to 9."""
    return [int(row[0]) % 10 for row in rows]


def counting(rows, asked=None):
    def evaluate(places):
        if asked is not None:
            asked.extend(places)
        for place in places:
            yield [(place, int(rows[place, 0]) % 10)]

    return evaluate


def network():
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv1", 4, 3, padding=1)
    b.relu("relu1")
    b.conv("conv2", 5, 3)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def case(count=6):
    net = network()
    genome = FilterGenome(net)
    rows = genome.random(RNG.uniform(0.4, 1, count), RNG)
    return (net, net.init(0), IMAGES, LABELS, genome, "reference"), np.unique(rows, axis=0)


def filled(path, rows=ROWS, name="mine", limit=1000):
    cache = CountCache(limit, 9)
    cache.attach(path, name)
    cache.complete(rows, counting(rows))
    cache.save()
    return cache


def test_every_candidate_is_evaluated_or_from_the_cache():
    cache, rows = CountCache(1000, 9), ROWS[[3, 1, 3, 2]]
    assert cache.complete(rows, counting(rows)).tolist() == [3, 1, 3, 2]
    assert cache.spent == (3, 1, 0), "the second of two equal ones costs nothing"
    first = cache.spent
    assert cache.complete(ROWS[:4], counting(ROWS)).tolist() == [0, 1, 2, 3]
    assert cache.spent.since(first) == {"evaluated": 1, "from_cache": 3, "from_file": 0}


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8),
    st.integers(0, 12),
)
def test_counts_are_right_whatever_is_forgotten(populations, limit):
    cache, asked = CountCache(limit, 9), 0
    for population in populations:
        rows = np.array(population, dtype=np.uint8).reshape(-1, 1)
        assert cache.complete(rows, counting(rows)).tolist() == counts_of(rows)
        assert len(cache) <= limit
        asked += len(rows)
    assert cache.spent.evaluated + cache.spent.from_cache == asked


def test_those_used_longest_ago_go_first():
    cache = CountCache(3, 9)
    for some in ([1, 2, 3], [1], [4]):
        cache.complete(ROWS[some], counting(ROWS[some]))
    assert cache.known(ROWS[:5]).tolist() == [FAILED, 1, FAILED, 3, 4]


def test_what_failed_is_not_kept():
    cache = CountCache(10, 9)
    found = cache.complete(ROWS[:2], lambda places: [[(0, FAILED), (1, 5)]])
    assert found.tolist() == [FAILED, 5]
    assert cache.known(ROWS[:2]).tolist() == [FAILED, 5]


def test_what_was_counted_before_an_error_is_kept(tmp_path):
    def breaks(places):
        yield [(place, 7) for place in places[:20]]
        raise KeyboardInterrupt

    cache = CountCache(100, 9)
    cache.attach(tmp_path / "counts.h5", "mine")
    with pytest.raises(KeyboardInterrupt):
        cache.complete(ROWS, breaks)
    again = CountCache(100, 9)
    again.attach(tmp_path / "counts.h5", "mine")
    assert (again.known(ROWS) == 7).sum() == 20


def test_a_file_serves_another_process(tmp_path, caplog):
    filled(tmp_path / "counts.h5")
    cache, asked = CountCache(1000, 9), []
    cache.attach(tmp_path / "counts.h5", "mine")
    assert cache.complete(ROWS, counting(ROWS, asked)).tolist() == counts_of(ROWS)
    assert not asked
    assert cache.spent == (0, 40, 40)
    assert not caplog.records


def test_the_file_is_bounded_as_the_memory_is(tmp_path):
    path = tmp_path / "counts.h5"
    filled(path, limit=7)
    with h5py.File(path) as file:
        assert file["keys"].shape == (7, 16)
    smaller = CountCache(3, 9)
    smaller.attach(path, "mine")
    assert smaller.known(ROWS[-4:]).tolist() == [FAILED, *counts_of(ROWS[-3:])]


def test_what_the_file_held_and_was_forgotten_is_evaluated_and_told_so(tmp_path):
    filled(tmp_path / "counts.h5", ROWS[:3], limit=3)
    cache = CountCache(3, 9)
    cache.attach(tmp_path / "counts.h5", "mine")
    for some in (ROWS[3:6], ROWS[:1], ROWS[:1]):
        cache.complete(some, counting(some))
    assert cache.spent == (4, 1, 0)


def test_nothing_is_kept_where_nothing_is_remembered(tmp_path):
    filled(tmp_path / "counts.h5", limit=0)
    assert not (tmp_path / "counts.h5").exists()


def test_equal_counts_give_equal_bytes(tmp_path):
    for name in "ab":
        filled(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    written = []
    cache = CountCache(10_000, 9)
    cache.attach(tmp_path / "counts.h5", "mine")
    save = CountCache.save
    monkeypatch.setattr(CountCache, "save", lambda self: (written.append(len(self)), save(self)))
    for first in range(0, 4000, 10):
        rows = np.arange(first, first + 10, dtype=np.int64)[:, None]
        cache.complete(rows, lambda places: [[(place, 1) for place in places]])
    assert len(written) < 200, "a 32nd is new each time"
    assert 4000 - written[-1] < 4000 / 32


def broken(path, how):
    if how == "half of it is missing":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "it is empty":
        path.write_bytes(b"")
    elif how == "it is no HDF5":
        path.write_bytes(b"a text\n" * 100)
    elif how == "a count has changed":
        with h5py.File(path, "r+") as file:
            file["counts"][3] = 8
    elif how == "a key has changed":
        with h5py.File(path, "r+") as file:
            file["keys"][3, 0] ^= 1
    elif how == "an array is missing":
        with h5py.File(path, "r+") as file:
            del file["keys"]
    elif how == "it is of another class":
        with h5py.File(path, "r+") as file:
            file.attrs["emoref_class"] = np.bytes_("search")
    elif how == "it is of a newer version":
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 2
    else:
        path.unlink()
        filled(path, name="another")


HOW = (
    "half of it is missing",
    "it is empty",
    "it is no HDF5",
    "a count has changed",
    "a key has changed",
    "an array is missing",
    "it is of another class",
    "it is of a newer version",
    "it is of another network",
)


@pytest.mark.parametrize("how", HOW)
def test_a_file_that_cannot_be_trusted_is_left_aside_and_made_anew(tmp_path, caplog, how):
    path = tmp_path / "counts.h5"
    filled(path)
    broken(path, how)
    caplog.set_level(logging.WARNING)
    cache = CountCache(1000, 9)
    cache.attach(path, "mine")
    (said,) = caplog.messages
    assert said.startswith(str(path))
    assert said.endswith("the cache of evaluated candidates begins anew")
    assert len(cache) == 0
    assert cache.complete(ROWS, counting(ROWS)).tolist() == counts_of(ROWS)
    again = CountCache(1000, 9)
    again.attach(path, "mine")
    assert len(again) == 40
    assert len(caplog.messages) == 1


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A file of twenty counts, as bytes."""
    path = tmp_path_factory.mktemp("cache") / "counts.h5"
    filled(path, ROWS[:20])
    return path.read_bytes()


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=3))
def test_no_damaged_byte_changes_a_count(content, tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed)] ^= value
    path.write_bytes(bytes(changed))
    cache = CountCache(1000, 9)
    cache.attach(path, "mine")
    known = cache.known(ROWS[:20])
    assert ((known == FAILED) | (known == counts_of(ROWS[:20]))).all()


def test_a_file_that_cannot_be_written_is_given_up_with_a_warning(tmp_path, caplog):
    (tmp_path / "counts.h5").mkdir()
    cache = filled(tmp_path / "counts.h5")
    assert len(cache) == 40
    assert [text.rpartition("; ")[2] for text in caplog.messages] == [
        "the cache of evaluated candidates begins anew",
        "evaluated candidates are remembered in memory alone",
    ]


# ------------------------------------------------------------------------------------------- evaluators


def test_an_evaluator_takes_over_what_another_found(tmp_path):
    arguments, rows = case()
    first = PopulationEvaluator(*arguments)
    first.keep_counts(tmp_path / "counts.h5")
    wrong = first.wrong_counts(rows).tolist()
    first.close()
    second = PopulationEvaluator(*arguments)
    second.keep_counts(tmp_path / "counts.h5")
    assert second.wrong_counts(rows).tolist() == wrong
    assert (second.evaluated, second.macs_executed) == (0, 0)
    assert second.cache.spent.from_file == len(rows)


def test_workers_and_one_evaluator_share_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_evaluators", {})
    arguments, rows = case()
    with WorkerEvaluator(*arguments, make_executor=lambda: ThreadPoolExecutor(1), workers=2) as many:
        many.keep_counts(tmp_path / "counts.h5")
        wrong = many.wrong_counts(rows).tolist()
        assert many.cache.spent.evaluated == len(rows)
    alone = PopulationEvaluator(*arguments)
    alone.keep_counts(tmp_path / "counts.h5")
    assert alone.wrong_counts(rows).tolist() == wrong
    assert alone.evaluated == 0


def others():
    """Yield arguments that may lead to other counts, each with what differs."""
    (net, params, images, labels, genome, backend), _ = case()
    changed = {name: value.copy() for name, value in params.items()}
    changed["conv2.bias"][0] += 1e-3
    yield "parameters", (net, changed, images, labels, genome, backend)
    yield "images", (net, params, images[:, :, ::-1], labels, genome, backend)
    yield "labels", (net, params, images, (labels + 1) % 3, genome, backend)
    yield "fewer images", (net, params, images[:19], labels[:19], genome, backend)
    yield "layers", (net, params, images, labels, FilterGenome(net, ["conv2"]), backend)
    yield "back end", (net, params, images, labels, genome, "cpu")
    yield "mode", (net, params, images, labels, genome, "cpu:exact")
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv1", 4, 3, padding=1)
    b.max_pool("relu1", 1)
    b.conv("conv2", 5, 3)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", 3)
    other = b.build()
    yield "architecture", (other, params, images, labels, FilterGenome(other), backend)


def test_whatever_may_change_a_count_makes_the_file_another(tmp_path, caplog):
    arguments, rows = case()
    evaluator = PopulationEvaluator(*arguments)
    evaluator.keep_counts(tmp_path / "counts.h5")
    evaluator.wrong_counts(rows)
    evaluator.close()
    for what, changed in others():
        caplog.clear()
        other = PopulationEvaluator(*changed)
        other.keep_counts(tmp_path / "counts.h5")
        assert len(other.cache) == 0, what
        assert len(caplog.messages) == 1, what
    norm = Recalibration(IMAGES, 1, 10, backend="reference")
    other = PopulationEvaluator(*arguments, recalibration=norm)
    other.keep_counts(tmp_path / "counts.h5")
    assert len(other.cache) == 0
    same = PopulationEvaluator(*arguments, block_size=7, memory_bytes=1)
    same.keep_counts(tmp_path / "counts.h5")
    assert same.wrong_counts(rows).tolist() == evaluator.wrong_counts(rows).tolist()
    assert same.evaluated == 0


def test_quantised_candidates_are_kept_by_all_that_makes_them(tmp_path):
    net = network()
    models = [PrunedModel.of(net, net.init(seed), 1.0, {}) for seed in (0, 1)]
    rows = [[0, 4, 4, 8], [1, 4, 4, 8], [0, 3, 4, 8]]
    first = QuantizedEvaluator(net, models, IMAGES, LABELS, backend="reference")
    first.keep_counts(tmp_path / "counts.h5")
    wrong = first.wrong_counts(rows).tolist()
    first.close()
    again = QuantizedEvaluator(net, models, IMAGES, LABELS, backend="reference")
    again.keep_counts(tmp_path / "counts.h5")
    assert again.wrong_counts(rows).tolist() == wrong
    assert again.evaluated == 0
    for other in (
        QuantizedEvaluator(net, models[::-1], IMAGES, LABELS, backend="reference"),
        QuantizedEvaluator(net, models, IMAGES, LABELS, "emomc", backend="reference"),
    ):
        other.keep_counts(tmp_path / "counts.h5")
        assert len(other.cache) == 0


def test_masked_candidates_are_kept_by_task(tmp_path):
    net = network()
    params, genome = [net.init(0), net.init(1)], MaskGenome(net)
    rows = candidate_rows(genome, RNG.random((3, genome.n_bits)) < 0.5, 2)
    arguments = ([net, net], params, [IMAGES, IMAGES[:9]], [LABELS, LABELS[:9]], genome, "reference")
    first = MaskedEvaluator(*arguments)
    first.keep_counts(tmp_path / "counts.h5")
    wrong = first.wrong_counts(rows).tolist()
    first.close()
    again = MaskedEvaluator(*arguments)
    again.keep_counts(tmp_path / "counts.h5")
    assert again.wrong_counts(rows).tolist() == wrong
    assert again.cache.spent == (0, 6, 6)
