"""A search with racing stores the same bytes as one without, and says that it raced."""

import pytest

from emoref.report import provenance
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Silent
from emoref.runs.record import read_run
from emoref.systems import execute, load_run_config

SHORT = (
    "search.population=8",
    "search.generations=6",
    "select.count=1",
    "select.kept_filters=[]",
    "finetune.epochs=1",
)


@pytest.fixture(scope="module")
def short(tiny_run):
    return (*SHORT, f'base.file="{tiny_run.base}"')


@pytest.fixture(scope="module")
def plain(short, run_tiny, tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("runs") / "plain", *short)


def record_of(folder):
    return read_run(folder, load_run_config(folder).model_dump())


def test_the_stored_search_is_the_same_and_the_log_tells_what_racing_saved(plain, short, run_tiny, tmp_path):
    raced = run_tiny(tmp_path / "raced", *short, "search.racing=true")
    assert raced.search.read_bytes() == plain.search.read_bytes()
    record, before = record_of(raced), record_of(plain)
    found = provenance.scored_candidates(record)
    assert 0 < found["raced"] <= found["evaluated"]
    assert 0 < found["images_saved"] <= 160 * found["raced"], "one part of five is always run"
    assert "; racing stopped " in provenance.scored_words(record)
    assert "racing" not in provenance.scored_words(before)


def test_with_constraints_on_the_error(short, run_tiny, tmp_path):
    limits = ("search.max_error=0.6", "search.remaining_ratio=[0.1, 0.8]", "search.generations=4")
    stored = [
        run_tiny(tmp_path / name, *short, *limits, f"search.racing={name}").search.read_bytes()
        for name in ("true", "false")
    ]
    assert stored[0] == stored[1]


@pytest.mark.usefixtures("threads_for_processes")
def test_with_workers_and_after_an_interruption(plain, short, run_tiny, tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        run_tiny(
            tmp_path / "run",
            *short,
            "search.racing=true",
            "engine.workers=2",
            progress=stop_at("search", 3),
        )
    folder = RunFolder.open(tmp_path / "run")
    execute(load_run_config(folder), folder, Silent())
    assert folder.search.read_bytes() == plain.search.read_bytes()
    assert provenance.scored_candidates(record_of(folder))["raced"] > 0
