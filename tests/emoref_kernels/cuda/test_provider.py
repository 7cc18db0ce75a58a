"""What the CUDA back end says where it cannot run."""

import subprocess
import sys

import pytest

from emoref_kernels import BackendError, load_backend
from emoref_kernels.cuda import provider

NO_DRIVER = provider.missing() is not None and not provider.SIMULATED


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are two devices, the second too old."""
    monkeypatch.setattr(provider, "missing", lambda: None)
    monkeypatch.setattr(provider, "device_count", lambda: 2)
    monkeypatch.setattr(provider, "_selected", [])
    monkeypatch.setattr(provider.cuda, "select_device", lambda index: None)

    def info(index: int) -> provider.DeviceInfo:
        provider._check_index(index)
        capability = ((9, 0), (5, 2))[index]
        return provider.DeviceInfo(index, f"GPU {index}", capability, 2**30, 10, "13.0")

    monkeypatch.setattr(provider, "device_info", info)
    provider._checked_device.cache_clear()
    yield
    provider._checked_device.cache_clear()


@pytest.mark.skipif(not NO_DRIVER, reason="this machine has a GPU")
def test_without_a_driver_the_message_says_what_is_missing() -> None:
    with pytest.raises(BackendError, match=r'"cuda" cannot run: .*driver.* Use --backend cpu'):
        load_backend("cuda")
    assert provider.device_count() == 0


@pytest.mark.parametrize(
    ("complaint", "says"),
    [
        (None, r"compiler library \(NVVM\) was not found; .*numba-cuda\[cu13\].*CUDA_HOME"),
        (RuntimeError('Failure finding "libnvvm.so"\nhere'), r"compiler library \(NVVM\) was not found"),
        (
            "Call to cuInit results in CUDA_ERROR_NO_DEVICE (100)\nmore",
            r"no usable device \(Call .* \(100\)\)",
        ),
        (RuntimeError(""), r"no usable device \(RuntimeError\)"),
    ],
)
def test_a_driver_without_compiler_or_device_is_told_apart(
    complaint: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Provider:
        def is_available(self) -> bool:
            if isinstance(complaint, Exception):
                raise complaint
            return False

        def cuda_error(self) -> object:
            return complaint

    monkeypatch.setattr(provider, "SIMULATED", False)
    monkeypatch.setattr(provider, "cuda", Provider())
    monkeypatch.setattr(provider, "_driver_library", lambda: True)
    with pytest.raises(BackendError, match=says):
        provider.device_info()


def test_a_device_out_of_range_is_refused(devices: None) -> None:
    with pytest.raises(BackendError, match="no device 2; this machine has devices 0 to 1"):
        provider.require_device(2)
    with pytest.raises(BackendError, match="no device -1"):
        provider.require_device(-1)


def test_an_old_device_is_refused(devices: None) -> None:
    with pytest.raises(BackendError, match=r"device 1 \(GPU 1\) has compute capability 5.2; at least 7.5"):
        provider.require_device(1)


def test_a_process_computes_on_one_device(devices: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "LEAST_CAPABILITY", (5, 0))
    assert provider.require_device().number == 0
    assert provider.selected_device() == 0
    assert provider.require_device(0).name == "GPU 0"
    with pytest.raises(BackendError, match="computes on device 0 already"):
        provider.require_device(1)


def test_the_environment_chooses_a_device(devices: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "LEAST_CAPABILITY", (5, 0))
    monkeypatch.setenv("EMOREF_CUDA_DEVICE", "first")
    with pytest.raises(BackendError, match="EMOREF_CUDA_DEVICE is 'first'"):
        provider.require_device()
    monkeypatch.setenv("EMOREF_CUDA_DEVICE", "1")
    assert provider.require_device().number == 1


def test_the_other_back_ends_do_not_import_cuda() -> None:
    code = (
        "import sys, emoref_kernels; emoref_kernels.load_backend('cpu'); "
        "assert 'emoref_kernels.cuda' not in sys.modules; assert 'numba.cuda.cudadrv' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_back_end_needs_no_driver() -> None:
    subprocess.run([sys.executable, "-c", "import emoref_kernels.cuda"], check=True)
