"""Operations that work value by value: activations, dropout, addition."""

# ruff: noqa: D102 (methods of an operation are documented at their base, `Op`)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emoref.errors import NetworkError
from emoref.nn.ops.base import Array, Attribute, Context, Op, Params, Shape

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = ["Add", "Dropout", "ReLU", "Tanh"]


class ReLU(Op):
    """max(x, 0)."""

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        y = k.relu(inputs[0])
        ctx.saved = (y,)
        return y

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.relu_grad(dy, ctx.saved[0])], {}


class Tanh(Op):
    """Hyperbolic tangent."""

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        y = k.tanh(inputs[0])
        ctx.saved = (y,)
        return y

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.tanh_grad(dy, ctx.saved[0])], {}


class Dropout(Op):
    """In training, zero each value with probability ``rate`` and scale the rest by 1 / (1 - rate)."""

    attributes: ClassVar = {"rate": Attribute(float, 0.5, low=0.0, high=1.0)}

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        if not ctx.train or node.attrs["rate"] == 0.0:
            return inputs[0]
        if ctx.rng is None:
            raise NetworkError(f'node "{node.name}": dropout in training mode needs a random generator (rng)')
        keep = ctx.rng.random(inputs[0].shape, dtype=np.float32) >= node.attrs["rate"]
        ctx.saved = (keep,)
        return k.dropout(inputs[0], keep, node.attrs["rate"])

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.dropout_grad(dy, ctx.saved[0], node.attrs["rate"]) if ctx.saved else dy], {}


class Add(Op):
    """Sum of equally shaped inputs (residual connections)."""

    min_inputs: ClassVar = 2
    max_inputs: ClassVar = None

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        for source, shape in zip(node.inputs, shapes, strict=True):
            if shape != shapes[0]:
                raise NetworkError(
                    f'inputs must have equal shapes, got "{node.inputs[0]}" {shapes[0]} '
                    f'and "{source}" {shape}'
                )
        return shapes[0]

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        total = k.add(inputs[0], inputs[1])
        for x in inputs[2:]:
            total = k.add(total, x)
        return total

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [dy] * len(node.inputs), {}
