"""Operations with a weight: convolution and the fully connected layer."""

# ruff: noqa: D102 (methods of an operation are documented at their base, `Op`)

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emoref.errors import NetworkError
from emoref.nn.ops.base import Array, Attribute, Context, Op, Params, Shape, image_shape, window_shape

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = ["Conv2d", "Linear"]


def _he_normal(shape: Shape, rng: np.random.Generator) -> Array:
    fan_in = math.prod(shape[1:])
    return (rng.standard_normal(shape) * math.sqrt(2.0 / fan_in)).astype(np.float32)


class _Weighted(Op):
    """What conv2d and linear share: a weight with He-normal initial values and a bias of zeros."""

    def init(self, leaf: str, shape: Shape, rng: np.random.Generator) -> Array:
        return np.zeros(shape, np.float32) if leaf == "bias" else _he_normal(shape, rng)


class Conv2d(_Weighted):
    """Cross-correlation with square kernels, optionally in groups (``groups = channels``: depthwise)."""

    attributes: ClassVar = {
        "filters": Attribute(int, low=1),
        "kernel": Attribute(int, low=1),
        "stride": Attribute(int, 1, low=1),
        "padding": Attribute(int, 0, low=0),
        "groups": Attribute(int, 1, low=1),
        "bias": Attribute(bool, True),
    }

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        shape, a = image_shape(shapes), node.attrs
        for what, size in (("input channels", shape[0]), ("filters", a["filters"])):
            if size % a["groups"]:
                raise NetworkError(
                    f"{size} {what} (input {shape}) are not divisible into {a['groups']} groups"
                )
        return (a["filters"], *window_shape(shape, a["kernel"], a["stride"], a["padding"]))

    def param_shapes(self, node: "Node", shapes: Sequence[Shape]) -> dict[str, Shape]:
        a = node.attrs
        weight = (a["filters"], shapes[0][0] // a["groups"], a["kernel"], a["kernel"])
        return {"weight": weight, "bias": (a["filters"],)} if a["bias"] else {"weight": weight}

    def macs(self, node: "Node", shapes: Sequence[Shape], out: Shape) -> int:
        return math.prod(out) * math.prod(self.param_shapes(node, shapes)["weight"][1:])

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        a, name = node.attrs, node.name
        ctx.saved = (inputs[0],)
        bias = params[f"{name}.bias"] if a["bias"] else None
        return k.conv2d(inputs[0], params[f"{name}.weight"], bias, a["stride"], a["padding"], a["groups"])

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        (x,), a, name = ctx.saved, node.attrs, node.name
        w, how = params[f"{name}.weight"], (a["stride"], a["padding"], a["groups"])
        dx = k.conv2d_input_grad(dy, w, x.shape, *how) if ctx.needs_input_grad else None
        grads = {f"{name}.weight": k.conv2d_weight_grad(dy, x, w.shape, *how)}
        if a["bias"]:
            grads[f"{name}.bias"] = k.conv2d_bias_grad(dy)
        return [dx], grads


class Linear(_Weighted):
    """Fully connected layer on flat inputs."""

    attributes: ClassVar = {"units": Attribute(int, low=1), "bias": Attribute(bool, True)}

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        if len(shapes[0]) != 1:
            raise NetworkError(
                f"wants a flat input (features,), got {shapes[0]}: put a flatten node before it"
            )
        return (node.attrs["units"],)

    def param_shapes(self, node: "Node", shapes: Sequence[Shape]) -> dict[str, Shape]:
        units = node.attrs["units"]
        weight = (units, shapes[0][0])
        return {"weight": weight, "bias": (units,)} if node.attrs["bias"] else {"weight": weight}

    def macs(self, node: "Node", shapes: Sequence[Shape], out: Shape) -> int:
        return shapes[0][0] * out[0]

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0],)
        bias = params[f"{node.name}.bias"] if node.attrs["bias"] else None
        return k.linear(inputs[0], params[f"{node.name}.weight"], bias)

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        (x,), name = ctx.saved, node.name
        dx = k.linear_input_grad(dy, params[f"{name}.weight"]) if ctx.needs_input_grad else None
        grads = {f"{name}.weight": k.linear_weight_grad(dy, x)}
        if node.attrs["bias"]:
            grads[f"{name}.bias"] = k.linear_bias_grad(dy)
        return [dx], grads
