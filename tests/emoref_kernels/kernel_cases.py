"""Every operation of the kernels with random arguments, written once for all back ends and checks.

An `Operation` knows how to draw arguments, how to call itself on a back end, forward and backward, and
what PyTorch calls the same thing. The tests then hold any back end against numeric derivatives, against
the reference or against PyTorch without knowing which operation it is.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from kernel_tables import load_table
from numpy.typing import NDArray

from emoref_kernels import Backend

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass
class Case:
    """Arguments of one call: arrays by name (float64 as drawn), and the others."""

    arrays: Arrays
    options: dict[str, Any] = field(default_factory=dict)
    fixed: Arrays = field(default_factory=dict)  # labels, masks: no gradient, no change of dtype

    def astype(self, dtype: str) -> "Case":
        arrays = {name: array.astype(dtype) for name, array in self.arrays.items()}
        return Case(arrays, self.options, self.fixed)

    def with_array(self, name: str, array: Array) -> "Case":
        return Case({**self.arrays, name: array}, self.options, self.fixed)

    def __repr__(self) -> str:
        shapes = {name: array.shape for name, array in {**self.arrays, **self.fixed}.items()}
        return f"{shapes} {self.options}"


@dataclass(frozen=True)
class Operation:
    """One operation; see the module's docstring.

    `forward` returns a tuple whose first array is the one that is differentiated. `gradients` returns the
    gradient for each name; it is None for an operation without one.
    """

    name: str
    draw: Callable[[np.random.Generator], Case]
    forward: Callable[[Backend, Case], tuple[Array, ...]]
    gradients: Callable[[Backend, Case, Array], Arrays] | None = None
    torch_forward: Callable[[Any, dict[str, Any], Case], Any] | None = None

    def cases(self, count: int, purpose: int) -> list[tuple[Case, np.random.Generator]]:
        """Draw cases, each with a generator for what a test draws besides."""
        key = zlib.crc32(self.name.encode())
        generators = [np.random.default_rng([key, purpose, index]) for index in range(count)]
        return [(self.draw(rng), rng) for rng in generators]

    def results(self, backend: Backend, case: Case, dy: Array) -> Arrays:
        """Return all results of a case, forward and backward, by name."""
        found = {f"output {index}": y for index, y in enumerate(self.forward(backend, case))}
        if self.gradients is not None:
            gradients = self.gradients(backend, case, dy.astype(found["output 0"].dtype))
            found.update({f"gradient of {name}": gradient for name, gradient in gradients.items()})
        return found


def assert_close(actual: Array, expected: Array, tolerance: float, what: object) -> None:
    """Compare relative to the scale of the result, which for these arguments is at least about 1."""
    assert actual.shape == expected.shape, what
    if expected.size:
        error = np.abs(actual.astype(np.float64) - expected).max()
        assert error <= tolerance * max(1.0, np.abs(expected).max()), f"{what}: error {error}"


# ------------------------------------------------------------------------------------ drawing arguments


def _choice(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def _images(rng: np.random.Generator) -> Array:
    shape = (rng.integers(1, 5), rng.integers(1, 7), rng.integers(1, 13), rng.integers(1, 13))
    return rng.standard_normal(shape)


def _images_or_rows(rng: np.random.Generator) -> Array:
    if rng.random() < 0.5:
        return _images(rng)
    return rng.standard_normal((rng.integers(1, 9), rng.integers(1, 40)))


def _away_from_zero(x: Array) -> Array:
    return x + 0.05 * np.sign(x)


def _draw_conv(rng: np.random.Generator) -> Case:
    if rng.random() < 0.4:
        # What networks are made of: 3x3 and 5x5, stride 1 or 2, more channels than a vector has lanes.
        groups, depth, filters = 1, int(_choice(rng, 1, 3, 16, 17, 40)), int(_choice(rng, 1, 6, 16, 33))
        kernel = int(_choice(rng, 1, 3, 3, 3, 5))
        options = {"stride": int(_choice(rng, 1, 1, 2)), "padding": kernel // 2}
        kernels, extents = (kernel, kernel), rng.integers(5, 15, 2)
    else:
        groups = int(_choice(rng, 1, 1, 2, 3, 5))
        depth, filters = int(_choice(rng, 1, 1, 2, 3)), int(_choice(rng, 1, 2, 4))
        kernels = tuple(int(extent) for extent in rng.integers(1, 6, 2))
        padding = tuple(int(extent) for extent in rng.integers(0, 4, 2))
        options = {"stride": tuple(int(step) for step in rng.integers(1, 6, 2)), "padding": padding}
        least = [max(1, kernel - 2 * pad) for kernel, pad in zip(kernels, padding, strict=True)]
        extents = np.array(least) + rng.integers(0, 8, 2)
    arrays = {
        "x": rng.standard_normal((rng.integers(1, 4), groups * depth, *extents)),
        "w": rng.standard_normal((groups * filters, depth, *kernels)),
    }
    if rng.random() < 0.7:
        arrays["b"] = rng.standard_normal(groups * filters)
    return Case(arrays, {**options, "groups": groups})


def _draw_linear(rng: np.random.Generator) -> Case:
    batch, features, units = rng.integers(1, 20), rng.integers(1, 70), rng.integers(1, 40)
    arrays = {"x": rng.standard_normal((batch, features)), "w": rng.standard_normal((units, features))}
    if rng.random() < 0.7:
        arrays["b"] = rng.standard_normal(units)
    return Case(arrays)


def _draw_batch_norm(rng: np.random.Generator) -> Case:
    x = 3 * _images_or_rows(rng) + 1
    vectors = {name: rng.standard_normal(x.shape[1]) for name in ("gamma", "beta")}
    fixed = {"mean": rng.standard_normal(x.shape[1]), "var": rng.uniform(0.2, 2, x.shape[1])}
    return Case({"x": x, **vectors}, {"eps": float(_choice(rng, 1e-5, 1e-3))}, fixed)


def _draw_batch_norm_train(rng: np.random.Generator) -> Case:
    case = _draw_batch_norm(rng)
    x = case.arrays["x"]
    if x.size // x.shape[1] < 6:
        # With few values a variance may come out tiny, and every rounding error is divided by it.
        x = rng.standard_normal((8, *x.shape[1:]))
    return Case({**case.arrays, "x": x}, case.options)


def _draw_pool(rng: np.random.Generator) -> Case:
    if rng.random() < 0.3:
        kernel, stride, padding = _choice(rng, (2, None, 0), (2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1))
        least = np.array([kernel, kernel])
    else:
        kernel = tuple(int(extent) for extent in rng.integers(1, 6, 2))
        stride = _choice(rng, None, tuple(int(step) for step in rng.integers(1, 7, 2)))
        padding = tuple(int(rng.integers(0, extent // 2 + 1)) for extent in kernel)
        least = np.maximum(1, np.array(kernel) - 2 * np.array(padding))
    extents = least + rng.integers(0, 30, 2) // int(_choice(rng, 1, 4))
    x = rng.standard_normal((rng.integers(1, 4), rng.integers(1, 6), *extents))
    return Case({"x": x}, {"kernel": kernel, "stride": stride, "padding": padding})


def _draw_concat(rng: np.random.Generator) -> Case:
    first = _images_or_rows(rng)
    others = rng.integers(1, 5, rng.integers(0, 3))
    arrays = [first, *(rng.standard_normal((first.shape[0], count, *first.shape[2:])) for count in others)]
    return Case({f"x{index}": array for index, array in enumerate(arrays)})


def _draw_dropout(rng: np.random.Generator) -> Case:
    x, rate = _images_or_rows(rng), float(_choice(rng, 0.0, 0.2, 0.5, 0.9))
    return Case({"x": x}, {"rate": rate}, {"keep": rng.random(x.shape) >= rate})


def _draw_logits(rng: np.random.Generator) -> Case:
    logits = rng.standard_normal((rng.integers(1, 30), rng.integers(1, 40))) * _choice(rng, 1, 10)
    return Case({"logits": logits}, {}, {"labels": rng.integers(0, logits.shape[1], len(logits))})


def _draw_labelled(rng: np.random.Generator) -> Case:
    case = _draw_logits(rng)
    return Case(case.arrays, {"smoothing": float(_choice(rng, 0.0, 0.1, 0.7))}, case.fixed)


def _draw_distillation(rng: np.random.Generator) -> Case:
    logits = _draw_logits(rng).arrays["logits"]
    teacher = 3 * rng.standard_normal(logits.shape)
    return Case({"logits": logits}, {"temperature": float(_choice(rng, 0.5, 1, 4))}, {"teacher": teacher})


def _draw_local_response(rng: np.random.Generator) -> Case:
    options = {"size": int(_choice(rng, 1, 3, 5, 9)), "alpha": float(_choice(rng, 1e-4, 0.5, 2))}
    options |= {"beta": float(_choice(rng, 0.75, 0.75, 0, 1, 1.3)), "k": float(_choice(rng, 1, 2))}
    return Case({"x": _images(rng)}, options)


def _draw_sgd(rng: np.random.Generator) -> Case:
    param = _images_or_rows(rng)
    options = {
        "lr": float(_choice(rng, 0.01, 0.5)),
        "momentum": float(_choice(rng, 0.0, 0.9)),
        "weight_decay": float(_choice(rng, 0.0, 0.05)),
    }
    options["nesterov"] = bool(options["momentum"] and rng.random() < 0.5)
    others = {name: rng.standard_normal(param.shape) for name in ("grad", "velocity")}
    return Case({"param": param, **others}, options)


def _draw_adam(rng: np.random.Generator) -> Case:
    param = _images_or_rows(rng)
    options = {"step": int(rng.integers(1, 2000)), "lr": float(_choice(rng, 0.001, 0.1)), "beta1": 0.9}
    options |= {"beta2": float(_choice(rng, 0.99, 0.999)), "weight_decay": float(_choice(rng, 0.0, 0.05))}
    arrays = {"param": param, "grad": rng.standard_normal(param.shape), "m": rng.standard_normal(param.shape)}
    return Case({**arrays, "v": rng.uniform(0.01, 1, param.shape)}, {**options, "eps": 1e-8})


# ------------------------------------------------------------------------------ calls of the operations


def _conv_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    a, options = case.arrays, case.options
    gradients = {
        "x": k.conv2d_input_grad(dy, a["w"], a["x"].shape, **options),
        "w": k.conv2d_weight_grad(dy, a["x"], a["w"].shape, **options),
    }
    return {**gradients, "b": k.conv2d_bias_grad(dy)} if "b" in a else gradients


def _linear_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    a = case.arrays
    gradients = {"x": k.linear_input_grad(dy, a["w"]), "w": k.linear_weight_grad(dy, a["x"])}
    return {**gradients, "b": k.linear_bias_grad(dy)} if "b" in a else gradients


def _statistics(case: Case) -> list[Array]:
    dtype = case.arrays["x"].dtype
    return [case.fixed["mean"].astype(dtype), case.fixed["var"].astype(dtype)]


def _batch_norm(k: Backend, case: Case) -> tuple[Array, ...]:
    a = case.arrays
    return (k.batch_norm(a["x"], a["gamma"], a["beta"], *_statistics(case), **case.options),)


def _batch_norm_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    a = case.arrays
    found = k.batch_norm_grad(dy, a["x"], a["gamma"], *_statistics(case), **case.options)
    return dict(zip(("x", "gamma", "beta"), found, strict=True))


def _batch_norm_train_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    a = case.arrays
    _, mean, var = k.batch_norm_train(a["x"], a["gamma"], a["beta"], **case.options)
    found = k.batch_norm_train_grad(dy, a["x"], a["gamma"], mean, var, **case.options)
    return dict(zip(("x", "gamma", "beta"), found, strict=True))


def _concat_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    arrays = case.arrays
    found = k.concat_grad(dy, [array.shape[1] for array in arrays.values()])
    return dict(zip(arrays, found, strict=True))


def _cross_entropy(k: Backend, case: Case) -> tuple[Array, ...]:
    logits = case.arrays["logits"]
    loss = k.softmax_cross_entropy(logits, case.fixed["labels"], **case.options)
    return (np.asarray(loss, dtype=logits.dtype),)


def _cross_entropy_gradients(k: Backend, case: Case, dy: Array) -> Arrays:
    gradient = k.softmax_cross_entropy_grad(case.arrays["logits"], case.fixed["labels"], **case.options)
    return {"logits": dy * gradient}


def _both_logits(case: Case) -> tuple[Array, Array]:
    logits = case.arrays["logits"]
    return logits, case.fixed["teacher"].astype(logits.dtype)


def _distillation(k: Backend, case: Case) -> tuple[Array, ...]:
    loss = k.distillation_loss(*_both_logits(case), **case.options)
    return (np.asarray(loss, dtype=case.arrays["logits"].dtype),)


def _sgd(k: Backend, case: Case) -> tuple[Array, ...]:
    a = {name: array.copy(order="K") for name, array in case.arrays.items()}
    k.sgd_update(a["param"], a["grad"], a["velocity"], **case.options)
    return a["param"], a["velocity"]


def _adam(k: Backend, case: Case) -> tuple[Array, ...]:
    a = {name: array.copy(order="K") for name, array in case.arrays.items()}
    k.adam_update(a["param"], a["grad"], a["m"], a["v"], **case.options)
    return a["param"], a["m"], a["v"]


def _torch_conv(torch: Any, t: dict[str, Any], case: Case) -> Any:
    return torch.nn.functional.conv2d(t["x"], t["w"], t.get("b"), **case.options)


def _torch_batch_norm(torch: Any, t: dict[str, Any], case: Case) -> Any:
    mean, var = (torch.from_numpy(vector) for vector in _statistics(case))
    return torch.nn.functional.batch_norm(t["x"], mean, var, t["gamma"], t["beta"], **case.options)


def _torch_batch_norm_train(torch: Any, t: dict[str, Any], case: Case) -> Any:
    return torch.nn.functional.batch_norm(
        t["x"], None, None, t["gamma"], t["beta"], training=True, **case.options
    )


def _torch_max_pool(torch: Any, t: dict[str, Any], case: Case) -> Any:
    o = case.options
    return torch.nn.functional.max_pool2d(t["x"], o["kernel"], o["stride"], o["padding"])


def _torch_avg_pool(torch: Any, t: dict[str, Any], case: Case) -> Any:
    o = case.options
    return torch.nn.functional.avg_pool2d(t["x"], o["kernel"], o["stride"], o["padding"])


def _torch_cross_entropy(torch: Any, t: dict[str, Any], case: Case) -> Any:
    labels, smoothing = torch.from_numpy(case.fixed["labels"]), case.options["smoothing"]
    return torch.nn.functional.cross_entropy(t["logits"], labels, label_smoothing=smoothing)


def _torch_distillation(torch: Any, t: dict[str, Any], case: Case) -> Any:
    temperature = case.options["temperature"]
    log_p = torch.log_softmax(t["logits"] / temperature, dim=1)
    log_q = torch.log_softmax(torch.from_numpy(_both_logits(case)[1]) / temperature, dim=1)
    divergence = torch.nn.functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def _torch_dropout(torch: Any, t: dict[str, Any], case: Case) -> Any:
    return t["x"] * torch.from_numpy(case.fixed["keep"]) / (1 - case.options["rate"])


def _torch_sgd(torch: Any, t: dict[str, Any], case: Case) -> Any:
    param = t["param"].detach().clone().requires_grad_()
    param.grad = t["grad"].detach()
    optimizer = torch.optim.SGD([param], **case.options)
    if case.options["momentum"]:
        optimizer.state[param]["momentum_buffer"] = t["velocity"].detach().clone()
    optimizer.step()
    return param


def _torch_adam(torch: Any, t: dict[str, Any], case: Case) -> Any:
    o = case.options
    param = t["param"].detach().clone().requires_grad_()
    param.grad = t["grad"].detach()
    optimizer = torch.optim.Adam(
        [param], o["lr"], (o["beta1"], o["beta2"]), o["eps"], o["weight_decay"], foreach=False
    )
    optimizer.state[param] = {
        "step": torch.tensor(float(o["step"] - 1)),
        "exp_avg": t["m"].detach().clone(),
        "exp_avg_sq": t["v"].detach().clone(),
    }
    optimizer.step()
    return param


OPERATIONS: Sequence[Operation] = (
    Operation(
        "conv2d",
        _draw_conv,
        lambda k, c: (k.conv2d(c.arrays["x"], c.arrays["w"], c.arrays.get("b"), **c.options),),
        _conv_gradients,
        _torch_conv,
    ),
    Operation(
        "linear",
        _draw_linear,
        lambda k, c: (k.linear(c.arrays["x"], c.arrays["w"], c.arrays.get("b")),),
        _linear_gradients,
        lambda torch, t, c: torch.nn.functional.linear(t["x"], t["w"], t.get("b")),
    ),
    Operation("batch_norm", _draw_batch_norm, _batch_norm, _batch_norm_gradients, _torch_batch_norm),
    Operation(
        "batch_norm_train",
        _draw_batch_norm_train,
        lambda k, c: k.batch_norm_train(c.arrays["x"], c.arrays["gamma"], c.arrays["beta"], **c.options),
        _batch_norm_train_gradients,
        _torch_batch_norm_train,
    ),
    Operation(
        "local_response_norm",
        _draw_local_response,
        lambda k, c: (k.local_response_norm(c.arrays["x"], **c.options),),
        lambda k, c, dy: {"x": k.local_response_norm_grad(dy, c.arrays["x"], **c.options)},
        lambda torch, t, c: torch.nn.functional.local_response_norm(t["x"], **c.options),
    ),
    Operation(
        "relu",
        lambda rng: Case({"x": _away_from_zero(_images_or_rows(rng))}),
        lambda k, c: (k.relu(c.arrays["x"]),),
        lambda k, c, dy: {"x": k.relu_grad(dy, c.arrays["x"])},
        lambda torch, t, c: torch.relu(t["x"]),
    ),
    Operation(
        "tanh",
        lambda rng: Case({"x": 3 * _images_or_rows(rng)}),
        lambda k, c: (k.tanh(c.arrays["x"]),),
        lambda k, c, dy: {"x": k.tanh_grad(dy, k.tanh(c.arrays["x"]))},
        lambda torch, t, c: torch.tanh(t["x"]),
    ),
    Operation(
        "add",
        lambda rng: Case({"a": (x := _images_or_rows(rng)), "b": rng.standard_normal(x.shape)}),
        lambda k, c: (k.add(c.arrays["a"], c.arrays["b"]),),
        lambda k, c, dy: {"a": dy, "b": dy},
        lambda torch, t, c: t["a"] + t["b"],
    ),
    Operation(
        "concat",
        _draw_concat,
        lambda k, c: (k.concat(list(c.arrays.values())),),
        _concat_gradients,
        lambda torch, t, c: torch.cat(list(t.values()), dim=1),
    ),
    Operation(
        "dropout",
        _draw_dropout,
        lambda k, c: (k.dropout(c.arrays["x"], c.fixed["keep"], **c.options),),
        lambda k, c, dy: {"x": k.dropout_grad(dy, c.fixed["keep"], **c.options)},
        _torch_dropout,
    ),
    Operation(
        "max_pool2d",
        _draw_pool,
        lambda k, c: (k.max_pool2d(c.arrays["x"], **c.options),),
        lambda k, c, dy: {"x": k.max_pool2d_grad(dy, c.arrays["x"], **c.options)},
        _torch_max_pool,
    ),
    Operation(
        "avg_pool2d",
        _draw_pool,
        lambda k, c: (k.avg_pool2d(c.arrays["x"], **c.options),),
        lambda k, c, dy: {"x": k.avg_pool2d_grad(dy, c.arrays["x"].shape, **c.options)},
        _torch_avg_pool,
    ),
    Operation(
        "global_avg_pool2d",
        lambda rng: Case({"x": _images(rng)}),
        lambda k, c: (k.global_avg_pool2d(c.arrays["x"]),),
        lambda k, c, dy: {"x": k.global_avg_pool2d_grad(dy, c.arrays["x"].shape)},
        lambda torch, t, c: t["x"].mean((2, 3)),
    ),
    Operation(
        "softmax",
        _draw_logits,
        lambda k, c: (k.softmax(c.arrays["logits"]),),
        None,
        lambda torch, t, c: torch.softmax(t["logits"], dim=1),
    ),
    Operation(
        "softmax_cross_entropy",
        _draw_labelled,
        _cross_entropy,
        _cross_entropy_gradients,
        _torch_cross_entropy,
    ),
    Operation(
        "distillation_loss",
        _draw_distillation,
        _distillation,
        lambda k, c, dy: {"logits": dy * k.distillation_loss_grad(*_both_logits(c), **c.options)},
        _torch_distillation,
    ),
    Operation("sgd_update", _draw_sgd, _sgd, None, _torch_sgd),
    Operation("adam_update", _draw_adam, _adam, None, _torch_adam),
)


# ---------------------------------------------------------------------------------------- thread counts


def check_thread_counts(name: str, table: str = "cpu", count: int = 40) -> None:
    """Assert that an operation of the cpu back end gives the same bits on one thread and on two."""
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    backend = load_table(table)
    before = numba.get_num_threads()
    try:
        for drawn, rng in operation.cases(count, purpose=3):
            case = drawn.astype("float32")
            dy = rng.standard_normal(operation.forward(backend, case)[0].shape)
            found = []
            for threads in (1, 2, 1, 2):
                numba.set_num_threads(threads)
                results = operation.results(backend, case, dy)
                found.append({key: array.tobytes() for key, array in results.items()})
            assert all(results == found[0] for results in found), f"{name} {case}"
    finally:
        numba.set_num_threads(before)
