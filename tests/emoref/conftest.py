"""The command line inside the test's own process, where its surroundings can be arranged."""

import sys
from typing import NamedTuple

import pytest


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """Return a function that runs ``emoref`` with arguments."""
    from emoref import cli as module

    def run(*arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["emoref", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            sys.exit(module.main())
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def refused(cli):
    """Return a function that runs ``emoref`` and expects one clear message and exit code 2."""

    def run(*arguments, says=()) -> str:
        outcome = cli(*arguments)
        lines = [line for line in outcome.err.splitlines() if not line.startswith("fetching ")]
        assert outcome.code == 2, outcome
        assert lines[0].startswith("emoref: ")
        assert len(lines) <= 2
        assert "Traceback" not in outcome.err
        for fragment in says:
            assert fragment in outcome.err
        return outcome.err

    return run
