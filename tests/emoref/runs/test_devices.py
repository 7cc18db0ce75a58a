"""The cuda back end on the command line: refused in time, with a message, and nothing lost."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from emoref import cli, systems
from emoref.errors import BackendError
from emoref.runs.devices import check_backend, device_rows, split_backend
from emoref.runs.folder import RunFolder
from emoref.runs.messages import messages_to
from emoref_kernels.cuda import provider

NO_DRIVER = provider.missing() is not None


def emoref(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["emoref", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there is one device."""
    monkeypatch.setattr(provider, "missing", lambda: None)
    monkeypatch.setattr(provider, "device_count", lambda: 1)
    monkeypatch.setattr(provider, "_selected", [])
    monkeypatch.setattr(provider.cuda, "select_device", lambda index: None)

    def info(index: int) -> provider.DeviceInfo:
        provider._check_index(index)
        return provider.DeviceInfo(index, "GPU", (9, 0), 2**30, 10, "13.0")

    monkeypatch.setattr(provider, "device_info", info)
    provider._checked_device.cache_clear()
    yield
    provider._checked_device.cache_clear()


@pytest.mark.skipif(not NO_DRIVER, reason="this machine has a GPU")
def test_without_a_driver_no_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = emoref(monkeypatch, "run", "demo", "--backend", "cuda", "--out", tmp_path / "run")
    said = capsys.readouterr().err
    assert code == 2
    assert "no CUDA driver was found" in said or "no usable device" in said
    assert "Use --backend cpu" in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match="cannot run"):
        check_backend("cuda:exact")
    rows = device_rows()
    assert rows["CUDA compiler"].startswith("numba")
    assert rows["CUDA device"].startswith("none: ")


def test_a_device_out_of_range_is_refused(
    device: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMOREF_CUDA_DEVICE", "0")
    code = emoref(monkeypatch, "run", "demo", "--backend", "cuda:4", "--out", tmp_path / "run")
    assert code == 2
    assert "there is no device 4; this machine has device 0" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match="after the colon comes the number"):
        split_backend("cuda:first")
    assert split_backend("cpu") == "cpu"


def test_devices_are_shown(device: None) -> None:
    rows = device_rows()
    assert rows["CUDA device 0"] == "GPU, capability 9.0, 1 GiB, 10 multiprocessors"
    assert rows["CUDA driver"] == "CUDA 13.0"


def test_a_run_out_of_memory_is_kept_and_goes_on_on_the_cpu(
    device: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def execute(config: Any, folder: RunFolder, progress: Any) -> None:
        seen.append(config.engine.backend)
        raise BackendError("the device's memory does not suffice; not even one image at a time fits")

    monkeypatch.setattr(systems, "execute", execute)
    folder = tmp_path / "run"
    assert emoref(monkeypatch, "run", "demo", "--backend", "cuda", "--out", folder) == 2
    assert "not even one image at a time fits" in capsys.readouterr().err
    assert RunFolder.open(folder).path == folder
    assert emoref(monkeypatch, "resume", folder, "--backend", "cpu") == 2
    assert seen == ["cuda", "cpu"]
    # The configuration of the run is what it was.
    assert 'backend = "cuda"' in (folder / "config.toml").read_text()


def test_warnings_of_the_engine_go_to_the_log_of_the_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", 'system = "one-shot"\n')
    log = logging.getLogger("emoref.nn.device")
    with messages_to(folder):
        log.warning("going on with %d images", 32)
        log.info("not this")
    log.warning("nor this")
    entries = [json.loads(line) for line in (folder.path / "log.jsonl").read_text().splitlines()]
    messages = [entry["message"] for entry in entries if "message" in entry]
    assert messages == ["going on with 32 images"]
