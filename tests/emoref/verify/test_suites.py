import dataclasses
import math
import sys

import numpy as np
import pytest

from emoref.errors import BackendError, ConfigError, MissingDependencyError
from emoref.verify import PEERS, Peer, available_backends, check_backend, load_golden, suites, verify
from emoref.verify.operations import OPERATIONS
from emoref.verify.suites import TRAINING_CHECK
from emoref_kernels import Backend, backend_names, load_backend

GOLDEN = load_golden()
CHECKS = [*OPERATIONS, TRAINING_CHECK]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_every_back_end_passes(backend):
    results = list(verify(backend=backend))
    assert [result.check for result in results] == CHECKS
    assert all(result.subject.startswith(backend) for result in results)
    assert all(result.cases >= 2 for result in results if result.check != TRAINING_CHECK)
    failed = [result for result in results if not result.passed]
    assert not failed, failed


def test_the_cases_call_every_function_of_the_table():
    called = set()

    def recorded(name, function):
        def call(*arguments, **options):
            called.add(name)
            return function(*arguments, **options)

        return call

    reference = load_backend("reference")
    labels = {"name", "mode", "layout"}
    names = [field.name for field in dataclasses.fields(Backend) if field.name not in labels]
    recording = Backend(
        "reference", "exact", "planes", **{name: recorded(name, getattr(reference, name)) for name in names}
    )
    for case in GOLDEN.cases:
        found = OPERATIONS[case.operation].run(recording, case.inputs_as("float64"), case.arguments)
        assert list(found) == list(case.results)
    assert called == set(names)


@pytest.mark.parametrize(
    ("function", "check", "where"),
    [
        ("conv2d_weight_grad", "conv2d", "dw"),
        ("max_pool2d", "max_pool2d", "y"),
        ("batch_norm_train_grad", "batch_norm_train", "dx"),
        ("concat_grad", "concat", "dx0"),
        ("nondominated_ranks", "nondominated_ranks", "ranks"),
        ("sgd_update", "sgd_update", "new_param"),
    ],
)
def test_a_wrong_function_fails_its_check(function, check, where):
    """One value that is off by a thousandth of the largest is enough."""
    reference = load_backend("reference")
    right = getattr(reference, function)

    def wrong(*arguments, **options):
        found = right(*arguments, **options)
        first = arguments[0] if found is None else found[0] if isinstance(found, (tuple, list)) else found
        first.flat[-1] += 1 if first.dtype.kind == "i" else 1e-3 * np.abs(first).max()
        return found

    results = check_backend(dataclasses.replace(reference, **{function: wrong}), GOLDEN)
    failed = {result.check: result for result in results if not result.passed}
    assert check in failed
    assert set(failed) <= {check, TRAINING_CHECK}
    assert failed[check].worst_case.endswith(f": {where}")


def test_a_function_that_returns_nan_or_another_shape_fails():
    reference = load_backend("reference")
    for function in (lambda x: np.full_like(x, np.nan), lambda x: x[:1]):
        broken = dataclasses.replace(reference, tanh=function, tanh_grad=lambda dy, y: dy)
        result = {result.check: result for result in check_backend(broken, GOLDEN)}["tanh"]
        assert result.worst_error == math.inf
        assert not result.passed


def test_all_back_ends_of_this_machine_unless_one_is_named(monkeypatch):
    assert {backend.name for backend in available_backends()} <= set(backend_names())
    monkeypatch.setattr(suites, "check_backend", lambda backend, golden: iter([backend.name]))
    assert list(verify(golden=GOLDEN)) == [backend.name for backend in available_backends()]
    assert list(verify(backend="cpu", golden=GOLDEN)) == ["cpu"]


def test_back_ends_that_cannot_run_are_left_out_unless_named(monkeypatch):
    def load(name):
        if name == "cpu":
            raise BackendError("no such processor")
        return load_backend(name)

    monkeypatch.setattr(suites, "load_backend", load)
    assert "cpu" not in [backend.name for backend in available_backends()]
    with pytest.raises(BackendError, match="no such processor"):
        verify(backend="cpu")


def test_unknown_names_are_refused_before_anything_runs():
    with pytest.raises(BackendError, match="did you mean"):
        verify(backend="refernce")
    with pytest.raises(ConfigError, match="'torhc'; did you mean 'torch'"):
        verify(against="torhc")


def test_a_peer_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r'torch is not installed.*"emoref\[oracles\]"'):
        list(verify(against="torch"))


def test_a_back_end_and_a_peer_can_be_asked_for_together(monkeypatch):
    monkeypatch.setattr(suites, "check_backend", lambda backend, golden: iter([backend.name]))
    monkeypatch.setitem(PEERS, "json", Peer("json", "none", lambda golden: iter(["json"])))
    assert list(verify(backend="reference", against="json", golden=GOLDEN)) == ["reference", "json"]
    assert list(verify(against="json", golden=GOLDEN)) == ["json"]
