"""What every operation is made of: its attributes, what one execution notes, and the base class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError

if TYPE_CHECKING:
    from emoref.nn.graph import Node

__all__ = [
    "Array",
    "Attribute",
    "Context",
    "Op",
    "Params",
    "Shape",
    "check_attrs",
    "image_shape",
    "window_shape",
]

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
        """Return the value as this attribute's type, or raise NetworkError with `name` and the reason."""
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
    with_relu : bool
        A batch norm in training mode does the work of the ReLU behind it in the same pass.
    reuse : bool
        The terms of the result's gradient are nobody else's: backward may write over them.
    saved : tuple
        The operation's own notes between forward and backward.
    buffer_updates : dict
        New values of the node's buffers (running statistics) by full parameter name. Forward passes never
        change parameters; the training loop applies these once the step is known to be good.
    """

    train: bool = False
    rng: np.random.Generator | None = None
    needs_input_grad: bool = True
    with_relu: bool = False
    reuse: bool = False
    saved: tuple[Any, ...] = ()
    buffer_updates: dict[str, Array] = field(default_factory=dict)


class Op:
    """Base of all operations: one input, same shape out, no parameters, no multiply-accumulates.

    The methods share their arguments: `node` is the node with its attributes, `shapes` are those of its
    inputs and `out` is that of its result; `k` is the back end, `params` holds all parameters of the network
    by full name, `inputs` are the arrays that the node takes, `dy` is the gradient in its result, `ctx` keeps
    the notes of this execution, and `rng` is the source of initial values.
    """

    attributes: ClassVar[dict[str, Attribute]] = {}
    buffers: ClassVar[frozenset[str]] = frozenset()
    min_inputs: ClassVar[int] = 1
    max_inputs: ClassVar[int | None] = 1

    def complete(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return checked `attrs` with what follows from them filled in, or raise NetworkError."""
        return attrs

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


def image_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the only input's shape, which must be that of an image, or raise NetworkError."""
    if len(shapes[0]) != 3:
        raise NetworkError(f"wants an input of shape (channels, height, width), got {shapes[0]}")
    return shapes[0]


def window_shape(shape: Shape, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return height and width after sliding a square window."""
    height, width = (size + 2 * padding for size in shape[1:])
    if kernel > height or kernel > width:
        raise NetworkError(
            f"a {kernel}x{kernel} window does not fit into the input {shape}, {height}x{width} with padding"
        )
    return (height - kernel) // stride + 1, (width - kernel) // stride + 1


def check_attrs(op: Op, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return `attrs` as all attributes of `op`, checked, with defaults, in the operation's order.

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
    return op.complete(checked)
