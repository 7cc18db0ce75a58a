"""Running networks: whole, in part, forward and backward.

Every function takes a network, its parameters and the name of a back end (or a loaded one). Nothing here
changes parameters.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError
from emoref.nn.batches import check_labels
from emoref.nn.device import HalvedBatches, fetched, is_device, is_on_device, placed, resident
from emoref.nn.graph import INPUT, Network
from emoref.nn.layout import training_backend
from emoref.nn.loss import CROSS_ENTROPY, Loss
from emoref.nn.ops import Context
from emoref.nn.parts import check_batch, check_node_params, nodes_between
from emoref.nn.steps import Step, single_steps, training_steps
from emoref_kernels import load_backend

__all__ = [
    "StepResult",
    "Tape",
    "backend_of",
    "backward",
    "count_wrong",
    "forward",
    "in_parts",
    "loss_and_gradients",
    "part_number",
    "run_in_order",
    "run_nodes",
]

Array = NDArray[Any]
Params = Mapping[str, Array]


def backend_of(backend: Any) -> Any:
    """Return the back end of that name, or `backend` itself if it is a loaded one."""
    return load_backend(backend) if isinstance(backend, str) else backend


@dataclass(frozen=True)
class Tape:
    """One forward pass, as :func:`backward` needs it.

    Attributes
    ----------
    net, params, backend
        What ran; the parameters must not change before :func:`backward` has run.
    output : ndarray
        Result of the last node: logits (N, classes).
    activations : dict of str to ndarray
        Results of the nodes that the caller asked to keep.
    steps : tuple of Step
        What ran in one go, in order.
    contexts : dict of str to Context
        Each step's notes, by the name of the node whose result it gives.
    """

    net: Network
    params: Params
    backend: Any
    output: Array
    activations: dict[str, Array]
    steps: tuple[Step, ...] = field(repr=False)
    contexts: dict[str, Context] = field(repr=False)

    @property
    def buffer_updates(self) -> dict[str, Array]:
        """New running statistics of the batch norms after a pass in training mode, by parameter name."""
        found = {k: v for context in self.contexts.values() for k, v in context.buffer_updates.items()}
        return found if is_on_device(self.output) else fetched(found)


def run_in_order(
    steps: Sequence[Step],
    params: Params,
    values: dict[str, Array],
    keep: Collection[str],
    k: Any,
    new_context: Callable[[str], Context],
) -> None:
    """Run `steps` in order on `values`, dropping each value after its last use unless it is in `keep`."""
    uses = Counter(source for step in steps for source in step.inputs)
    for step in steps:
        inputs = [values[source] for source in step.inputs]
        values[step.name] = step.forward(k, params, inputs, new_context(step.name))
        for source in step.inputs:
            uses[source] -= 1
            if not uses[source] and source not in keep:
                del values[source]


def forward(
    net: Network,
    params: Params,
    images: Array,
    *,
    mode: str = "train",
    backend: Any = "cpu",
    rng: np.random.Generator | None = None,
    keep: Collection[str] = (),
) -> Tape:
    """Run a network and keep what :func:`backward` needs.

    Parameters
    ----------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters; not changed (see :attr:`Tape.buffer_updates`).
    images : ndarray, shape (N, *input_shape)
        One batch.
    mode : {"train", "eval"}
        In training mode batch norms use the batch's statistics and dropout drops values.
    backend : str or Backend
        Which kernels compute. In training mode the CPU's work in the layout that suits the network
        (:func:`emoref.nn.layout.training_layout`).
    rng : numpy.random.Generator, optional
        Source of the dropout masks, drawn in the order of the nodes; needed in training mode with dropout.
    keep : collection of str
        Nodes whose results :attr:`Tape.activations` shall hold.

    Returns
    -------
    Tape
        The result and what led to it.

    Raises
    ------
    NetworkError
        If the images or parameters do not fit; names the node and the shapes.
    """
    if mode not in ("train", "eval"):
        raise NetworkError(f'mode must be "train" or "eval", got {mode!r}')
    check_batch(net, images)
    check_node_params(net, net.nodes, params)
    k = backend_of(backend)
    if mode == "train":
        k = training_backend(net, k)
    for name in keep:
        _ = name == INPUT or net.node(name)
    contexts: dict[str, Context] = {}
    steps = training_steps(net, frozenset(keep)) if mode == "train" else single_steps(net.nodes)

    def new_context(name: str) -> Context:
        contexts[name] = Context(train=mode == "train", rng=rng)
        return contexts[name]

    params, values = resident(params, k), {INPUT: placed(images, k)}
    run_in_order(steps, params, values, {*keep, net.output.name}, k, new_context)
    wanted = {name: values[name] for name in {*keep, net.output.name}}
    if not is_on_device(images):
        wanted = fetched(wanted)
    kept = {name: wanted[name] for name in keep}
    return Tape(net, params, k, wanted[net.output.name], kept, steps, contexts)


def backward(tape: Tape, dy: Array, nodes: Collection[str] = ()) -> dict[str, Array]:
    """Return the gradients of a forward pass.

    Parameters
    ----------
    tape : Tape
        What :func:`forward` returned; may be used again, for another `dy`.
    dy : ndarray, of the shape of ``tape.output``
        Gradient of the loss in the network's result.
    nodes : collection of str
        Nodes (or ``"input"``) whose results' gradients are wanted too.

    Returns
    -------
    dict of str to ndarray
        Gradient of every trainable parameter by its name, and of the results of `nodes` by theirs.

    Raises
    ------
    NetworkError
        If `dy` has another shape than the result, or a node is unknown.
    """
    net, k = tape.net, tape.backend
    if dy.shape != tape.output.shape:
        raise NetworkError(f"dy must have the shape of the result {tape.output.shape}, got {dy.shape}")
    needed = _needing_gradients(net, frozenset(nodes))
    # The terms of each gradient, two at most: what comes last may be added where it is read.
    first = placed(dy, k)
    pending, grads = {net.output.name: [first]}, {}
    for step in reversed(tape.steps):
        terms = pending.pop(step.name, None)
        if terms is None:
            continue
        context = tape.contexts[step.name]
        wanted = [node.name for node in step.nodes if node.name in nodes]
        if wanted or not step.has_shortcut:
            terms = [_total(k, terms)]
        for name in wanted:
            grads[name] = terms[0] if name == step.name else step.inner_gradient(k, terms[0], context)
        # Operations may hand on the very array that they got: one that is somebody else's too stays as it is.
        others = [first, *(term for held in pending.values() for term in held)]
        context.reuse = not nodes and not any(term is other for term in terms for other in others)
        context.needs_input_grad = any(source in needed for source in step.inputs)
        if not context.needs_input_grad and step.name not in needed:
            continue
        input_grads, param_grads = step.backward(k, tape.params, terms, context)
        grads.update(param_grads)
        for source, dx in zip(step.inputs, input_grads, strict=True):
            if source in needed and dx is not None:
                pending[source] = [_total(k, pending[source]), dx] if source in pending else [dx]
    if INPUT in nodes:
        grads[INPUT] = _total(k, pending[INPUT])
    return grads if is_on_device(dy) else fetched(grads)


def _total(k: Any, terms: Sequence[Array]) -> Array:
    """Return the sum of one or two arrays."""
    return terms[0] if len(terms) == 1 else k.add(*terms)


@lru_cache(maxsize=256)
def _needing_gradients(net: Network, nodes: frozenset[str]) -> frozenset[str]:
    """Return the names of the results on the way from the loss to a parameter or to one of `nodes`."""
    for name in nodes:
        _ = name == INPUT or net.node(name)
    needed = set(nodes)
    for node in net.nodes:
        has_params = bool(node.kind.param_shapes(node, net.input_shapes(node)))
        if has_params or any(source in needed for source in node.inputs):
            needed.add(node.name)
    return frozenset(needed)


@dataclass(frozen=True)
class StepResult:
    """Loss and gradients of one training batch.

    Attributes
    ----------
    loss : float
        What training minimises, averaged over the batch, in nats: without label smoothing and teacher the
        cross-entropy.
    wrong : int
        Wrong predictions in the batch, from the same forward pass.
    grads : dict of str to ndarray
        Gradient of the loss in every trainable parameter.
    buffer_updates : dict of str to ndarray
        New running statistics of the batch norms.
    """

    loss: float
    wrong: int
    grads: dict[str, Array]
    buffer_updates: dict[str, Array]


def loss_and_gradients(
    net: Network,
    params: Params,
    images: Array,
    labels: NDArray[np.int64],
    *,
    backend: Any = "cpu",
    rng: np.random.Generator | None = None,
    loss: Loss = CROSS_ENTROPY,
    teacher_logits: Array | None = None,
) -> StepResult:
    """Return the mean loss of one batch and its gradients, in training mode.

    Parameters
    ----------
    net, params, images, backend, rng
        As for :func:`forward`.
    labels : ndarray of int, shape (N,)
        Class numbers.
    loss : Loss
        What is minimised; the softmax cross-entropy by default.
    teacher_logits : ndarray, shape (N, classes), optional
        A teacher's logits for these images, for distillation.

    Returns
    -------
    StepResult
        Loss, wrong predictions, gradients, new running statistics. Nothing has been changed.

    Raises
    ------
    NetworkError
        If images or parameters do not fit.
    DataError
        If the labels do not.
    """
    labels = check_labels(labels, len(images), net.classes)
    k = backend_of(backend)
    tape = forward(net, params, placed(images, k), mode="train", backend=k, rng=rng)
    logits = tape.output
    grads, updates = backward(tape, loss.gradient(k, logits, labels, teacher_logits)), tape.buffer_updates
    if is_device(k):
        # The one time that the host waits in a step: the logits come back, and the rest is done there.
        logits, k = np.asarray(logits), load_backend("reference")
        if not any(is_on_device(value) for value in params.values()):
            grads, updates = fetched(grads), fetched(updates)
        teacher_logits = None if teacher_logits is None else np.asarray(teacher_logits)
    value = loss.value(k, logits, labels, teacher_logits)
    return StepResult(value, count_wrong(logits, labels), grads, updates)


def in_parts(batches: HalvedBatches, images: int, work: Callable[[slice], StepResult]) -> StepResult:
    """Return the result of a training batch, which runs in parts where a device's memory does not suffice.

    Parameters
    ----------
    batches : HalvedBatches
        What was found to fit so far.
    images : int
        Images of the batch.
    work : callable
        Gives the result of a part.

    Returns
    -------
    StepResult
        Means over the parts, weighted by their images, and the sum of wrong predictions; of a single part
        its own result.
    """
    parts = list(batches.run(images, work))
    if len(parts) == 1:
        return parts[0][1]
    shares = [(part.stop - part.start) / images for part, _ in parts]
    results = [result for _, result in parts]

    def mean(of: Callable[[StepResult], Mapping[str, Any]]) -> dict[str, Any]:
        total = {name: shares[0] * value for name, value in of(results[0]).items()}
        for share, result in zip(shares[1:], results[1:], strict=True):
            total = {name: total[name] + share * value for name, value in of(result).items()}
        return total

    return StepResult(
        sum(share * result.loss for share, result in zip(shares, results, strict=True)),
        sum(result.wrong for result in results),
        mean(lambda result: result.grads),
        mean(lambda result: result.buffer_updates),
    )


def part_number(part: slice) -> list[int]:
    """Return what tells the random numbers of a part of a batch from those of the first, or whole, one."""
    return [part.start] if part.start else []


def run_nodes(
    net: Network,
    params: Params,
    activations: Mapping[str, Array],
    outputs: Sequence[str],
    backend: Any = "cpu",
) -> dict[str, Array]:
    """Run the part of a network between given and wanted results, in evaluation mode.

    Parameters
    ----------
    net : Network
        The architecture.
    params : dict of str to ndarray
        Its parameters; those of nodes that do not run may be missing.
    activations : dict of str to ndarray
        Known results by node name, or the images as ``"input"``; each (N, *shape of the node).
    outputs : sequence of str
        Nodes whose results are wanted.
    backend : str or Backend
        Which kernels compute.

    Returns
    -------
    dict of str to ndarray
        The results of `outputs`. Only the nodes that lead to them from `activations` run, and intermediate
        results are dropped after their last use.

    Raises
    ------
    NetworkError
        If a name is unknown, a shape does not fit, or the given results do not suffice.
    """
    batch = None
    for name, value in activations.items():
        shape = net.input_shape if name == INPUT else net.shapes[net.node(name).name]
        batch = len(value) if batch is None and value.ndim else batch
        if value.shape != (batch, *shape):
            raise NetworkError(
                f'node "{name}": given result must have shape {(batch, *shape)}, got {value.shape}'
            )
    nodes = nodes_between(net, activations, outputs)
    check_node_params(net, nodes, params)
    k = backend_of(backend)
    values = {name: placed(value, k) for name, value in activations.items()}
    run_in_order(single_steps(nodes), resident(params, k), values, set(outputs), k, lambda name: Context())
    results = {name: values[name] for name in outputs}
    if is_device(k) and not any(is_on_device(value) for value in activations.values()):
        return fetched(results)
    return results


def count_wrong(logits: Array, labels: NDArray[np.int64]) -> int:
    """Count wrong predictions: the class is the first of the largest logits; a row with a NaN is wrong."""
    wrong = (logits.argmax(axis=1) != labels) | np.isnan(logits).any(axis=1)
    return int(np.count_nonzero(wrong))
