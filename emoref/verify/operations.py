"""How each operation is called on a back end: from the inputs of a golden case to its results.

Every function takes a table of functions ``k``, the inputs ``a`` and the other arguments ``o`` of a case,
and returns the results by the names that the golden file gives them. Together they call every function of
:class:`emoref_kernels.Backend`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels import Backend

__all__ = ["OPERATIONS", "Operation"]

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Results = dict[str, Array]


@dataclass(frozen=True)
class Operation:
    """One operation of the table of functions, together with its gradients.

    Attributes
    ----------
    name : str
        The forward function, or what several are for.
    run : callable
        ``run(backend, inputs, arguments)`` returns the results by name.
    float32_tolerance, float64_tolerance : float
        Largest relative error allowed for a back end that computes in that precision.
    """

    name: str
    run: Callable[[Backend, Arrays, Mapping[str, Any]], Results]
    float32_tolerance: float = 1e-5
    float64_tolerance: float = 1e-12


def _conv2d(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    x, w, dy = a["x"], a["w"], a["dy"]
    found = {
        "y": k.conv2d(x, w, a.get("b"), **o),
        "dx": k.conv2d_input_grad(dy, w, x.shape, **o),
        "dw": k.conv2d_weight_grad(dy, x, w.shape, **o),
    }
    return {**found, "db": k.conv2d_bias_grad(dy)} if "b" in a else found


def _linear(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    x, w, dy = a["x"], a["w"], a["dy"]
    found = {
        "y": k.linear(x, w, a.get("b")),
        "dx": k.linear_input_grad(dy, w),
        "dw": k.linear_weight_grad(dy, x),
    }
    return {**found, "db": k.linear_bias_grad(dy)} if "b" in a else found


def _batch_norm(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    y = k.batch_norm(a["x"], a["gamma"], a["beta"], a["mean"], a["var"], **o)
    dx, dgamma, dbeta = k.batch_norm_grad(a["dy"], a["x"], a["gamma"], a["mean"], a["var"], **o)
    return {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def _batch_norm_train(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    y, mean, var = k.batch_norm_train(a["x"], a["gamma"], a["beta"], **o)
    dx, dgamma, dbeta = k.batch_norm_train_grad(a["dy"], a["x"], a["gamma"], mean, var, **o)
    return {"y": y, "mean": mean, "var": var, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def _batch_norm_sum(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    x, gamma, eps = a["x"], a["gamma"], o["eps"]
    y, mean, var = k.batch_norm_train(x, gamma, a["beta"], **o, shortcut=a["shortcut"])
    gradients = k.batch_norm_sum_grad(
        a["dy"], x, gamma, mean, var, eps=eps, y=y if o["relu"] else None, more=a.get("more")
    )
    return {"y": y, **dict(zip(("dx", "dgamma", "dbeta", "dshortcut"), gradients, strict=True))}


def _local_response_norm(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    y = k.local_response_norm(a["x"], **o)
    return {"y": y, "dx": k.local_response_norm_grad(a["dy"], a["x"], **o)}


def _relu(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.relu(a["x"]), "dx": k.relu_grad(a["dy"], a["x"])}


def _tanh(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    y = k.tanh(a["x"])
    return {"y": y, "dx": k.tanh_grad(a["dy"], y)}


def _add(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.add(a["a"], a["b"])}


def _concat(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    parts = {name: array for name, array in a.items() if name != "dy"}
    grads = k.concat_grad(a["dy"], [array.shape[1] for array in parts.values()])
    return {
        "y": k.concat(list(parts.values())),
        **{f"d{name}": grad for name, grad in zip(parts, grads, strict=True)},
    }


def _dropout(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.dropout(a["x"], a["keep"], **o), "dx": k.dropout_grad(a["dy"], a["keep"], **o)}


def _max_pool2d(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.max_pool2d(a["x"], **o), "dx": k.max_pool2d_grad(a["dy"], a["x"], **o)}


def _avg_pool2d(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.avg_pool2d(a["x"], **o), "dx": k.avg_pool2d_grad(a["dy"], a["x"].shape, **o)}


def _global_avg_pool2d(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.global_avg_pool2d(a["x"]), "dx": k.global_avg_pool2d_grad(a["dy"], a["x"].shape)}


def _softmax(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"y": k.softmax(a["logits"])}


def _softmax_cross_entropy(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    arguments = (a["logits"], a["labels"])
    loss, dlogits = (k.softmax_cross_entropy(*arguments, **o), k.softmax_cross_entropy_grad(*arguments, **o))
    return {"y": np.asarray(loss), "dlogits": dlogits}


def _distillation_loss(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    arguments = (a["logits"], a["teacher_logits"])
    loss, dlogits = (k.distillation_loss(*arguments, **o), k.distillation_loss_grad(*arguments, **o))
    return {"y": np.asarray(loss), "dlogits": dlogits}


def _sgd_update(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    param, velocity = a["param"].copy(), a["velocity"].copy()
    k.sgd_update(param, a["grad"], velocity, **o)
    return {"new_param": param, "new_velocity": velocity}


def _adam_update(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    param, m, v = (a[name].copy() for name in ("param", "m", "v"))
    k.adam_update(param, a["grad"], m, v, **o)
    return {"new_param": param, "new_m": m, "new_v": v}


def _nondominated_ranks(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"ranks": k.nondominated_ranks(a["F"])}


def _crowding_distance(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"distance": k.crowding_distance(a["F"], **o)}


def _hypervolume(k: Backend, a: Arrays, o: Mapping[str, Any]) -> Results:
    return {"volume": np.asarray(k.hypervolume(a["F"], a["ref"]))}


# Pareto kernels compute in float64 on every back end, and ranks are counted, not measured.
OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("conv2d", _conv2d),
        Operation("linear", _linear),
        Operation("batch_norm", _batch_norm),
        Operation("batch_norm_train", _batch_norm_train),
        Operation("batch_norm_sum", _batch_norm_sum),
        Operation("local_response_norm", _local_response_norm),
        Operation("relu", _relu),
        Operation("tanh", _tanh),
        Operation("add", _add),
        Operation("concat", _concat),
        Operation("dropout", _dropout),
        Operation("max_pool2d", _max_pool2d),
        Operation("avg_pool2d", _avg_pool2d),
        Operation("global_avg_pool2d", _global_avg_pool2d),
        Operation("softmax", _softmax),
        Operation("softmax_cross_entropy", _softmax_cross_entropy),
        Operation("distillation_loss", _distillation_loss),
        Operation("sgd_update", _sgd_update),
        Operation("adam_update", _adam_update),
        Operation("nondominated_ranks", _nondominated_ranks, 0.0, 0.0),
        Operation("crowding_distance", _crowding_distance, 1e-12),
        Operation("hypervolume", _hypervolume, 1e-12),
    )
}
"""Every operation by name, in the order in which checks run."""
