"""The golden cases computed by PyTorch, in float64: forward functions, and its own differentiation.

PyTorch is imported inside the functions, so that this module can be imported without it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.nn.graph import INPUT
from emoref.verify.golden import GoldenCase, GoldenTraining

__all__ = ["OPERATIONS", "replay", "results"]

Array = NDArray[Any]
Tensors = Mapping[str, Any]
Options = Mapping[str, Any]


def results(case: GoldenCase) -> dict[str, Array]:
    """Compute a golden case with PyTorch, gradients by its automatic differentiation.

    Parameters
    ----------
    case : GoldenCase
        Of an operation in :data:`OPERATIONS`.

    Returns
    -------
    dict of str to ndarray
        Results in float64 by the names of the golden file; those that PyTorch does not have are left out.
    """
    import torch

    differentiated = [name for name in case.inputs if f"d{name}" in case.results]
    tensors = {name: torch.from_numpy(array) for name, array in case.inputs_as("float64").items()}
    for name in differentiated:
        tensors[name].requires_grad_()
    found = OPERATIONS[case.operation](tensors, case.arguments)
    if differentiated:
        wanted = [tensors[name] for name in differentiated]
        gradients = torch.autograd.grad(found["y"], wanted, tensors.get("dy"))
        found |= {f"d{name}": grad for name, grad in zip(differentiated, gradients, strict=True)}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def _functional() -> Any:
    import torch

    return torch.nn.functional


def _conv2d(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().conv2d(t["x"], t["w"], t.get("b"), **o)}


def _linear(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().linear(t["x"], t["w"], t.get("b"))}


def _batch_norm(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().batch_norm(t["x"], t["mean"], t["var"], t["gamma"], t["beta"], **o)}


def _batch_norm_train(t: Tensors, o: Options) -> dict[str, Any]:
    import torch

    y = torch.nn.functional.batch_norm(t["x"], None, None, t["gamma"], t["beta"], training=True, **o)
    axes = [axis for axis in range(t["x"].ndim) if axis != 1]
    var, mean = torch.var_mean(t["x"], axes, correction=0)
    return {"y": y, "mean": mean, "var": var}


def _batch_norm_sum(t: Tensors, o: Options) -> dict[str, Any]:
    functional = _functional()
    y = functional.batch_norm(t["x"], None, None, t["gamma"], t["beta"], training=True, eps=o["eps"])
    y = y + t["shortcut"]
    y = functional.relu(y) if o["relu"] else y
    if "more" in t:
        y.register_hook(lambda dy: dy + t["more"])
    return {"y": y}


def _local_response_norm(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().local_response_norm(t["x"], **o)}


def _relu(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": t["x"].relu()}


def _tanh(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": t["x"].tanh()}


def _add(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": t["a"] + t["b"]}


def _concat(t: Tensors, o: Options) -> dict[str, Any]:
    import torch

    return {"y": torch.cat([tensor for name, tensor in t.items() if name != "dy"], dim=1)}


def _dropout(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": t["x"] * t["keep"] / (1 - o["rate"])}


def _max_pool2d(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().max_pool2d(t["x"], o["kernel"], o["stride"], o["padding"])}


def _avg_pool2d(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().avg_pool2d(t["x"], o["kernel"], o["stride"], o["padding"])}


def _global_avg_pool2d(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().adaptive_avg_pool2d(t["x"], 1)[:, :, 0, 0]}


def _softmax(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": t["logits"].softmax(dim=1)}


def _softmax_cross_entropy(t: Tensors, o: Options) -> dict[str, Any]:
    return {"y": _functional().cross_entropy(t["logits"], t["labels"], label_smoothing=o["smoothing"])}


def _distillation_loss(t: Tensors, o: Options) -> dict[str, Any]:
    temperature = o["temperature"]
    log_p, log_q = ((t[name] / temperature).log_softmax(dim=1) for name in ("logits", "teacher_logits"))
    divergence = _functional().kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return {"y": temperature**2 * divergence}


def _sgd_update(t: Tensors, o: Options) -> dict[str, Any]:
    import torch

    param, velocity = t["param"], t["velocity"].clone()
    param.grad = t["grad"]
    optimizer = torch.optim.SGD([param], **o)
    optimizer.state[param]["momentum_buffer"] = velocity
    optimizer.step()
    # Without momentum PyTorch keeps no velocity.
    return {"new_param": param, "new_velocity": velocity} if o["momentum"] else {"new_param": param}


def _adam_update(t: Tensors, o: Options) -> dict[str, Any]:
    import torch

    param, m, v = t["param"], t["m"].clone(), t["v"].clone()
    param.grad = t["grad"]
    betas = (o["beta1"], o["beta2"])
    optimizer = torch.optim.Adam([param], o["lr"], betas, o["eps"], o["weight_decay"], foreach=False)
    optimizer.state[param] = {"step": torch.tensor(float(o["step"] - 1)), "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    return {"new_param": param, "new_m": m, "new_v": v}


OPERATIONS: dict[str, Callable[[Tensors, Options], dict[str, Any]]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "batch_norm_train": _batch_norm_train,
    "batch_norm_sum": _batch_norm_sum,
    "local_response_norm": _local_response_norm,
    "relu": _relu,
    "tanh": _tanh,
    "add": _add,
    "concat": _concat,
    "dropout": _dropout,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_avg_pool2d": _global_avg_pool2d,
    "softmax": _softmax,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "distillation_loss": _distillation_loss,
    "sgd_update": _sgd_update,
    "adam_update": _adam_update,
}
"""What PyTorch has of the table of functions, by the names of the golden file."""


def replay(training: GoldenTraining) -> dict[str, Array]:
    """Take the recorded training's steps with PyTorch's layers, differentiation and optimiser.

    Parameters
    ----------
    training : GoldenTraining
        What to start from, and with which batches.

    Returns
    -------
    dict of str to ndarray
        In float64, by the names of :attr:`GoldenTraining.expected`.
    """
    import torch

    params = {
        name: torch.from_numpy(value.astype(np.float64)).requires_grad_(name in training.net.trainable())
        for name, value in training.initial.items()
    }
    config = training.config
    optimizer = torch.optim.SGD(
        [params[name] for name in training.net.trainable()],
        config.lr,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )
    losses, norms = [], []
    for images, labels in zip(training.images, training.labels, strict=True):
        logits = _run_network(training, params, torch.from_numpy(images.astype(np.float64)))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        norms.append([torch.linalg.vector_norm(value.detach()).item() for value in params.values()])
    finals = {f"final {name}": value.detach().numpy() for name, value in params.items()}
    return {"losses": np.array(losses), "norms": np.array(norms), **finals}


def _run_network(training: GoldenTraining, params: Mapping[str, Any], images: Any) -> Any:
    """Run the network's nodes in training mode; running statistics are updated in place."""
    functional = _functional()
    values = {INPUT: images}
    for node in training.net.nodes:
        x, attrs = values[node.inputs[0]], node.attrs

        def param(leaf: str, name: str = node.name) -> Any:
            return params.get(f"{name}.{leaf}")

        if node.op == "conv2d":
            sizes = {name: attrs[name] for name in ("stride", "padding", "groups")}
            y = functional.conv2d(x, param("weight"), param("bias"), **sizes)
        elif node.op == "batch_norm":
            running = param("running_mean"), param("running_var")
            scale = param("gamma"), param("beta")
            y = functional.batch_norm(x, *running, *scale, True, attrs["momentum"], attrs["eps"])
        elif node.op == "max_pool2d":
            y = functional.max_pool2d(x, attrs["kernel"], attrs["stride"], attrs["padding"])
        elif node.op == "linear":
            y = functional.linear(x, param("weight"), param("bias"))
        else:
            y = {"relu": functional.relu, "flatten": lambda x: x.flatten(1)}[node.op](x)
        values[node.name] = y
    return values[training.net.output.name]
