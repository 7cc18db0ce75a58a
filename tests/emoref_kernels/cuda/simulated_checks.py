"""Every kernel of the CUDA back end on the simulator, against its reference twin, on small shapes.

Collected by test_simulator.py in a process of its own: Numba decides at its import whether it simulates.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1", allow_module_level=True)

sys.path.append(str(Path(__file__).parents[1]))

from kernel_cases import OPERATIONS, Case, Operation, assert_close

from emoref_kernels import BackendError, load_backend
from emoref_kernels.cuda import array as arrays
from emoref_kernels.cuda import memory
from emoref_kernels.cuda.array import DeviceArray, constant_table, empty, on_device, upload
from emoref_kernels.cuda.conv_weight import weight_gradient
from emoref_kernels.cuda.jit import KERNELS
from emoref_kernels.cuda.lanes import MAIN, current_lane, elapsed_seconds, on_lane, side_lanes
from emoref_kernels.cuda.niching import associate
from emoref_kernels.cuda.planner import DEPTHWISE, DIRECT, plan_convolution
from emoref_kernels.cuda.population import add_wrong, cut_weight, take_rows
from emoref_kernels.cuda.provider import device_info, provider_name, require_device
from emoref_kernels.errors import DeviceMemoryError
from emoref_kernels.reference import niching

CUDA, REFERENCE = load_backend("cuda"), load_backend("reference")
BY_NAME = {operation.name: operation for operation in OPERATIONS}
CONVOLUTIONS = {
    # name: x shape, w shape, stride, padding, groups, biased
    "one by one": ((1, 5, 3, 2), (18, 5, 1, 1), 1, 0, 1, True),
    "few channels": ((1, 2, 4, 3), (3, 2, 3, 3), 1, 1, 1, True),
    "more than a tile": ((1, 9, 5, 4), (17, 9, 1, 2), 1, 0, 1, False),
    "strides": ((2, 3, 5, 4), (2, 3, 3, 2), (2, 3), (1, 0), 1, True),
    "gap between windows": ((1, 2, 6, 5), (2, 2, 1, 1), 3, 0, 1, False),
    "groups": ((1, 4, 4, 3), (6, 2, 3, 3), 1, (1, 0), 2, True),
    "depthwise": ((2, 3, 4, 5), (3, 1, 3, 2), (2, 1), 1, 3, True),
    "winograd 2x2": ((1, 4, 2, 2), (5, 4, 3, 3), 1, 1, 1, True),
    "winograd 4x4": ((1, 4, 5, 3), (4, 4, 3, 3), 1, 2, 1, True),
}


def _random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def _size(case: Case) -> int:
    return sum(array.size for array in case.arrays.values())


def _check(operation: Operation, case: Case, rng: np.random.Generator) -> None:
    """Hold one case, forward and backward, against the reference in float64."""
    dy = rng.standard_normal(operation.forward(REFERENCE, case)[0].shape)
    expected = operation.results(REFERENCE, case, dy)
    found = operation.results(CUDA, case.astype("float32"), dy.astype(np.float32))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert_close(np.asarray(found[name]), np.asarray(array), 2e-5, f"{operation.name}, {name}, {case}")


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.name != "conv2d"], ids=lambda o: o.name)
def test_operation_equals_the_reference(operation: Operation) -> None:
    drawn = sorted(operation.cases(24, purpose=9), key=lambda pair: abs(_size(pair[0]) - 40))
    for case, rng in drawn[:2]:
        _check(operation, case, rng)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_equals_the_reference(name: str) -> None:
    x_shape, w_shape, stride, padding, groups, biased = CONVOLUTIONS[name]
    rng = np.random.default_rng(3)
    arrays = {"x": _random(rng, *x_shape), "w": _random(rng, *w_shape)}
    if biased:
        arrays["b"] = _random(rng, w_shape[0])
    case = Case(arrays, {"stride": stride, "padding": padding, "groups": groups})
    _check(BY_NAME["conv2d"], case, rng)


def test_every_technique_is_among_the_convolutions() -> None:
    chosen = set()
    for x_shape, w_shape, stride, padding, groups, _ in CONVOLUTIONS.values():
        steps, pads = ((v, v) if isinstance(v, int) else v for v in (stride, padding))
        extents = tuple((x_shape[2 + i] + 2 * pads[i] - w_shape[2 + i]) // steps[i] + 1 for i in range(2))
        chosen.add(
            plan_convolution(x_shape[1], w_shape[0], extents, w_shape[2:], steps, pads, groups, "fast")
        )
    assert chosen == {DIRECT, DEPTHWISE, 2, 4}


def test_exact_mode_uses_the_smaller_winograd() -> None:
    plan = (8, 8, (8, 8), (3, 3), (1, 1), (1, 1), 1)
    assert (plan_convolution(*plan, "fast"), plan_convolution(*plan, "exact")) == (4, 2)
    exact = load_backend("cuda", "exact")
    rng = np.random.default_rng(5)
    x, w = (_random(rng, *shape).astype(np.float32) for shape in ((1, 4, 3, 4), (4, 4, 3, 3)))
    assert_close(exact.conv2d(x, w, padding=1), REFERENCE.conv2d(x, w, padding=1), 1e-5, "exact")


def test_long_sums_are_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from emoref_kernels.cuda import conv_weight, correlate, product

    rng = np.random.default_rng(6)
    for module in (conv_weight, correlate, product):
        monkeypatch.setattr(module, "splits_for", lambda blocks, slabs: min(3, slabs))
        monkeypatch.setattr(module, "_plan", module._plan.__wrapped__)
    x, w, b = (_random(rng, *shape).astype(np.float32) for shape in ((1, 9, 4, 3), (2, 9, 3, 3), (2,)))
    dy = _random(rng, 1, 2, 2, 2).astype(np.float32)
    strided = _random(rng, 1, 2, 2, 2).astype(np.float32)
    pairs = {
        "forward": (CUDA.conv2d(x, w, b, (2, 1)), REFERENCE.conv2d(x, w, b, (2, 1))),
        "input": [k.conv2d_input_grad(strided, w, (1, 9, 4, 4), 2, 1) for k in (CUDA, REFERENCE)],
        "linear": [k.linear(x.reshape(12, 9), w[:, :, 0, 0].copy(), b) for k in (CUDA, REFERENCE)],
    }
    on_the_device = weight_gradient(upload(dy), upload(x), (2, 9, 3, 2), (1, 1), (0, 0), 1)
    pairs["weight"] = (np.asarray(on_the_device), REFERENCE.conv2d_weight_grad(dy, x, (2, 9, 3, 2)))
    for name, (found, expected) in pairs.items():
        assert_close(found, expected, 1e-5, name)


def test_batch_norm_with_relu_in_one_pass() -> None:
    rng = np.random.default_rng(8)
    x, dy = (_random(rng, 3, 2, 2, 3).astype(np.float32) for _ in range(2))
    gamma, beta = (_random(rng, 2).astype(np.float32) for _ in range(2))
    y, mean, var = CUDA.batch_norm_train(x, gamma, beta, relu=True)
    assert_close(y, REFERENCE.batch_norm_train(x, gamma, beta, relu=True)[0], 1e-5, "y")
    found = CUDA.batch_norm_train_grad(dy, x, gamma, mean, var, y=y)
    for own, other in zip(found, REFERENCE.batch_norm_train_grad(dy, x, gamma, mean, var, y=y), strict=True):
        assert_close(own, other, 1e-5, "gradient")


def test_batch_norm_with_a_shortcut() -> None:
    rng = np.random.default_rng(9)
    x, shortcut, dy, more = (_random(rng, 3, 2, 2, 3).astype(np.float32) for _ in range(4))
    gamma, beta = (_random(rng, 2).astype(np.float32) for _ in range(2))
    y, mean, var = CUDA.batch_norm_train(x, gamma, beta, relu=True, shortcut=shortcut)
    expected = REFERENCE.batch_norm_train(x, gamma, beta, relu=True, shortcut=shortcut)[0]
    assert_close(y, expected, 1e-5, "y")
    for terms in ({}, {"more": more}):
        found = CUDA.batch_norm_sum_grad(dy, x, gamma, mean, var, y=y, **terms)
        other = REFERENCE.batch_norm_sum_grad(dy, x, gamma, mean, var, y=y, **terms)
        for one, two in zip(found, other, strict=True):
            assert_close(one, two, 1e-5, "gradient")


def test_nan_goes_through() -> None:
    x = np.array([[1.0, np.nan, -1.0]], np.float32)
    assert np.array_equal(CUDA.relu(x), [[1.0, np.nan, 0.0]], equal_nan=True)
    assert np.isnan(CUDA.softmax(x)).all()
    assert np.isnan(CUDA.softmax_cross_entropy(x, np.array([0])))
    assert np.isnan(CUDA.max_pool2d(x[None, None], (1, 3))).all()


@pytest.mark.parametrize("shape", [(9, 2), (20, 3)])
def test_ranks_and_crowding_equal_the_reference(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    F = rng.integers(0, 6, shape).astype(float)
    F[3], F[5, 0] = F[1], np.inf
    assert np.array_equal(CUDA.nondominated_ranks(F), REFERENCE.nondominated_ranks(F))
    F[4, 1] = np.nan
    for variant in ("paper", "deb-c"):
        assert np.array_equal(CUDA.crowding_distance(F, variant), REFERENCE.crowding_distance(F, variant))
    finite = np.abs(F[:3])
    assert CUDA.hypervolume(finite, [7.0] * shape[1]) == pytest.approx(
        REFERENCE.hypervolume(finite, [7.0] * shape[1])
    )


def test_association_equals_the_reference() -> None:
    rng = np.random.default_rng(1)
    F, lines = rng.random((18, 3)), rng.random((5, 3))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    F[2, 1] = np.nan
    niches, distances = associate(F, lines)
    expected = niching.associate(F, lines)
    assert np.array_equal(niches, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-12)


def test_arrays_stay_on_the_device() -> None:
    x = on_device(np.arange(-3.0, 3.0, dtype=np.float32).reshape(2, 3))
    y = CUDA.relu(CUDA.add(x, x))
    assert isinstance(y, DeviceArray)
    assert np.array_equal(np.asarray(y), [[0, 0, 0], [0, 2, 4]])
    assert (y.ndim, len(y), y.size, y.reshape(3, -1).shape) == (2, 2, 6, (3, 2))
    both = x.combined(0.5, 2.0, y)
    assert np.array_equal(np.asarray(both), 0.5 * np.asarray(x) + 2 * np.asarray(y))
    assert np.array_equal(np.asarray(0.5 * x + y), 0.5 * np.asarray(x) + np.asarray(y))
    param = on_device(np.ones(3, np.float32))
    CUDA.sgd_update(param, param.copy(), empty((3,), zero=True), 0.5)
    assert np.array_equal(np.asarray(param), [0.5, 0.5, 0.5])
    assert np.array_equal(np.asarray(x.take([2, 0], axis=1)), np.asarray(x)[:, [2, 0]])
    with pytest.raises(ValueError, match="axis 1"):
        x.take([0], axis=0)
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(4, 2)


def test_parts_of_arrays_share_their_memory() -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    x = upload(host)
    middle = x.part(1, 3)
    assert np.array_equal(np.asarray(middle), host[1:3])
    assert np.array_equal(np.asarray(CUDA.add(middle.reshape(2, 6), x.part(0, 2).reshape(2, 6))), [
        [6, 8, 10, 12, 14, 16], [18, 20, 22, 24, 26, 28]
    ])  # fmt: skip
    assert np.array_equal(np.asarray(x.take(upload(np.array([2, 0])), axis=1)), host[:, [2, 0]])
    with pytest.raises(ValueError, match="cannot take 2 to 5 of 4"):
        x.part(2, 5)


def test_rows_and_columns_are_cut_out() -> None:
    rng = np.random.default_rng(2)
    w, b = _random(rng, 5, 4, 3).astype(np.float32), _random(rng, 5).astype(np.float32)
    lists = upload(np.array([9, 4, 0, 2, 3, 1]))
    found = cut_weight(upload(w), lists, (1, 3), (4, 2))
    assert np.array_equal(np.asarray(found), w[[4, 0, 2]][:, [3, 1]])
    assert np.array_equal(np.asarray(cut_weight(upload(w), lists, (1, 3), None)), w[[4, 0, 2]])
    assert np.array_equal(np.asarray(cut_weight(upload(b), lists, (2, 1), None)), b[[0]])
    assert np.array_equal(np.asarray(take_rows(upload(w), upload(np.array([3, 3, 0])))), w[[3, 3, 0]])


def test_wrong_predictions_are_counted_by_the_rule_of_the_engine() -> None:
    inf, nan = np.inf, np.nan
    logits = np.array(
        [[1, 2, 2], [2, 2, 1], [nan, 9, 0], [0, 9, nan], [-inf, -inf, -inf], [0, inf, 3], [0, 1, 5]] * 3,
        np.float32,
    )
    labels = np.array([7, *[1, 1, 1, 1, 0, 1, 0] * 3])
    wrong = (logits.argmax(1) != labels[1:]) | np.isnan(logits).any(1)
    counts = upload(np.array([5, 0]))
    for _ in range(2):
        add_wrong(upload(logits), upload(labels), 1, counts, 1)
    assert np.asarray(counts).tolist() == [5, 2 * np.count_nonzero(wrong)]


def test_lanes_have_memory_of_their_own() -> None:
    one, other = side_lanes(2)
    assert side_lanes(1) == [one]
    assert current_lane() is MAIN
    with on_lane(one):
        x = upload(np.arange(40, dtype=np.float32))
        memory_of_x = x.memory
        with on_lane(other):
            # A lane may read what another has made, and takes no memory that was another's.
            assert np.array_equal(np.asarray(CUDA.relu(x)), np.arange(40))
            del x
            assert empty((40,)).memory is not memory_of_x
        assert empty((40,)).memory is memory_of_x
        start = one.mark(timed=True)
        table = constant_table((3, 1, 4, 1, 5, 9, 2, 6))
        assert np.asarray(table).tolist() == [3, 1, 4, 1, 5, 9, 2, 6]
        assert elapsed_seconds(start, one.mark(timed=True)) == 0.0
    assert current_lane() is MAIN
    assert constant_table((3, 1, 4, 1, 5, 9, 2, 6)) is table
    for lane in (MAIN, one):
        lane.synchronize()
    assert repr(one) == "Lane('side 0')"


def test_tables_go_through_memory_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    staging = arrays._Staging(4)
    monkeypatch.setattr(arrays, "_STAGING", staging)
    with on_lane(side_lanes(1)[0]):
        tables = [constant_table((70, i, 71)) for i in range(3)]
    assert [np.asarray(table).tolist() for table in tables] == [[70, i, 71] for i in range(3)]


def test_memory_is_used_again_and_bounded() -> None:
    pool = memory.MemoryPool()
    first = pool.take(np.float32, 1000)
    pool.give(first)
    assert pool.take(np.float32, 990) is first
    assert pool.allocations == 1
    pool.limit_bytes = pool.held_bytes + 4000
    other = pool.take(np.float32, 900)
    with pytest.raises(DeviceMemoryError, match="does not suffice"):
        pool.take(np.float32, 2000)
    pool.give(other)
    pool.give(first)
    # What is kept is given back before the refusal.
    assert pool.take(np.float32, 1500).size >= 1500
    assert pool.used_bytes == pool.held_bytes
    assert pool.available_bytes() == pool.limit_bytes - pool.used_bytes


def test_the_simulator_is_named() -> None:
    assert provider_name() == "simulator"
    assert device_info(0).name == "simulator"
    with pytest.raises(BackendError, match="no device 3; this machine has device 0"):
        load_backend("cuda:3")
    require_device(0)


def test_every_kernel_was_launched() -> None:
    """Run last: the other checks leave no kernel out."""
    assert [name for name, kernel in KERNELS.items() if not kernel.launches] == []
