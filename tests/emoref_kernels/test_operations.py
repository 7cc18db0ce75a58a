"""Every operation on every back end: gradients, agreement with PyTorch, threads, NaN, untouched inputs."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from kernel_cases import OPERATIONS, Operation, assert_close, check_thread_counts
from kernel_tables import load_table

from emoref_kernels import DtypeError, load_backend

# Interpreted (`make coverage`), the loops of the cpu back end take hundreds of times longer.
SHAPES = 10 if numba.config.DISABLE_JIT else 200
COMPILED = ("cpu", "cpu maps")
BACKENDS = ("reference", *COMPILED)
WITHOUT_IMAGES = {
    "linear", "softmax", "softmax_cross_entropy", "distillation_loss", "sgd_update", "adam_update"
}  # fmt: skip
TOLERANCE = 1e-5

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def _on_each(*tables: str) -> pytest.MarkDecorator:
    """Run a test with every operation on each table, those that know no images not on maps."""
    cases = [
        pytest.param(operation, table, id=f"{operation.name}-{table}")
        for operation in OPERATIONS
        for table in tables
        if table != "cpu maps" or operation.name not in WITHOUT_IMAGES
    ]
    return pytest.mark.parametrize(("operation", "backend_name"), cases)


on_every_backend, on_every_compiled = _on_each(*BACKENDS), _on_each(*COMPILED)
REFERENCE = load_backend("reference")


@every_operation
def test_reference_gradients_equal_numeric_derivatives(operation: Operation) -> None:
    if operation.gradients is None:
        assert operation.name in {"softmax", "sgd_update", "adam_update"}
        return
    for case, rng in operation.cases(40, purpose=0):
        dy = rng.standard_normal(operation.forward(REFERENCE, case)[0].shape)
        gradients = operation.gradients(REFERENCE, case, dy)
        assert set(gradients) == set(case.arrays)
        for name, gradient in gradients.items():
            assert gradient.dtype == np.float64
            direction = rng.standard_normal(case.arrays[name].shape)
            step, values = 1e-5, []
            for sign in (1, -1):
                moved = case.with_array(name, case.arrays[name] + sign * step * direction)
                values.append(np.sum(operation.forward(REFERENCE, moved)[0] * dy))
            numeric = (values[0] - values[1]) / (2 * step)
            analytic = np.sum(gradient * direction)
            # The size that the sum has without cancellation; the derivative itself may be near zero.
            scale = np.sqrt(np.sum(np.square(gradient))) + 1e-3
            assert abs(numeric - analytic) <= 1e-6 * scale, f"{operation.name} {name} {case}"


@on_every_compiled
def test_cpu_equals_reference(operation: Operation, backend_name: str) -> None:
    cpu = load_table(backend_name)
    for drawn, rng in operation.cases(SHAPES, purpose=1):
        single = drawn.astype("float32")
        double = single.astype("float64")
        dy = rng.standard_normal(operation.forward(REFERENCE, double)[0].shape).astype("float32")
        expected = operation.results(REFERENCE, double, dy)
        actual = operation.results(cpu, single, dy)
        assert set(actual) == set(expected)
        for name, array in actual.items():
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            assert_close(array, expected[name], TOLERANCE, f"{operation.name} {name} {drawn}")


@every_operation
def test_reference_keeps_float32(operation: Operation) -> None:
    for drawn, rng in operation.cases(20, purpose=1):
        single = drawn.astype("float32")
        dy = rng.standard_normal(operation.forward(REFERENCE, single)[0].shape)
        expected = operation.results(REFERENCE, single.astype("float64"), dy.astype("float32"))
        for name, array in operation.results(REFERENCE, single, dy).items():
            assert array.dtype == np.float32
            assert_close(array, expected[name], TOLERANCE, f"{operation.name} {name} {drawn}")


@on_every_backend
def test_equals_pytorch(operation: Operation, backend_name: str) -> None:
    torch = pytest.importorskip("torch")
    # Two pools of threads that wait for work by spinning slow each other down on arrays this small.
    torch.set_num_threads(1)
    backend = load_table(backend_name)
    dtype, tolerance = "float64", 1e-10
    if backend_name in COMPILED:
        dtype, tolerance = "float32", TOLERANCE
    for drawn, rng in operation.cases(SHAPES, purpose=2):
        case = drawn.astype(dtype)
        differentiated = operation.gradients is not None
        tensors = {
            name: torch.from_numpy(array.copy()).requires_grad_(differentiated)
            for name, array in case.arrays.items()
        }
        y = operation.torch_forward(torch, tensors, case)
        expected = {"output 0": y.detach().numpy()}
        dy = rng.standard_normal(tuple(y.shape)).astype(dtype)
        if differentiated:
            y.backward(torch.from_numpy(np.asarray(dy, dtype=dtype)))
            expected |= {f"gradient of {name}": tensor.grad.numpy() for name, tensor in tensors.items()}
        actual = operation.results(backend, case, np.asarray(dy))
        for name, array in expected.items():
            assert_close(actual[name], array, tolerance, f"{operation.name} {name} {drawn}")


@on_every_compiled
def test_bits_do_not_depend_on_the_number_of_threads(operation: Operation, backend_name: str) -> None:
    if numba.config.NUMBA_NUM_THREADS >= 2:
        check_thread_counts(operation.name, backend_name)
        return
    code = f"import kernel_cases; kernel_cases.check_thread_counts({operation.name!r}, {backend_name!r})"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    # Threads that spin for a processor which others keep busy wait long.
    environment = {
        **os.environ, "NUMBA_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": path
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@on_every_backend
def test_inputs_are_left_alone_and_need_not_be_contiguous(operation: Operation, backend_name: str) -> None:
    backend = load_table(backend_name)
    for drawn, rng in operation.cases(15, purpose=4):
        case = drawn.astype("float32")
        dy = rng.standard_normal(operation.forward(backend, case)[0].shape).astype("float32")
        expected = operation.results(backend, case, dy)
        kept = {name: array.copy() for name, array in {**case.arrays, **case.fixed, "dy": dy}.items()}
        again = operation.results(backend, case, dy)
        for name, array in {**case.arrays, **case.fixed, "dy": dy}.items():
            np.testing.assert_array_equal(array, kept[name])
        strided = drawn.astype("float32")
        strided.arrays = {name: _every_other(array) for name, array in strided.arrays.items()}
        strided.fixed = {name: _every_other(array) for name, array in strided.fixed.items()}
        strided_results = operation.results(backend, strided, _every_other(dy))
        for name, array in expected.items():
            np.testing.assert_array_equal(again[name], array)
            # Sums in another memory order may differ in the last bits where NumPy does them.
            exact = 0.0 if backend_name in COMPILED else 1e-6
            assert_close(strided_results[name], array, exact, f"{operation.name} {name} {drawn}")


def _every_other(array: np.ndarray) -> np.ndarray:
    """Return the same values with gaps between them in memory, last axis slowest."""
    if array.ndim == 0:
        return array
    wide = np.zeros((*array.shape[::-1][:-1], 2 * array.shape[0]), dtype=array.dtype)
    view = wide[..., ::2].transpose()
    view[...] = array
    return view


@on_every_backend
def test_nan_reaches_every_result_that_depends_on_it(operation: Operation, backend_name: str) -> None:
    backend = load_table(backend_name)
    for drawn, rng in operation.cases(20, purpose=5):
        for name, array in drawn.arrays.items():
            place = tuple(rng.integers(0, extent) for extent in array.shape)
            high, low, poisoned = (array.copy() for _ in range(3))
            high[place], low[place], poisoned[place] = array[place] + 50.0, array[place] - 50.0, np.nan
            if name == "v":
                low[place] = 0.0
            depends = [
                first != second
                for first, second in zip(
                    operation.forward(REFERENCE, drawn.with_array(name, high)),
                    operation.forward(REFERENCE, drawn.with_array(name, low)),
                    strict=True,
                )
            ]
            case = drawn.with_array(name, poisoned).astype("float32")
            for result, reached in zip(operation.forward(backend, case), depends, strict=True):
                missed = reached & ~np.isnan(result)
                assert not missed.any(), f"{operation.name} {name} {drawn}"


@on_every_backend
def test_nan_in_the_gradient_is_handed_on(operation: Operation, backend_name: str) -> None:
    if operation.gradients is None:
        return
    backend = load_table(backend_name)
    for drawn, _ in operation.cases(5, purpose=6):
        case = drawn.astype("float32")
        dy = np.full(operation.forward(backend, case)[0].shape, np.nan, dtype="float32")
        for name, gradient in operation.gradients(backend, case, dy).items():
            if operation.name not in {"relu", "max_pool2d", "avg_pool2d", "conv2d"}:
                assert np.isnan(gradient).all(), f"{operation.name} {name} {drawn}"
            elif operation.name != "relu":
                assert np.isnan(gradient).any(), f"{operation.name} {name} {drawn}"


@on_every_compiled
def test_cpu_refuses_float64(operation: Operation, backend_name: str) -> None:
    cpu = load_table(backend_name)
    case, _ = operation.cases(1, purpose=7)[0]
    with pytest.raises(DtypeError, match=r"float64.*reference"):
        operation.forward(cpu, case)
