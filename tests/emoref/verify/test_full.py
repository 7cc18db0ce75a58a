"""`emoref verify --full` with tiny settings."""

import pytest
from typer.testing import CliRunner

from emoref import cli
from emoref.errors import ConfigError
from emoref.verify import full, trials
from emoref.verify.full import verify_full

runner = CliRunner(env={"COLUMNS": "160"})


@pytest.fixture
def at_once(monkeypatch):
    """Run trials in this process, two generations each."""

    def run(planned, file, workers, run):
        for trial in planned:
            if trial not in file.results:
                file.add(trial, trials.run_trial(trial, 2))
                yield trial

    monkeypatch.setattr(full, "run_trials", run)


def test_over_a_worker_process(tmp_path):
    files = {"results": tmp_path / "r.jsonl", "table": tmp_path / "t.md"}
    lines = verify_full(["ZDT1"], [2], ["nsga2"], 2, 1, generations=2, **files)
    assert [line.measure for line in lines] == ["gamma", "delta"]
    assert lines[0].values[0] > 0.1
    assert "2 of 2 planned runs" in files["table"].read_text()


def test_the_page_shows_earlier_calls_too(at_once, tmp_path):
    files = {"results": tmp_path / "r.jsonl", "table": tmp_path / "t.md"}
    verify_full(["ZDT1"], seeds=1, **files)
    lines = verify_full(["ZDT2"], seeds=1, **files)
    assert {line.row.problem for line in lines} == {"ZDT1", "ZDT2"}
    assert "4 of 4 planned runs" in files["table"].read_text()


def test_a_missing_folder_is_noticed_before_the_work(at_once, tmp_path):
    with pytest.raises(ConfigError, match=r"no folder .*docs to write nsga3-table.md into"):
        verify_full(results=tmp_path / "r.jsonl", table=tmp_path / "docs" / "nsga3-table.md")
    assert not (tmp_path / "r.jsonl").exists()


def command(tmp_path, *arguments):
    files = ["--results", str(tmp_path / "r.jsonl"), "--table", str(tmp_path / "t.md")]
    return runner.invoke(cli.app, ["verify", "--full", *files, *arguments])


def test_command(at_once, tmp_path):
    result = command(tmp_path, "--rows", "ZDT1, ZDT6", "--entrants", "nsga2", "--seeds", "1")
    assert result.exit_code == 1  # two generations do not do
    lines = result.output.splitlines()
    assert any(line.startswith("zdt ZDT6 M=2") and "(FAIL)" in line for line in lines)
    assert "0 of 2 judged rows pass" in lines
    assert (tmp_path / "t.md").is_file()


def test_command_when_all_rows_pass(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "run_trial", lambda trial, generations: {"gamma": 1e-3, "delta": 0.4})
    assert command(tmp_path, "--rows", "ZDT1", "--seeds", "1").exit_code == 0


def test_command_that_is_stopped(tmp_path, monkeypatch):
    def stopped(planned, file, workers, run):
        file.add(planned[0], {"gamma": 1e-3, "delta": 0.4})
        yield planned[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(full, "run_trials", stopped)
    result = command(tmp_path, "--rows", "ZDT1", "--seeds", "2")
    assert result.exit_code == 130
    assert "the same command goes on" in result.output
    assert "1 of 4 planned runs" in (tmp_path / "t.md").read_text()


def test_mistakes(tmp_path):
    result = command(tmp_path, "--objectives", "three")
    assert isinstance(result.exception, ConfigError)
    assert "whole numbers" in str(result.exception)
