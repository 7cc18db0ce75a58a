"""Normalisations: over the batch, and over neighbouring channels."""

# ruff: noqa: D102 (methods of an operation are documented at their base, `Op`)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emoref.errors import NetworkError
from emoref.nn.ops.base import Array, Attribute, Context, Op, Params, Shape, image_shape

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = ["BatchNorm", "LocalResponseNorm"]


class BatchNorm(Op):
    """Batch normalisation over the channel axis.

    ``momentum`` is the weight of the new batch in the running statistics (PyTorch's meaning); the running
    variance is fed with the unbiased batch variance, the normalisation itself uses the biased one.

    In a step of training (:mod:`emoref.nn.steps`) there may be a second input, a shortcut that is added to
    the result.
    """

    attributes: ClassVar = {
        "eps": Attribute(float, 1e-5, low=1e-12),
        "momentum": Attribute(float, 0.1, low=0.0, high=1.0 + 1e-12),
    }
    buffers: ClassVar = frozenset({"running_mean", "running_var"})

    def param_shapes(self, node: "Node", shapes: Sequence[Shape]) -> dict[str, Shape]:
        return dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), (shapes[0][0],))

    def init(self, leaf: str, shape: Shape, rng: np.random.Generator) -> Array:
        return (np.ones if leaf in ("gamma", "running_var") else np.zeros)(shape, np.float32)

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        name, eps, x = node.name, node.attrs["eps"], inputs[0]
        gamma, beta = params[f"{name}.gamma"], params[f"{name}.beta"]
        if not ctx.train:
            mean, var = params[f"{name}.running_mean"], params[f"{name}.running_var"]
            ctx.saved = (x, mean, var, None)
            return k.batch_norm(x, gamma, beta, mean, var, eps)
        y, mean, var = k.batch_norm_train(x, gamma, beta, eps, ctx.with_relu, *inputs[1:])
        ctx.saved = (x, mean, var, y if ctx.with_relu else None)
        values = x.size // x.shape[1]
        unbiased, m = values / max(values - 1, 1), node.attrs["momentum"]
        for leaf, new, factor in (("running_mean", mean, 1.0), ("running_var", var, unbiased)):
            old = params[f"{name}.{leaf}"]
            if isinstance(old, np.ndarray):
                blended = ((1.0 - m) * old + m * (new * factor)).astype(old.dtype)
            else:
                blended = old.combined(1.0 - m, m * factor, new)
            ctx.buffer_updates[f"{name}.{leaf}"] = blended
        return y

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        x, mean, var, y = ctx.saved
        name, eps = node.name, node.attrs["eps"]
        gamma = params[f"{name}.gamma"]
        if ctx.train:
            dx, dgamma, dbeta = k.batch_norm_train_grad(dy, x, gamma, mean, var, eps, y, ctx.reuse)
        else:
            dx, dgamma, dbeta = k.batch_norm_grad(dy, x, gamma, mean, var, eps)
        return [dx], {f"{name}.gamma": dgamma, f"{name}.beta": dbeta}

    def backward_sum(
        self, k: Any, node: "Node", params: Params, dys: Sequence[Array], ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        """Return the gradients of input and shortcut, and of the parameters, after a sum in training mode.

        `dys` are the terms, one or two, whose sum is the gradient in the result.
        """
        x, mean, var, y = ctx.saved
        name, more = node.name, dys[1] if len(dys) > 1 else None
        gamma = params[f"{name}.gamma"]
        dx, dgamma, dbeta, dshortcut = k.batch_norm_sum_grad(
            dys[0], x, gamma, mean, var, node.attrs["eps"], y, more, ctx.reuse
        )
        return [dx, dshortcut], {f"{name}.gamma": dgamma, f"{name}.beta": dbeta}


class LocalResponseNorm(Op):
    """Each value divided by a measure of its neighbours in other channels (Krizhevsky et al. 2012, sec. 3.3).

    y = x / (k + alpha / size * s) ** beta, where s is the sum of squares over the ``size`` channels around.
    As in PyTorch and ONNX, ``alpha`` is divided by ``size``; the paper does not divide, so its n = 5,
    alpha = 1e-4 is ``size=5, alpha=5e-4`` here. ``size`` is odd.
    """

    attributes: ClassVar = {
        "size": Attribute(int, 5, low=1),
        "alpha": Attribute(float, 1e-4, low=0.0),
        "beta": Attribute(float, 0.75, low=0.0),
        "k": Attribute(float, 1.0, low=1e-12),
    }

    def complete(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["size"] % 2 == 0:
            raise NetworkError(f"attribute size must be odd, got {attrs['size']}")
        return attrs

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        return image_shape(shapes)

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0],)
        return k.local_response_norm(inputs[0], **node.attrs)

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.local_response_norm_grad(dy, ctx.saved[0], **node.attrs)], {}
