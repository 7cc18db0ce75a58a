"""Operations that move or gather values: pooling, flattening, joining and padding along the channels."""

# ruff: noqa: D102 (methods of an operation are documented at their base, `Op`)

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from emoref.errors import NetworkError
from emoref.nn.ops.base import Array, Attribute, Context, Op, Params, Shape, image_shape, window_shape

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = ["AvgPool2d", "Concat", "Flatten", "GlobalAvgPool2d", "MaxPool2d", "PadChannels"]


class _Pool(Op):
    """What both window pools share; a stride of 0 stands for the kernel size and is replaced by it."""

    attributes: ClassVar = {
        "kernel": Attribute(int, low=1),
        "stride": Attribute(int, 0, low=0),
        "padding": Attribute(int, 0, low=0),
    }

    def complete(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {**attrs, "stride": attrs["stride"] or attrs["kernel"]}

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        shape, a = image_shape(shapes), node.attrs
        if 2 * a["padding"] > a["kernel"]:
            raise NetworkError(f"padding {a['padding']} is more than half of the kernel {a['kernel']}")
        return (shape[0], *window_shape(shape, a["kernel"], a["stride"], a["padding"]))

    @staticmethod
    def _how(node: "Node") -> tuple[int, int, int]:
        return node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"]


class MaxPool2d(_Pool):
    """Maximum of each window; padding counts as minus infinity."""

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0],)
        return k.max_pool2d(inputs[0], *self._how(node))

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.max_pool2d_grad(dy, ctx.saved[0], *self._how(node))], {}


class AvgPool2d(_Pool):
    """Mean of each window; padding counts as zeros."""

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0].shape,)
        return k.avg_pool2d(inputs[0], *self._how(node))

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.avg_pool2d_grad(dy, ctx.saved[0], *self._how(node))], {}


class GlobalAvgPool2d(Op):
    """Mean over height and width; the result is flat."""

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        return image_shape(shapes)[:1]

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0].shape,)
        return k.global_avg_pool2d(inputs[0])

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [k.global_avg_pool2d_grad(dy, ctx.saved[0])], {}


class Flatten(Op):
    """(C, H, W) to (C * H * W,), channel by channel."""

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        return (math.prod(shapes[0]),)

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = (inputs[0].shape,)
        return inputs[0].reshape(len(inputs[0]), -1)

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return [dy.reshape(ctx.saved[0])], {}


class Concat(Op):
    """Inputs behind one another along the channel axis."""

    min_inputs: ClassVar = 2
    max_inputs: ClassVar = None

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        for source, shape in zip(node.inputs, shapes, strict=True):
            if len(shape) != len(shapes[0]) or shape[1:] != shapes[0][1:]:
                raise NetworkError(
                    f'inputs must agree in all but the channels, got "{node.inputs[0]}" {shapes[0]} '
                    f'and "{source}" {shape}'
                )
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        ctx.saved = ([x.shape[1] for x in inputs],)
        return k.concat(list(inputs))

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        return list(k.concat_grad(dy, ctx.saved[0])), {}


class PadChannels(Op):
    """Channels of zeros before and behind the input's own: what a shortcut without weights widens with.

    Behind subsampling (average pooling with a kernel of 1) this is the parameter-free shortcut, option A of
    He et al. 2016, sections 3.3 and 4.2.
    """

    attributes: ClassVar = {"before": Attribute(int, 0, low=0), "after": Attribute(int, 0, low=0)}

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        return (node.attrs["before"] + shapes[0][0] + node.attrs["after"], *shapes[0][1:])

    @staticmethod
    def _counts(node: "Node", channels: int) -> list[int]:
        """Return how many channels are before, the input's own, and behind."""
        return [node.attrs["before"], channels, node.attrs["after"]]

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        (x,) = inputs
        ctx.saved = (x.shape[1],)
        zeros: Any = getattr(x, "zeros", lambda shape: np.zeros(shape, x.dtype))
        before, _, after = (zeros((len(x), count, *x.shape[2:])) for count in self._counts(node, x.shape[1]))
        return k.concat([part for part in (before, x, after) if part.shape[1]])

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        counts = self._counts(node, ctx.saved[0])
        parts = k.concat_grad(dy, [count for count in counts if count])
        return [parts[1 if counts[0] else 0]], {}
