"""The registry of checks, and :func:`verify`, which runs them.

Two kinds of suites exist: every back end of the kernels, and every peer library of :data:`PEERS`. Each yields
records: :class:`~emoref.verify.records.CheckResult` where values are compared,
:class:`~emoref.verify.records.Finding` where properties are tried. Whoever adds a peer adds one entry here,
or in `emoref.verify.conformance.adapters`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from emoref.errors import BackendError, ConfigError
from emoref.nn.graph import suggest
from emoref.verify import torch_peer
from emoref.verify.conformance import check_library
from emoref.verify.conformance.adapters import ADAPTERS, load_library
from emoref.verify.golden import Golden, GoldenCase, load_golden
from emoref.verify.operations import OPERATIONS
from emoref.verify.peer import Peer
from emoref.verify.records import CheckResult, Finding, relative_error
from emoref.verify.replay import replay
from emoref_kernels import Backend, backend_names, load_backend

__all__ = ["PEERS", "TRAINING_CHECK", "Peer", "available_backends", "check_backend", "verify"]

Array = NDArray[Any]

TRAINING_CHECK = "ten training steps"
_TRAINING_TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def check_backend(backend: Backend, golden: Golden) -> Iterator[CheckResult]:
    """Hold a back end against the golden file: all operations, then the recorded training.

    Parameters
    ----------
    backend : Backend
        What to check. ``"reference"`` computes in float64, every other back end in float32.
    golden : Golden
        What is right.

    Yields
    ------
    CheckResult
        One for each operation, and one for the training.
    """
    dtype = "float64" if backend.name == "reference" else "float32"
    subject = f"{backend.name} ({dtype})"
    for operation in OPERATIONS.values():
        tolerance = operation.float64_tolerance if dtype == "float64" else operation.float32_tolerance

        def results(
            case: GoldenCase, run: Callable[..., dict[str, Array]] = operation.run
        ) -> dict[str, Array]:
            return run(backend, case.inputs_as(dtype), case.arguments)

        yield _compare_cases(subject, operation.name, golden, results, tolerance)
    training = golden.training
    params = {name: value.astype(dtype) for name, value in training.initial.items()}
    images = training.images.astype(dtype)
    losses, norms = replay(training.net, training.config, images, training.labels, params, backend)
    actual = {"losses": losses, "norms": norms, **{f"final {name}": value for name, value in params.items()}}
    yield _compare_training(subject, golden, actual, _TRAINING_TOLERANCES[dtype])


def _compare_cases(
    subject: str,
    operation: str,
    golden: Golden,
    results: Callable[[GoldenCase], Mapping[str, Array]],
    tolerance: float,
) -> CheckResult:
    worst, where, cases = 0.0, "", golden.cases_of(operation)
    for case in cases:
        for name, array in results(case).items():
            error = relative_error(array, case.results[name])
            if error > worst:
                worst, where = error, f"{case.about}: {name}"
    return CheckResult(subject, operation, len(cases), worst, tolerance, where)


def _compare_training(
    subject: str, golden: Golden, actual: Mapping[str, Array], tolerance: float
) -> CheckResult:
    expected = golden.training.expected
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    where = max(errors, key=lambda name: errors[name])
    return CheckResult(subject, TRAINING_CHECK, 1, errors[where], tolerance, where if errors[where] else "")


def _check_torch(golden: Golden) -> Iterator[CheckResult]:
    subject = "torch (float64)"
    for name in torch_peer.OPERATIONS:
        tolerance = OPERATIONS[name].float64_tolerance
        yield _compare_cases(subject, name, golden, torch_peer.results, tolerance)
    actual = torch_peer.replay(golden.training)
    yield _compare_training(subject, golden, actual, _TRAINING_TOLERANCES["float64"])


def _check_properties(name: str, golden: Golden) -> Iterator[Finding]:
    yield from check_library(load_library(name))


PEERS: dict[str, Peer] = {
    "torch": Peer("torch", "oracles", _check_torch),
    **{
        adapter.name: Peer(
            adapter.name, adapter.extra, partial(_check_properties, adapter.name), adapter.module
        )
        for adapter in ADAPTERS.values()
    },
}
"""Every library that can be compared with, by name.

PyTorch is compared with the golden values of the kernels; the others are tried on the properties of
`emoref.verify.conformance`.
"""


def available_backends() -> tuple[Backend, ...]:
    """Return the back ends that this machine can run."""
    found = []
    for name in backend_names():
        try:
            found.append(load_backend(name))
        except BackendError:
            continue
    return tuple(found)


def verify(
    backend: str | None = None, against: str | None = None, golden: Golden | None = None
) -> Iterator[CheckResult | Finding]:
    """Check this installation against recorded values, or another library.

    Parameters
    ----------
    backend : str, optional
        Check this back end; all that this machine can run, if neither `backend` nor `against` is given.
    against : str, optional
        A key of :data:`PEERS`: compare the same values with that library's functions, or try the properties
        of multi-objective algorithms on it.
    golden : Golden, optional
        What is right; by default the file that ships with emoref.

    Returns
    -------
    iterator of CheckResult or Finding
        One record for each check; a check runs when its record is asked for.

    Raises
    ------
    BackendError
        If there is no such back end, or this machine cannot run it.
    ConfigError
        If there is no such peer.
    MissingDependencyError
        If the peer is not installed; at the first record.

    Examples
    --------
    >>> for result in verify(backend="reference"):
    ...     assert result.passed, result
    """
    if against is not None and against not in PEERS:
        raise ConfigError(f"nothing to compare with is called {against!r}{suggest(against, PEERS)}")
    backends = available_backends() if backend is None and against is None else ()
    if backend is not None:
        backends = (load_backend(backend),)
    right = golden if golden is not None else load_golden()
    return _run(backends, PEERS[against] if against is not None else None, right)


def _run(backends: tuple[Backend, ...], peer: Peer | None, golden: Golden) -> Iterator[CheckResult | Finding]:
    for backend in backends:
        yield from check_backend(backend, golden)
    if peer is not None:
        yield from peer.check(golden)
