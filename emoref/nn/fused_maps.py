"""From a network to steps on channels-last maps: which nodes run together.

A convolution or linear layer takes with it what follows it and reads nothing else: batch norm, the addition
of a value that is there already, ReLU, and 2x2 max pooling. Other nodes are steps of their own. What the
compiled steps cannot do (groups other than depthwise, tanh, local response normalisation) runs through the
back end's function for the operation, on whole arrays.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref.nn.fused_planes import affine_map
from emoref.nn.graph import Network, Node
from emoref.nn.ops import Context
from emoref_kernels.cpu.fused_layout import CAPACITY, Buffer, Layout, LayoutStep, Segment
from emoref_kernels.cpu.fused_maps import run_steps
from emoref_kernels.cpu.fused_winograd import PHASES
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.simd import LANES

__all__ = ["MapsPlan"]

Array = NDArray[Any]
Params = Mapping[str, Array]

_LEAST_CHANNELS = 8  # of the input, for Winograd's algorithm
_MOST_PRODUCTS = 0.8  # of those of the direct way, beyond which its transforms take more than it saves


class MapsPlan:
    """A network, or a part of one, ready to run.

    Parameters
    ----------
    net : Network
        The architecture.
    params : mapping of str to array
        Parameters of the nodes that run, float32; copied.
    nodes : sequence of Node
        The nodes that run, in order.
    outputs : sequence of str
        Nodes whose results are wanted.
    backend : Backend
        The CPU back end; its mode says whether F(4x4, 3x3) is allowed, and operations without a compiled
        step use its functions.
    keep_memory : bool
        Whether to keep the memory of a call for the next one.
    """

    def __init__(
        self, net: Network, params: Params, nodes: Sequence[Node], outputs: Sequence[str], backend: Any,
        keep_memory: bool = True,
    ) -> None:  # fmt: skip
        compiler = _Compiler(net, params, nodes, outputs, backend)
        self._layout = compiler.layout()
        self._outputs = {name: net.shapes[name] for name in outputs}
        self._keep_memory = keep_memory
        self._free: list[Array] = []

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the wanted results.

        Parameters
        ----------
        values : mapping of str to array
            Given results by node name, float32, each (N, *shape of the node).

        Returns
        -------
        dict of str to ndarray
            float32; the bits for an image depend on nothing but that image.
        """
        count = len(next(iter(values.values())))
        results = {name: np.empty((count, *shape), np.float32) for name, shape in self._outputs.items()}
        threads = numba.get_num_threads()
        needed = self._layout.shared + threads * self._layout.own
        scratch = self._free.pop() if self._free else np.zeros(0, np.float32)
        if scratch.size < needed:
            scratch = np.zeros(needed, np.float32)
        for first in range(0, count, CAPACITY):
            part = slice(first, min(first + CAPACITY, count))
            for segment in self._layout.segments:
                self._run_segment(segment, part, values, results, scratch, threads)
        if self._keep_memory:
            self._free.append(scratch)
        return results

    def _run_segment(
        self, segment: Segment, part: slice, values: Mapping[str, Array], results: dict[str, Array],
        scratch: Array, threads: int,
    ) -> None:  # fmt: skip
        count = part.stop - part.start
        if segment.is_call:
            (step,) = segment.steps
            assert step.call is not None
            assert step.y is not None
            inputs = [buffer.view(scratch, count) for buffer in step.sources]
            target = step.y.view(scratch, count)
            target[...] = step.call(inputs).reshape(target.shape)
            return
        loaded, stored = segment.named("load"), segment.named("store")
        x = flat(values[loaded][part]) if loaded else scratch
        y = results[stored][part].reshape(-1) if stored else scratch
        layout = self._layout
        where = segment.start, len(segment.steps), layout.shared, layout.own
        arrays = layout.weights, layout.tables, scratch
        if segment.phased:
            for first in range(0, count, segment.block):
                images = min(segment.block, count - first)
                for phase in range(PHASES):
                    run_steps(threads, phase, images, first, images, *where, x, y, *arrays)
            return
        share = -(-count // threads)
        block = min(segment.block, -(-share // segment.group) * segment.group)
        chunks = min(threads, -(-count // block))
        run_steps(chunks, -1, block, 0, count, *where, x, y, *arrays)


class _Compiler:
    """Turns nodes into steps."""

    def __init__(
        self, net: Network, params: Params, nodes: Sequence[Node], outputs: Sequence[str], backend: Any
    ) -> None:
        self._net, self._params, self._backend = net, params, backend
        self._nodes, self._outputs = list(nodes), set(outputs)
        self._uses = Counter(source for node in nodes for source in node.inputs)
        self._readers: dict[str, list[Node]] = {}
        for node in nodes:
            for source in set(node.inputs):
                self._readers.setdefault(source, []).append(node)
        self._buffers: dict[str, Buffer] = {}
        self._steps: list[LayoutStep] = []
        self._done: set[str] = set()

    def layout(self) -> Layout:
        """Return the finished layout."""
        running = {node.name for node in self._nodes}
        for node in self._nodes:
            for source in node.inputs:
                if source not in running and source not in self._buffers:
                    self._load(source)
            if node.name not in self._done:
                getattr(self, f"_{node.op}", self._call)(node)
        for name in self._outputs:
            self._steps.append(LayoutStep("store", self._buffers[name], None, name=name))
        return Layout(self._steps).finish()

    # ------------------------------------------------------------------------------------------- buffers

    def _buffer(self, name: str, exclusive: bool = False, padded: bool = True) -> Buffer:
        """Return a new buffer for a value, with a halo as its readers want it."""
        channels, height, width = (*self._net.shapes[name], 1, 1)[:3]
        pads = [n.attrs["padding"] for n in self._readers.get(name, []) if n.op == "conv2d"]
        halo = max(pads, default=0)
        self._buffers[name] = Buffer(channels, height, width, halo, padded, exclusive)
        return self._buffers[name]

    def _load(self, name: str) -> None:
        readers = self._readers.get(name, [])
        direct = all(self._technique(node)[0] == "convolve" for node in readers)
        self._steps.append(
            LayoutStep("load", None, self._buffer(name, exclusive=True, padded=not direct), name=name)
        )

    def _technique(self, node: Node) -> tuple[str, int]:
        """Return the operation for a node, and m for Winograd's algorithm.

        It depends neither on the number of filters nor on that of images, so that a candidate that shares
        the first layer with others gets the bits of its own.
        """
        if node.op == "linear":
            return "convolve", 1
        if node.op != "conv2d":
            return "", 1
        a = node.attrs
        channels, height, width = self._net.shapes[node.inputs[0]]
        if a["groups"] > 1:
            alone = a["groups"] == channels == a["filters"]
            return ("depthwise" if alone else "call"), a["stride"]
        if (a["kernel"], a["stride"], a["padding"]) == (3, 1, 1) and channels >= _LEAST_CHANNELS:
            choices = (2, 4) if self._backend.mode == "fast" else (2,)
            products = {m: -(-height // m) * -(-width // m) * (m + 2) ** 2 for m in choices}
            m = min(choices, key=lambda m: products[m])
            if products[m] <= _MOST_PRODUCTS * 9 * height * width:
                return "winograd", m
        return "convolve", a["stride"]

    # ----------------------------------------------------------------------------------------- what follows

    def _next(self, name: str) -> Node | None:
        """Return the only reader of a value that nothing else needs."""
        if name in self._outputs or self._uses[name] != 1:
            return None
        return self._readers[name][0]

    def _follow(
        self, name: str, norm: bool, residual: bool, pool: bool
    ) -> tuple[str, Node | None, str, bool, bool]:
        """Find what runs together with a step.

        Returns the name of the value that results, the batch norm, the residual's name or an empty text, and
        whether ReLU and pooling follow. `norm`, `residual` and `pool` say what is possible.
        """
        found: Node | None = None
        other, relu, pooled = "", False, False
        while (node := self._next(name)) is not None and not pooled:
            if node.op == "batch_norm" and norm and found is None and not other and not relu:
                found = node
            elif node.op == "add" and residual and len(node.inputs) == 2 and not other and not relu:
                other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
                if other not in self._buffers:
                    other = ""
                    break
            elif node.op == "relu" and not relu:
                relu = True
            elif node.op == "max_pool2d" and pool and self._is_two_by_two(node):
                pooled = True
            elif node.op != "dropout":
                break
            self._done.add(node.name)
            name = node.name
        return name, found, other, relu, pooled

    @staticmethod
    def _is_two_by_two(node: Node) -> bool:
        return (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"]) == (2, 2, 0)

    def _finished(
        self, step: LayoutStep, name: str, node: Node | None, channels: int, norm: bool, pool: bool
    ) -> None:
        """Append a step with its affine map and all that follows."""
        result, found, other, step.relu, step.pooled = self._follow(name, norm, step.z is None, pool)
        if other:
            step.z = self._buffers[other]
        step.scale, step.shift = affine_map(self._params, channels, node, found)
        step.y = self._buffer(result)
        self._steps.append(step)

    # ------------------------------------------------------------------------------------------- operations

    def _conv2d(self, node: Node) -> None:
        operation, stride = self._technique(node)
        if operation == "call":
            self._call(node)
            return
        step = LayoutStep(
            operation, self._buffers[node.inputs[0]], None, kernel=node.attrs["kernel"], stride=stride,
            padding=node.attrs["padding"], w=self._params[f"{node.name}.weight"],
        )  # fmt: skip
        self._finished(step, node.name, node, node.attrs["filters"], True, True)

    def _linear(self, node: Node) -> None:
        w = self._params[f"{node.name}.weight"]
        step = LayoutStep("convolve", self._buffers[node.inputs[0]], None, w=w[:, :, None, None])
        self._finished(step, node.name, node, len(w), True, False)

    def _value_by_value(self, node: Node, source: Buffer, other: Buffer | None = None) -> None:
        step = LayoutStep("finish", source, None, other)
        if node.op == "batch_norm":
            self._done.add(node.name)
            result, _, name, step.relu, _ = self._follow(node.name, False, True, False)
            step.scale, step.shift = affine_map(self._params, source.channels, None, node)
            step.z = self._buffers[name] if name else None
            step.y = self._buffer(result)
            self._steps.append(step)
            return
        if node.op == "relu":
            step.relu = True
            step.scale, step.shift = affine_map(self._params, source.channels, None, None)
            step.y = self._buffer(node.name)
            self._steps.append(step)
            return
        self._finished(step, node.name, None, source.channels, False, False)

    def _batch_norm(self, node: Node) -> None:
        self._value_by_value(node, self._buffers[node.inputs[0]])

    def _relu(self, node: Node) -> None:
        self._value_by_value(node, self._buffers[node.inputs[0]])

    def _add(self, node: Node) -> None:
        first, second, *rest = (self._buffers[name] for name in node.inputs)
        for other in rest:
            total = Buffer(first.channels, first.height, first.width)
            scale, shift = affine_map(self._params, total.channels, None, None)
            self._steps.append(LayoutStep("finish", first, total, second, scale=scale, shift=shift))
            first, second = total, other
        self._value_by_value(node, first, second)

    def _dropout(self, node: Node) -> None:
        self._copied(node, [(self._buffers[node.inputs[0]], 0)])

    def _concat(self, node: Node) -> None:
        parts, offset = [], 0
        for source in node.inputs:
            parts.append((self._buffers[source], offset))
            offset += self._buffers[source].channels
        self._copied(node, parts)

    def _pad_channels(self, node: Node) -> None:
        self._copied(node, [(self._buffers[node.inputs[0]], node.attrs["before"])])

    def _copied(self, node: Node, parts: Sequence[tuple[Buffer, int]]) -> None:
        y = self._buffer(node.name, exclusive=True)
        for source, offset in parts:
            self._steps.append(LayoutStep("copy", source, y, offset=offset))

    def _max_pool2d(self, node: Node) -> None:
        self._pooled(node, "max_pool", 1.0)

    def _avg_pool2d(self, node: Node) -> None:
        self._pooled(node, "avg_pool", 1.0 / node.attrs["kernel"] ** 2)

    def _pooled(self, node: Node, operation: str, factor: float) -> None:
        x, a = self._buffers[node.inputs[0]], node.attrs
        step = LayoutStep(operation, x, self._buffer(node.name), **_constant(factor))
        step.kernel, step.stride, step.padding = a["kernel"], a["stride"], a["padding"]
        self._steps.append(step)

    def _global_avg_pool2d(self, node: Node) -> None:
        x = self._buffers[node.inputs[0]]
        factor = 1.0 / (x.height * x.width)
        self._steps.append(LayoutStep("mean", x, self._buffer(node.name), **_constant(factor)))

    def _flatten(self, node: Node) -> None:
        y = self._buffer(node.name, exclusive=True)
        self._steps.append(LayoutStep("flatten", self._buffers[node.inputs[0]], y))

    def _call(self, node: Node) -> None:
        """Run a node through the back end's own function."""
        shapes = [self._net.shapes[source] for source in node.inputs]

        def call(arrays: Sequence[Array]) -> Array:
            inputs = [
                np.ascontiguousarray(x).reshape(-1, *shape) for x, shape in zip(arrays, shapes, strict=True)
            ]
            return node.kind.forward(self._backend, node, self._params, inputs, Context())

        sources = [self._buffers[source] for source in node.inputs]
        y = self._buffer(node.name, exclusive=True)
        self._steps.append(LayoutStep("call", None, y, sources=sources, call=call))


def _constant(factor: float) -> dict[str, Any]:
    """Return the same factor for all lanes, and no summand."""
    return {"scale": np.full(LANES, factor, np.float32), "shift": np.zeros(LANES, np.float32)}
