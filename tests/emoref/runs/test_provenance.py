"""Versions and machine, also where a package or the system's own description is missing."""

import importlib.metadata
import os
import platform

from emoref.runs import provenance


def test_versions_and_machine():
    versions = provenance.versions()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == importlib.metadata.version("numpy")
    machine = provenance.machine()
    assert machine["processor"]
    assert 1 <= machine["cores"] <= os.cpu_count()


def test_a_package_that_is_missing_is_said_to_be(monkeypatch):
    def version(package):
        if package == "plotly":
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = provenance.versions()
    assert (found["plotly"], found["rich"]) == ("not installed", "1.0")


def test_systems_without_affinity_or_cpuinfo(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(provenance, "Path", lambda _: tmp_path / "absent")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert provenance.usable_cores() == 1
    assert provenance.machine()["processor"] == "arm64"
