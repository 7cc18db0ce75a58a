"""`emoref verify` as a person meets it."""

import os
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from emoref import cli
from emoref.verify import PEERS, CheckResult, Finding, Peer, suites


def emoref(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "emoref", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **env},
        check=False,
    )


def test_the_table_names_every_operation_and_ends_with_a_count():
    result = emoref("verify", "--backend", "reference")
    assert result.returncode == 0, result.stderr
    rows = result.stdout.splitlines()
    assert rows[0].split("  ")[0] == "checked"
    assert any(row.startswith("reference (float64)  conv2d ") for row in rows)
    assert all(row.rstrip().endswith("pass") for row in rows[1:-1])
    count = len(rows) - 2
    assert rows[-1] == f"{count} of {count} checks passed"


def test_against_pytorch():
    pytest.importorskip("torch")
    result = emoref("verify", "--against", "torch")
    assert result.returncode == 0, result.stderr
    assert "torch (float64)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--backend", "refernce"], ["did you mean", "reference"]),
        (["--against", "torhc"], ["did you mean", "torch"]),
    ],
)
def test_mistakes(arguments, fragments):
    result = emoref("verify", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for fragment in fragments:
        assert fragment in result.stderr


def test_a_missing_library_names_the_extra(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    result = emoref("verify", "--against", "torch", PYTHONPATH=path)
    assert result.returncode == 2
    assert "emoref[oracles]" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_failed_check_is_shown_and_ends_with_code_one(monkeypatch):
    def check(backend, golden):
        yield CheckResult("cpu (float32)", "conv2d", 3, 2e-3, 1e-5, "two groups: dw")
        yield CheckResult("cpu (float32)", "relu", 2, 0.0, 1e-5)

    monkeypatch.setattr(suites, "check_backend", check)
    result = CliRunner().invoke(cli.app, ["verify", "--backend", "cpu"])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "FAIL" in next(line for line in lines if " conv2d " in line)
    assert "cpu (float32), conv2d: worst in two groups: dw" in lines
    assert lines[-1] == "1 of 2 checks passed"


def findings(*results):
    return Peer("mine", "none", lambda golden: iter(results), "json")


def test_findings_about_a_library_end_with_code_zero(monkeypatch):
    peer = findings(
        Finding("mine 1.0", "sorting: as defined", 30),
        Finding("mine 1.0", "sorting: duplicates", 2, "F = [[0], [0]]: ranks [0, 1] instead of [0, 0]"),
    )
    monkeypatch.setitem(PEERS, "mine", peer)
    monkeypatch.setattr(cli, "_out", Console(width=160))
    result = CliRunner().invoke(cli.app, ["verify", "--against", "mine"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["mine", "1.0", "cases", "counter-example"]
    assert lines[1].startswith("sorting: as defined")
    assert "holds" in lines[1]
    assert "FAILS" in lines[2]
    assert lines[2].rstrip().endswith("F = [[0], [0]]: ranks [0, 1] instead of [0, 0]")
    assert lines[-2:] == [
        "1 of 2 properties hold for mine 1.0",
        "What fails is a finding about that library, not about this installation.",
    ]


def test_a_property_that_emoref_fails_ends_with_code_one(monkeypatch):
    failed = Finding("emoref 0", "sorting: as defined", 1, "F = [[0]]: ranks [1]", ours=True)
    monkeypatch.setitem(PEERS, "emoref", findings(failed))
    result = CliRunner().invoke(cli.app, ["verify", "--against", "emoref"])
    assert result.exit_code == 1
    assert "0 of 1 properties hold for emoref 0" in result.output
    assert "not about this installation" not in result.output


def test_against_pymoo():
    pytest.importorskip("pymoo")
    result = emoref("verify", "--against", "pymoo")
    assert result.returncode == 0, result.stderr
    assert "sorting: NaN ranks last and changes nothing else" in result.stdout
    assert "a finding about that library" in result.stdout
