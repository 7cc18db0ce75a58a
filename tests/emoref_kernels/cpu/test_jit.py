"""The decorator for compiled functions: its refusals, its cache, and its fallback."""

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from emoref_kernels.errors import BackendError

jit_module = importlib.import_module("emoref_kernels.cpu.jit")


def plus_one(x):
    return x + 1


@pytest.mark.parametrize("flags", [True, {"nnan"}, {"contract", "ninf"}, ["afn"]])
def test_flags_that_drop_nan_are_refused(flags):
    with pytest.raises(BackendError, match="is not allowed"):
        jit_module.jit(fastmath=flags)


def test_allowed_flags_compile():
    total = jit_module.jit(fastmath=jit_module.ALLOWED_FASTMATH)(plus_one)
    assert total(1.5) == 2.5


def test_division_by_zero_follows_numpy():
    @jit_module.jit()
    def inverse(x):
        return 1.0 / x

    assert inverse(0.0) == np.inf


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("1", True), ("0", False)])
def test_cache_switch(monkeypatch, value, expected):
    if value is None:
        monkeypatch.delenv("EMOREF_NUMBA_CACHE", raising=False)
    else:
        monkeypatch.setenv("EMOREF_NUMBA_CACHE", value)
    assert jit_module.cache_enabled() is expected


def test_other_switch_values_are_refused(monkeypatch):
    monkeypatch.setenv("EMOREF_NUMBA_CACHE", "yes")
    with pytest.raises(BackendError, match="set it to 0"):
        jit_module.cache_enabled()


def test_without_a_folder_for_the_cache_it_compiles_anyway(monkeypatch, caplog):
    njit = numba.njit

    def no_locator(*args, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'plus_one': no locator available for file 'x.py'")
        return njit(*args, **options)

    monkeypatch.setenv("EMOREF_NUMBA_CACHE", "1")
    monkeypatch.setattr(jit_module, "numba", SimpleNamespace(njit=no_locator))
    jit_module._warn_uncached.cache_clear()
    with caplog.at_level(logging.WARNING, "emoref_kernels.cpu.jit"):
        assert jit_module.jit()(plus_one)(1) == 2
    assert "compiled anew" in caplog.text


def test_fingerprint_covers_imported_modules():
    package = Path(jit_module.__file__).parent
    found = jit_module._package_imports(package / "gemm.py")
    assert package / "simd.py" in found
    assert package / "jit.py" in found


def test_fingerprint_changes_with_an_imported_module(tmp_path, monkeypatch):
    package = tmp_path / "emoref_kernels" / "cpu"
    package.mkdir(parents=True)
    (package / "first.py").write_text("from .second import value\n")
    (package / "second.py").write_text("from emoref_kernels.cpu.third import value\n")
    (package / "third.py").write_text("value = 1\n")
    monkeypatch.setattr(jit_module, "_PACKAGE_ROOT", tmp_path)

    def fingerprint():
        jit_module._fingerprint.cache_clear()
        jit_module._package_imports.cache_clear()
        return jit_module._fingerprint(package / "first.py")

    before = fingerprint()
    assert fingerprint() == before
    (package / "third.py").write_text("value = 2\n")
    assert fingerprint() != before
    jit_module._fingerprint.cache_clear()
    jit_module._package_imports.cache_clear()


def test_compiled_code_is_reused_by_the_next_process(tmp_path):
    module = tmp_path / "compiled_once.py"
    module.write_text(
        "from emoref_kernels.cpu.jit import jit\n"
        "from emoref_kernels.cpu.runs import sum_run\n"
        "import numpy as np\n"
        "@jit()\n"
        "def total(x):\n"
        "    return sum_run(x, 0, x.size)\n"
        "print(total(np.ones(5, np.float32)), sum(total.stats.cache_hits.values()))\n"
    )
    environment = {
        **os.environ,
        "EMOREF_NUMBA_CACHE": "1",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import compiled_once"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs == [["5.0", "0"], ["5.0", "1"]]
