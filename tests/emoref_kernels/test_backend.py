"""The table of functions: what it offers, and how it refuses."""

import inspect
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import pytest

from emoref_kernels import Backend, BackendError, load_backend

OPERATIONS = [field.name for field in fields(Backend) if field.name not in {"name", "mode", "layout"}]
BACKENDS = ("reference", "cpu")


@pytest.mark.parametrize("name", BACKENDS)
def test_loading_twice_gives_the_same_table(name: str) -> None:
    backend = load_backend(name)
    assert backend is load_backend(name)
    assert backend.name == name
    assert backend is load_backend(name, backend.mode)
    assert repr(backend) == f"Backend('{name}')"
    with pytest.raises(FrozenInstanceError):
        backend.conv2d = None


@pytest.mark.parametrize("name", BACKENDS)
def test_package_exports_exactly_the_table(name: str) -> None:
    load_backend(name)
    package = sys.modules[f"emoref_kernels.{name}"]
    assert sorted(package.__all__) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_signatures_are_equal_in_all_back_ends(operation: str) -> None:
    reference, *others = (_parameters(getattr(load_backend(name), operation)) for name in BACKENDS)
    for other in others:
        assert other == reference


def _parameters(function: object) -> list[tuple[str, object, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_function_is_documented(operation: str) -> None:
    for name in BACKENDS:
        assert inspect.getdoc(getattr(load_backend(name), operation)), f"{name}.{operation}"
    assert "Returns" in inspect.getdoc(getattr(load_backend("reference"), operation)) or operation in {
        "sgd_update",
        "adam_update",
    }


def test_unknown_back_end_names_the_known_and_the_nearest() -> None:
    with pytest.raises(BackendError, match='"reference", "cpu" and "cuda"; did you mean "reference"'):
        load_backend("refernce")
    with pytest.raises(BackendError, match=r"""'zzz'; the known ones are "reference", "cpu" and "cuda"$"""):
        load_backend("zzz")


def test_reference_is_loaded_without_numba() -> None:
    code = (
        "import sys, emoref_kernels; emoref_kernels.load_backend('reference'); "
        "assert 'numba' not in sys.modules and 'emoref_kernels.cpu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_modes_of_the_cpu_back_end_differ_in_the_convolutions_only() -> None:
    fast, exact = load_backend("cpu"), load_backend("cpu", "exact")
    assert (fast.mode, exact.mode) == ("fast", "exact")
    assert exact is load_backend("cpu", mode="exact")
    assert exact is load_backend("cpu:exact")
    assert repr(exact) == "Backend('cpu', mode='exact')"
    changed = {name for name in OPERATIONS if getattr(fast, name) is not getattr(exact, name)}
    assert changed == {"conv2d", "conv2d_input_grad", "conv2d_weight_grad"}
    for name in changed:
        assert _parameters(getattr(exact, name)) == _parameters(getattr(fast, name))
        assert inspect.getdoc(getattr(exact, name))


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(BackendError, match='"cpu" has no mode \'quick\'; it has "fast" and "exact"'):
        load_backend("cpu", "quick")
    with pytest.raises(BackendError, match="no mode 'slow'"):
        load_backend("cpu:slow")
    with pytest.raises(BackendError, match='"reference" has no mode \'fast\'; it has "exact"'):
        load_backend("reference", "fast")


def test_the_layout_changes_what_works_on_images_only() -> None:
    planes, maps = load_backend("cpu"), load_backend("cpu", layout="channels-last")
    assert (planes.layout, maps.layout) == ("planes", "channels-last")
    assert maps is load_backend("cpu", "fast", "channels-last")
    assert repr(maps) == "Backend('cpu', layout='channels-last')"
    assert load_backend("cpu", "exact", "channels-last").mode == "exact"
    changed = {name for name in OPERATIONS if getattr(planes, name) is not getattr(maps, name)}
    assert changed >= {"conv2d", "batch_norm_train", "relu", "max_pool2d", "concat"}
    assert not changed & {"linear", "softmax", "sgd_update", "hypervolume"}


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_an_unknown_layout_is_refused(name: str) -> None:
    with pytest.raises(BackendError, match=f'back end "{name}" has no layout \'rows\'; it has "planes"'):
        load_backend(name, layout="rows")
