"""Candidates that were evaluated are not evaluated again, in any system, and nothing else changes."""

import shutil

import pytest

from emoref.report import provenance
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_run
from emoref.runs.store import SearchStore
from emoref.systems import execute, load_run_config

SHORT = ("search.generations=4", "select.count=1", "select.kept_filters=[]", "finetune.epochs=1")


@pytest.fixture(scope="module")
def short(tiny_run):
    """Overrides for a run that is a search and little else."""
    return (*SHORT, f'base.file="{tiny_run.base}"')


@pytest.fixture(scope="module")
def cached(short, run_tiny, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("runs") / "cached", *short)


def go_on(folder):
    execute(load_run_config(folder), folder, Silent())


def scored(folder):
    return provenance.scored_candidates(read_run(folder, load_run_config(folder).model_dump()))


def without_search(folder, path):
    """Return a copy of a run that has its cache and lacks its search and what followed."""
    shutil.copytree(folder.path, path)
    copy = RunFolder(path)
    copy.search.unlink()
    copy.log_file.unlink()
    shutil.rmtree(copy.models)
    return copy


def test_a_search_without_the_cache_is_the_same(cached, short, run_tiny, tmp_path):
    plain = run_tiny(tmp_path / "plain", *short, "engine.cache=false")
    assert plain.search.read_bytes() == cached.search.read_bytes()
    assert not plain.cache.exists()
    assert cached.counts_file("search").exists()
    assert scored(plain)["evaluated"] == scored(cached)["evaluated"]


def test_every_candidate_is_reported_once(cached):
    found = scored(cached)
    store = SearchStore.open(cached.search)
    assert found["evaluated"] + found["from_cache"] <= store.generations[-1].evaluations
    assert found["from_file"] == 0


@pytest.mark.usefixtures("threads_for_processes")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_repeated_search_evaluates_nothing(cached, tmp_path, workers):
    folder = without_search(cached, tmp_path / "copy")
    config = load_run_config(folder)
    engine = config.engine.model_copy(update={"workers": workers})
    execute(config.model_copy(update={"engine": engine}), folder, Silent())
    assert folder.search.read_bytes() == cached.search.read_bytes()
    found = scored(folder)
    before = scored(cached)
    assert found["evaluated"] == 0
    assert found["from_file"] == found["from_cache"] == before["evaluated"] + before["from_cache"]
    record = read_run(folder, load_run_config(folder).model_dump())
    assert provenance.executed_macs(record) == 0
    assert provenance.scored_words(record).startswith("0 evaluated, ")


def test_after_an_interruption_no_genome_is_evaluated_twice(cached, short, run_tiny, tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", *short, progress=stop_at("search", 2))
    folder = RunFolder.open(tmp_path / "run")
    go_on(folder)
    assert folder.search.read_bytes() == cached.search.read_bytes()
    assert scored(folder)["evaluated"] == scored(cached)["evaluated"]


def test_a_damaged_cache_changes_nothing_and_is_told(cached, tmp_path):
    folder = without_search(cached, tmp_path / "copy")
    path = folder.counts_file("search")
    path.write_bytes(path.read_bytes()[:-100])
    go_on(folder)
    assert folder.search.read_bytes() == cached.search.read_bytes()
    record = read_run(folder, load_run_config(folder).model_dump())
    (warning,) = provenance.warnings(record)
    assert "search.h5: truncated or damaged" in warning
    assert scored(folder) == scored(cached)
    again = without_search(folder, tmp_path / "again")
    go_on(again)
    assert scored(again)["evaluated"] == 0, "the file was made anew"


def test_the_cache_can_be_switched_off_in_a_run_that_began_with_it(cached, tmp_path):
    folder = without_search(cached, tmp_path / "copy")
    folder.config.write_text(folder.config.read_text().replace("cache = true", "cache = false"))
    go_on(folder)
    assert folder.search.read_bytes() == cached.search.read_bytes()
    assert scored(folder)["from_file"] == 0


def test_emomc_searches_share_one_file(emomc_run, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(emomc_run.path, path)
    folder = RunFolder(path)
    shutil.rmtree(folder.searches)
    folder.log_file.unlink()
    go_on(folder)
    for one in sorted(emomc_run.searches.glob("*.h5")):
        assert (folder.searches / one.name).read_bytes() == one.read_bytes()
    assert scored(folder)["evaluated"] == 0
    assert 0 < scored(emomc_run)["evaluated"] <= 2 * (8 + 2 * 4)
