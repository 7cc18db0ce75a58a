"""Fused inference: a network and its parameters become a plan that runs without forming every result.

:func:`compile_plan` is asked by everything that evaluates networks on the CPU back end. Training, and the
reference back end, run node by node (:mod:`emoref.nn.executor`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.nn.fused_planes import planes_layers, planes_program
from emoref.nn.graph import INPUT, Network
from emoref.nn.parts import check_node_params, nodes_between
from emoref_kernels import Backend

__all__ = ["Plan", "compile_plan", "is_fusible"]

Array = NDArray[Any]
Plan = Callable[[Mapping[str, Array]], dict[str, Array]]
"""From given results to wanted ones, both by node name."""


def is_fusible(params: Mapping[str, Array], arrays: Collection[Array], backend: Any) -> bool:
    """Return whether plans apply: the CPU back end, and float32 throughout."""
    return (
        isinstance(backend, Backend)
        and backend.name == "cpu"
        and all(array.dtype == np.float32 for array in (*arrays, *params.values()))
    )


def compile_plan(
    net: Network,
    params: Mapping[str, Array],
    given: Collection[str],
    outputs: Sequence[str],
    backend: Any,
    keep_memory: bool = True,
) -> Plan:
    """Return a function from given results of a network to wanted ones.

    Parameters
    ----------
    net : Network
        The architecture.
    params : mapping of str to array
        Parameters of the nodes that run, float32; they are copied, so that later changes do not show.
    given, outputs : collections of str
        Names of nodes, or ``"input"``; none is in both.
    backend : Backend
        The CPU back end, in either mode.
    keep_memory : bool
        Whether the plan keeps the memory that it works in from one call to the next.

    Returns
    -------
    callable
        Takes arrays (N, *shape of the node) of float32 by name, and gives the same bits for an image
        whatever other images are beside it and however many threads work.

    Raises
    ------
    NetworkError
        If a parameter is missing or has another shape, or the given results do not suffice.
    """
    nodes = nodes_between(net, given, outputs)
    check_node_params(net, nodes, params)
    layers = planes_layers(net)
    whole = tuple(given) == (INPUT,) and tuple(outputs) == (net.output.name,)
    if layers is not None and whole:
        program = planes_program(net, params, layers)
        from emoref_kernels.cpu.fused_program import predict_planes

        return lambda values: {net.output.name: predict_planes(program, values[INPUT])}
    # The compiled back end is imported when it is first used, as everywhere.
    from emoref.nn.fused_maps import MapsPlan

    return MapsPlan(net, params, nodes, outputs, backend, keep_memory).run
