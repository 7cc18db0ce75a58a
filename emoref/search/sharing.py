"""Where the pruned candidates of one network can share work: a stem, and cuts behind which they may part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress import channel_map
from emoref.nn import INPUT, Network
from emoref.search.genome import FilterGenome

__all__ = ["SharingPlan", "sharing_plan"]


@dataclass(frozen=True)
class SharingPlan:
    """Where the candidates of a network can share work.

    ``stem`` are the nodes that are computed once for all candidates, and ``frontier`` those of their values
    that later nodes read. Level 0 is the frontier; level i is the node ``cuts[i]`` through which everything
    later must pass (``cuts[0]`` is unused); the last level is the whole network. ``bits[i]`` are the genome's
    bits on which the values at level i depend.
    """

    stem: tuple[str, ...]
    frontier: tuple[str, ...]
    cuts: tuple[str, ...]
    bits: tuple[NDArray[np.int64], ...]


_READERS = frozenset({"conv2d", "linear", "flatten", "local_response_norm"})
"""Operations that cannot be in the stem if their input has pruned channels."""


def sharing_plan(net: Network, layout: FilterGenome) -> SharingPlan:
    """Return where candidates of a network can share work.

    Parameters
    ----------
    net : Network
        The unpruned network.
    layout : FilterGenome
        What the bits of a genome mean.
    """
    channels = channel_map(net)
    bit_of = np.full(len(channels.pinned), -1, dtype=np.int64)
    for name, bits in layout.index.items():
        bit_of[channels.sources[name]] = bits

    def pruned(value: str) -> bool:
        return bool((bit_of[channels.values[value]] >= 0).any())

    computed = {INPUT}
    for node in net.nodes:
        # Depthwise convolution and flattening would be right in the stem too. But a depthwise convolution
        # cut down to one channel is an ordinary one, whose sums may be formed in another order; and to pick
        # whole maps is cheaper than to pick their pixels one by one.
        # Local response normalisation reads its neighbours, which are others in each candidate.
        reads_pruned = node.op in _READERS and pruned(node.inputs[0])
        if computed.issuperset(node.inputs) and not reads_pruned:
            computed.add(node.name)
    later = [node for node in net.nodes if node.name not in computed]
    frontier = [
        n for n in (INPUT, *(node.name for node in net.nodes)) if n in computed and _read(net, n, later)
    ]

    def bits_of(values: Sequence[str]) -> NDArray[np.int64]:
        found = np.unique(np.concatenate([bit_of[channels.values[value]] for value in values]))
        return found[found >= 0]

    cuts, level_bits, seen = [""], [bits_of(frontier)], list(frontier)
    for i, node in enumerate(later):
        seen.append(node.name)
        rest = later[i + 1 :]
        if any(after.op in ("conv2d", "linear") for after in net.consumers(node.name)) and not any(
            _read(net, value, rest) for value in seen[:-1]
        ):
            cuts.append(node.name)
            level_bits.append(bits_of(seen))
    level_bits.append(np.arange(layout.n_bits, dtype=np.int64))
    stem = tuple(node.name for node in net.nodes if node.name in computed)
    return SharingPlan(stem, tuple(frontier), tuple(cuts), tuple(level_bits))


def _read(net: Network, value: str, nodes: Sequence[Any]) -> bool:
    """Return whether one of the nodes reads the value."""
    return any(value in node.inputs for node in nodes)
