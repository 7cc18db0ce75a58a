"""The part of ``bench/gpu.py`` that asks whether a training step is right: layer by layer, then as a whole.

The gradients of a whole pass are no measure of a back end. A value that rounding moves across zero, or past
its neighbour in a pooling window, switches a ReLU or a winner, and the gradient jumps: the reference in
float32 differs from itself in float64 by 4e-3 for VGG-16 with 16 images, by 8e-3 for ResNet-56 with 8. So
every step of a network (:mod:`emoref.nn.steps`) is held to the reference on the same inputs and the same
gradient of its result, forward and backward, and what is compared of the whole pass is the loss. How far the
gradients of the whole pass lie apart is said beside what the reference itself loses in float32.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from emoref import nn
from emoref.nn.device import placed, resident
from emoref.nn.ops import Context
from emoref.nn.steps import Step, training_steps
from emoref_kernels import Backend, load_backend

__all__ = ["largest_error", "layer_errors", "relative_error", "whole_pass"]

Array = np.ndarray[Any, Any]

_UNDECIDED = 1e-4
"""So close to zero, a value before a ReLU may be on either side; its gradient is left out."""


def relative_error(found: Any, expected: Any) -> float:
    """Return ``norm(found - expected) / norm(expected)`` in float64; NaN where something is not finite."""
    wanted = np.asarray(expected, dtype=np.float64)
    gap = np.asarray(found, dtype=np.float64) - wanted
    return float(np.linalg.norm(gap.ravel()) / max(float(np.linalg.norm(wanted.ravel())), 1e-30))


def largest_error(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest relative error among arrays by name, those of no norm to speak of left out."""
    scale = max(float(np.abs(value).max()) for value in expected.values())
    errors = [relative_error(found[n], v) for n, v in expected.items() if np.abs(v).max() > 1e-6 * scale]
    return float(np.max(errors))


def layer_errors(net: nn.Network, params: Mapping[str, Array], x: Array, k: Backend) -> dict[str, float]:
    """Return how far each step of a network lies from the reference in float64, by the step's name.

    Parameters
    ----------
    net, params
        The network and its parameters, float32.
    x
        Images, float32 (N, C, H, W).
    k
        The back end that is asked.

    Returns
    -------
    dict of str to float
        The largest relative error among result, gradients of inputs and gradients of parameters.
    """
    reference, rng = load_backend("reference"), np.random.default_rng(2)
    live, exact = resident(params, k), _doubled(params)
    values: dict[str, Array] = {nn.INPUT: x}
    errors = {}
    for step in training_steps(net, frozenset()):
        inputs = [values[name] for name in step.inputs]
        doubled = [value.astype(np.float64) for value in inputs]
        y = step.forward(reference, exact, doubled, _context(step))
        dy = rng.standard_normal((1 + step.has_shortcut, *y.shape), dtype=np.float32)
        dy *= _decided(step, exact, doubled, reference)
        found = _run(step, k, live, [placed(value, k) for value in inputs], [placed(own, k) for own in dy])
        wanted = _run(step, reference, exact, doubled, list(dy.astype(np.float64)))
        errors[step.name] = float(np.max([relative_error(found[name], wanted[name]) for name in wanted]))
        values[step.name] = y.astype(np.float32)
    return errors


def _doubled(params: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value.astype(np.float64) for name, value in params.items()}


def _context(step: Step) -> Context:
    is_first = step.inputs == (nn.INPUT,)
    return Context(train=True, rng=np.random.default_rng(3), needs_input_grad=not is_first)


def _decided(step: Step, exact: Mapping[str, Array], inputs: list[Array], reference: Backend) -> Any:
    """Return 0 for values of a result of which rounding decides whether their ReLU lets a gradient through.

    All others are 1. A ReLU that is a step of its own sees the same values on both sides, and decides the
    same.
    """
    if len(step.nodes) == 1 or step.nodes[-1].op != "relu":
        return np.float32(1)
    before = Step(step.nodes[:-1], step.inputs).forward(reference, exact, inputs, _context(step))
    return (np.abs(before) >= _UNDECIDED).astype(np.float32)


def _run(step: Step, k: Any, params: Mapping[str, Any], inputs: list[Any], dys: list[Any]) -> dict[str, Any]:
    """Return a step's result and gradients by name."""
    context = _context(step)
    found = {"result": step.forward(k, params, inputs, context)}
    of_inputs, of_params = step.backward(k, params, dys, context)
    found |= {f"input {place}": dx for place, dx in enumerate(of_inputs) if dx is not None}
    return found | dict(of_params)


def whole_pass(
    net: nn.Network, params: Mapping[str, Array], x: Array, y: Array, k: Backend
) -> tuple[float, str]:
    """Return the relative error of the loss of a training step, and in words that of its gradients."""
    reference = load_backend("reference")
    expected = nn.loss_and_gradients(net, _doubled(params), x.astype(np.float64), y, backend=reference)
    own, plain = (nn.loss_and_gradients(net, params, x, y, backend=how) for how in (k, reference))
    gaps = [largest_error(result.grads, expected.grads) for result in (own, plain)]
    text = f"gradients of the whole pass {gaps[0]:.1e} from float64, the reference's in float32 {gaps[1]:.1e}"
    return abs(own.loss - expected.loss) / abs(expected.loss), text
