"""The operations that a network's nodes can perform: one class and one table entry each.

Everything that the rest of emoref knows about an operation is here: its attributes with their ranges, the
shape of its result, its parameters and their initial values, its multiply-accumulates, and how it runs
forward and backward on a back end of :mod:`emoref_kernels`. Shapes are those of one image, without the batch
axis.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = ["OPS", "Attribute", "Context", "Op", "check_attrs"]

Array = NDArray[Any]
Shape = tuple[int, ...]
Params = Mapping[str, Array]


@dataclass(frozen=True)
class Attribute:
    """One attribute of an operation: its type, default and range.

    Parameters
    ----------
    kind : type
        ``int``, ``float`` or ``bool``.
    default : int, float, bool or None
        Value where the node gives none; None makes the attribute compulsory.
    low, high : float
        Least value allowed, and the value that must not be reached (half-open range).
    """

    kind: type
    default: Any = None
    low: float = -math.inf
    high: float = math.inf

    def check(self, name: str, value: Any) -> Any:
        """Return the value as this attribute's type, or raise NetworkError with the reason."""
        is_bool = isinstance(value, (bool, np.bool_))
        fits = {
            bool: is_bool,
            int: isinstance(value, (int, np.integer)) and not is_bool,
            float: isinstance(value, (int, float, np.integer, np.floating)) and not is_bool,
        }[self.kind]
        if not fits:
            raise NetworkError(f"attribute {name} must be of type {self.kind.__name__}, got {value!r}")
        value = self.kind(value)
        if self.kind is not bool and not self.low <= value < self.high:
            below = "" if self.high == math.inf else f" and below {self.high:g}"
            raise NetworkError(f"attribute {name} must be at least {self.low:g}{below}, got {value!r}")
        return value


@dataclass
class Context:
    """What one execution of one node keeps for its backward pass.

    Attributes
    ----------
    train : bool
        Training mode: batch norm uses the batch's statistics, dropout drops.
    rng : numpy.random.Generator or None
        Source of dropout masks; needed in training mode by networks with dropout.
    needs_input_grad : bool
        False where nobody asks for the gradient of the node's inputs (the first layer): it is not computed.
    saved : tuple
        The operation's own notes between forward and backward.
    buffer_updates : dict
        New values of the node's buffers (running statistics) by full parameter name. Forward passes never
        change parameters; the training loop applies these once the step is known to be good.
    """

    train: bool = False
    rng: np.random.Generator | None = None
    needs_input_grad: bool = True
    saved: tuple[Any, ...] = ()
    buffer_updates: dict[str, Array] = field(default_factory=dict)


class Op:
    """Base of all operations: one input, same shape out, no parameters, no multiply-accumulates."""

    attributes: ClassVar[dict[str, Attribute]] = {}
    buffers: ClassVar[frozenset[str]] = frozenset()
    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        """Return the shape of the result, or raise NetworkError with the reason why the inputs do not fit."""
        return shapes[0]

    def param_shapes(self, node: "Node", shapes: Sequence[Shape]) -> dict[str, Shape]:
        """Return the shapes of the node's parameters by their short names (``"weight"``)."""
        return {}

    def init(self, leaf: str, shape: Shape, rng: np.random.Generator) -> Array:
        """Return the initial float32 value of the parameter with the short name `leaf`."""
        raise NetworkError(f"this operation has no parameter {leaf!r}")

    def macs(self, node: "Node", shapes: Sequence[Shape], out: Shape) -> int:
        """Return the multiply-accumulates for one image; adding a bias is not counted."""
        return 0

    def forward(self, k: Any, node: "Node", params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        """Compute the node's result on the back end `k` and note in `ctx` what backward needs."""
        raise NotImplementedError

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        """Return the gradients of the inputs (in order) and of the parameters (by full name)."""
        raise NotImplementedError


def _image(shapes: Sequence[Shape]) -> Shape:
    if len(shapes[0]) != 3:
        raise NetworkError(f"wants an input of shape (channels, height, width), got {shapes[0]}")
    return shapes[0]


def _window(shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return height and width after sliding a square window."""
    height, width = (size + 2 * padding for size in shape[1:])
    if kernel > height or kernel > width:
        raise NetworkError(
            f"a {kernel}x{kernel} window does not fit into the input {shape}, {height}x{width} with padding"
        )
    return (height - kernel) // stride + 1, (width - kernel) // stride + 1


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
        shape, a = _image(shapes), node.attrs
        for what, size in (("input channels", shape[0]), ("filters", a["filters"])):
            if size % a["groups"]:
                raise NetworkError(
                    f"{size} {what} (input {shape}) are not divisible into {a['groups']} groups"
                )
        return (a["filters"], *_window(shape, a["kernel"], a["stride"], a["padding"]))

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


class BatchNorm(Op):
    """Batch normalisation over the channel axis.

    ``momentum`` is the weight of the new batch in the running statistics (PyTorch's meaning); the running
    variance is fed with the unbiased batch variance, the normalisation itself uses the biased one.
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
            ctx.saved = (x, mean, var)
            return k.batch_norm(x, gamma, beta, mean, var, eps)
        y, mean, var = k.batch_norm_train(x, gamma, beta, eps)
        ctx.saved = (x, mean, var)
        values = x.size // x.shape[1]
        unbiased = var * (values / max(values - 1, 1))
        for leaf, new in (("running_mean", mean), ("running_var", unbiased)):
            old, m = params[f"{name}.{leaf}"], node.attrs["momentum"]
            ctx.buffer_updates[f"{name}.{leaf}"] = ((1.0 - m) * old + m * new).astype(old.dtype)
        return y

    def backward(
        self, k: Any, node: "Node", params: Params, dy: Array, ctx: Context
    ) -> tuple[list[Array | None], dict[str, Array]]:
        x, mean, var = ctx.saved
        name = node.name
        grad = k.batch_norm_train_grad if ctx.train else k.batch_norm_grad
        dx, dgamma, dbeta = grad(dy, x, params[f"{name}.gamma"], mean, var, node.attrs["eps"])
        return [dx], {f"{name}.gamma": dgamma, f"{name}.beta": dbeta}


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


class _Pool(Op):
    """What both window pools share; a stride of 0 stands for the kernel size and is replaced by it."""

    attributes: ClassVar = {
        "kernel": Attribute(int, low=1),
        "stride": Attribute(int, 0, low=0),
        "padding": Attribute(int, 0, low=0),
    }

    def infer_shape(self, node: "Node", shapes: Sequence[Shape]) -> Shape:
        shape, a = _image(shapes), node.attrs
        if 2 * a["padding"] > a["kernel"]:
            raise NetworkError(f"padding {a['padding']} is more than half of the kernel {a['kernel']}")
        return (shape[0], *_window(shape, a["kernel"], a["stride"], a["padding"]))

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
        return _image(shapes)[:1]

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


OPS: dict[str, Op] = {
    "conv2d": Conv2d(),
    "linear": Linear(),
    "batch_norm": BatchNorm(),
    "relu": ReLU(),
    "tanh": Tanh(),
    "max_pool2d": MaxPool2d(),
    "avg_pool2d": AvgPool2d(),
    "global_avg_pool2d": GlobalAvgPool2d(),
    "flatten": Flatten(),
    "add": Add(),
    "concat": Concat(),
    "dropout": Dropout(),
}
"""Every operation by name."""


def check_attrs(op: Op, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all attributes of an operation, checked, with defaults filled in, in the operation's order.

    Raises
    ------
    NetworkError
        If an attribute is unknown, missing, of the wrong type or out of range.
    """
    unknown = sorted(set(attrs) - set(op.attributes))
    if unknown:
        allowed = ", ".join(op.attributes) or "none"
        raise NetworkError(f"unknown attribute {unknown[0]!r}; allowed: {allowed}")
    checked = {}
    for name, attribute in op.attributes.items():
        if name not in attrs and attribute.default is None:
            raise NetworkError(f"attribute {name} is missing")
        checked[name] = attribute.check(name, attrs.get(name, attribute.default))
    if isinstance(op, _Pool) and checked["stride"] == 0:
        checked["stride"] = checked["kernel"]
    return checked
