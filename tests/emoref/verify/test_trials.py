"""Trials over worker processes: the same results for any number, kept whatever happens."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from emoref.errors import ConfigError, EmorefError, FileFormatError
from emoref.verify import trials as module
from emoref.verify.published import choose_rows
from emoref.verify.trials import ENTRANTS, Trial, TrialFile, plan, run_trial, run_trials

TRIALS = plan(choose_rows(["ZDT1", "DTLZ2"], [2, 3]), ["nsga2", "nsga3"], seeds=2)
short = partial(run_trial, generations=2)


def killed(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def test_plan():
    assert len(TRIALS) == 6
    assert TRIALS[0] == Trial("plain DTLZ2 M=3", "nsga3", 0)
    assert [trial.seed for trial in TRIALS] == [0, 0, 0, 1, 1, 1]
    everything = plan(choose_rows(), seeds=1)
    assert {trial.entrant for trial in everything} == set(ENTRANTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["nsga4"], 1), "'nsga4'; use nsga3, "),
        (((), 0), "seeds is 0"),
        ((["nsga2"], 1), "nsga2 take no part"),
    ],
)
def test_mistakes_in_the_plan(arguments, words):
    with pytest.raises(ConfigError, match=words):
        plan(choose_rows(["plain"], [3]), *arguments)


def test_results_do_not_depend_on_workers_nor_on_interruptions(tmp_path):
    right = TrialFile(tmp_path / "right.jsonl")
    right.probes = {entrant: module.probe(entrant) for entrant in ("nsga2", "nsga3")}
    for trial in TRIALS:
        right.add(trial, short(trial))
    path = tmp_path / "trials.jsonl"
    first = run_trials(TRIALS, TrialFile(path), 2, short)
    next(first)
    first.close()  # as Ctrl-C does
    again = TrialFile(path)
    before = set(again.results)
    assert 1 <= len(before) < 6
    assert set(run_trials(TRIALS, again, 1, short)) == set(TRIALS) - before
    assert path.read_bytes() == right.path.read_bytes()
    assert list(run_trials(TRIALS, TrialFile(path), 2, killed)) == []


def test_a_trial_is_what_the_algorithm_gives():
    trial = TRIALS[0]
    row = choose_rows([trial.row])[0]
    problem = row.make_problem()
    result = ENTRANTS["nsga3"].make(problem, row, trial.seed).run(3)
    assert run_trial(trial, 3) == row.measure(problem, result)


def test_a_killed_worker_loses_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    file = TrialFile(tmp_path / "trials.jsonl")
    file.add(TRIALS[0], {"igd": 1.0})
    with pytest.raises(EmorefError, match="was killed"):
        list(run_trials(TRIALS, file, 1, killed))
    assert TrialFile(file.path).results == {TRIALS[0]: {"igd": 1.0}}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_results_of_other_code_are_not_mixed(tmp_path, monkeypatch):
    file = TrialFile(tmp_path / "trials.jsonl")
    file.check_probe("nsga2")
    file.write()
    again = TrialFile(file.path)
    again.check_probe("nsga2")
    monkeypatch.setattr(module, "probe", lambda entrant: "other")
    with pytest.raises(ConfigError, match="other bits than this one"):
        again.check_probe("nsga2")


def test_probes_differ():
    assert len({module.probe(entrant) for entrant in ENTRANTS}) == len(ENTRANTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1 must be"),
        ("something else\n", "line 1 must be"),
        ("emoref trials 1\n{", "line 2"),
        ('emoref trials 1\n{"row": "x"}\n', "line 2"),
        ('emoref trials 1\n{"row": "x", "entrant": "y", "seed": "z", "measured": {}}\n', "line 2"),
        ("emoref trials 1\n[]\n", "line 2"),
    ],
)
def test_damaged_files(text, words, tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=words):
        TrialFile(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="cannot be read"):
        TrialFile(path)


def test_no_workers():
    with pytest.raises(ConfigError, match="workers is 0"):
        list(run_trials(TRIALS, TrialFile("none.jsonl"), 0))


SCRIPT = """
import sys
from emoref.verify.full import verify_full
if __name__ == "__main__":
    verify_full(["DTLZ3"], [15], ["nsga3"], 50, 1, "slow.jsonl", "table.md")
"""


def processes():
    """Return the parent of every process that runs, from Linux's /proc."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":  # ended, and nobody has asked yet
                found[int(file.parent.name)] = int(parent)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed as Linux does")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_stays_behind(signal_number, tmp_path):
    (tmp_path / "slow.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "slow.py"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        # A shell's background jobs ignore the interrupt, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    started: list[int] = []
    while len(started) < 2:  # the worker, and what watches over shared resources
        assert process.poll() is None
        time.sleep(0.1)
        started = [child for child, parent in processes().items() if parent == process.pid]
    time.sleep(1.0)
    process.send_signal(signal_number)
    assert process.wait(120) != 0
    for _ in range(600):
        left = processes().keys() & started
        if not left:
            break
        time.sleep(0.1)
    assert not left
    if signal_number == signal.SIGINT:
        assert "of 50 planned runs" in (tmp_path / "table.md").read_text()
