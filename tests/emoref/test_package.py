"""The package itself: sub-packages that are imported when first used."""

import ast
import subprocess
import sys

import pytest

import emoref


def test_every_subpackage_is_reached_as_an_attribute():
    names = [name for name in dir(emoref) if not name.startswith("_")]
    assert names == sorted(set(emoref.__all__) - {"__version__"})
    for name in names:
        assert getattr(emoref, name).__name__ == f"emoref.{name}"
    assert emoref.verify.verify


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'emoref' has no attribute 'nothing'"):
        _ = emoref.nothing


def test_importing_emoref_imports_nothing_else():
    code = "import sys, emoref; print([m for m in sys.modules if m.startswith(('emoref', 'num'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(run.stdout)) <= {"emoref", "numbers"}
